"""The release contract in words: what may leave, how often, and how much that is."""

import math

from flame_fl.contract.disclosure_terms import looser_than_default
from flame_fl.contract.terms import ArrayRule, MetricRule, Terms
from flame_fl.gate.disclosure import unguarded
from flame_fl.node.sheet_cautions import fewest_patients, most_numbers
from flame_fl.node.sheet_model import Sheet
from flame_fl.node.sheet_words import Say
from flame_fl.node.shown import shown

MAX_ITEMS = 300


def release_table(
    sheet: Sheet, terms: Terms, say: Say
) -> tuple[tuple[tuple[str, str, str, str], ...], tuple[str, ...]]:
    """Rows (message, how often, item, what it is) and notes."""
    rows: list[tuple[str, str, str, str]] = []
    for kind, message in terms.messages.items():
        first = f"{say('release.' + kind.split('.')[0])} ({shown(kind, 100)})"
        often = say("release.often_text", count=message.per_run)
        items = [(f"{rule.record}/{rule.name}", _array(rule, say)) for rule in message.arrays]
        items += [(f"{rule.record}/{rule.name}", _metric(rule, say)) for rule in message.metrics]
        for name, what in items[:MAX_ITEMS] or [("–", say("release.nothing"))]:
            rows.append((first, often, shown(name, 300), what))
        if len(items) > MAX_ITEMS:
            rows.append((first, often, "…", say("findings.more", count=len(items) - MAX_ITEMS)))
    numbers = max(map(most_numbers, terms.messages.values()), default=0)
    notes = [say("release.note", numbers=numbers)]
    if patients := fewest_patients(sheet):
        notes.append(say("release.ratio", ratio=numbers / patients, patients=patients))
    return tuple(rows), (*notes, *_disclosure(terms, say), say("release.back"))


def _disclosure(terms: Terms, say: Say) -> list[str]:
    """What disclosure control leaves open: only where nothing stronger stands in its place."""
    if terms.privacy.ground not in {"none", "reviewed"}:
        return []
    notes = [sentence.de if say.language == "de" else sentence.en for sentence in looser_than_default(terms.disclosure)]
    if terms.disclosure.exemption is not None:
        notes.append(say("release.exemption", why=shown(terms.disclosure.exemption, 500)))
    open_ = sorted({f"{record}/{name}" for rules in terms.messages.values() for record, name in unguarded(rules)})
    if open_:
        notes.append(say("release.unguarded", items=shown(", ".join(open_[:20]), 500)))
    return notes


def _array(rule: ArrayRule, say: Say) -> str:
    kind = "decimal" if rule.dtype.startswith("float") else "bool" if rule.dtype == "bool" else "whole"
    exact = rule.exact_shape is not None
    count = math.prod(d if isinstance(d, int) else int(d[2:]) for d in rule.shape)
    shape = " × ".join(str(d) if isinstance(d, int) else f"≤ {d[2:]}" for d in rule.shape) or "1"
    if exact and count == 1:
        return say(f"release.{kind}_one", shape=rule.dtype)
    return say(f"release.{kind}" if exact else f"release.{kind}_most", count=count, shape=f"{shape}, {rule.dtype}")


def _metric(rule: MetricRule, say: Say) -> str:
    what = say(f"release.{rule.kind}")
    if rule.min is not None and rule.max is not None:
        what = say("release.range", what=what, low=rule.min, high=rule.max)
    return what if rule.length is None else say("release.list", what=what, length=rule.length)
