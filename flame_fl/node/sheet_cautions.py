"""What a steward should see before all else, ranked. Pure: a look at the facts of a sheet."""

import math
from collections.abc import Iterator

from flame_fl.contract.terms import MessageTerms, Resources, Terms
from flame_fl.node.sheet_masks import mask_cautions
from flame_fl.node.sheet_model import LEVELS, Caution, Level, Sheet

MANY_PER_PATIENT = 1.0
SOME_PER_PATIENT = 0.1
SOON_DAYS = 30
_RESOURCES = ("cpus", "memory_bytes", "seconds", "scratch_bytes")


def cautions_of(sheet: Sheet) -> tuple[Caution, ...]:
    """The gravest first."""
    found = [*_about_running(sheet), *_about_code(sheet), *_about_terms(sheet)]
    return tuple(sorted(found, key=lambda caution: LEVELS.index(caution.level)))


def most_numbers(message: MessageTerms) -> int:
    """Numbers in one answer, at most."""
    arrays = sum(math.prod(d if isinstance(d, int) else int(d[2:]) for d in rule.shape) for rule in message.arrays)
    return arrays + sum(metric.length or 1 for metric in message.metrics)


def fewest_patients(sheet: Sheet) -> int:
    """Patients of the smallest cohort here; of a store that is not here, the terms' minimum. 0 without a store."""
    stated = sheet.terms.data if sheet.terms is not None else {}
    here = {store.name: store for store in sheet.stores}
    counts = [
        have if (have := here[name].patients) is not None else max(store.min_patients, sheet.min_patients)
        for name, store in stated.items()
        if here[name].offered or not store.optional
    ]
    return min(counts, default=0)


def _about_running(sheet: Sheet) -> Iterator[Caution]:
    if sheet.terms is None:
        yield Caution(level="high", key="no_terms")
        return
    if sheet.problem:
        yield Caution(level="high", key="cannot_run", values={"why": sheet.problem})
    if sheet.status in {"rejected", "withdrawn"}:
        yield Caution(level="high", key=sheet.status)
    project = sheet.project
    if project is not None:
        if project.namesakes:
            yield Caution(level="high", key="linkable", values={"count": len(project.namesakes)})
        if not project.approved:
            yield Caution(level="high", key="project_open", values={"id": sheet.terms.project.id})
        if sheet.masks is not None:
            pass  # said with the masks, which need it
        elif not project.roster:
            yield Caution(level="medium", key="roster_empty")
        elif not project.takes_part:
            yield Caution(level="medium", key="not_in_roster")
    yield from mask_cautions(sheet, sheet.terms)
    for store in sheet.stores:
        least = max(sheet.min_patients, sheet.terms.data[store.name].min_patients)
        if store.patients is not None and store.patients < least:
            values: dict[str, str | int | float] = {"store": store.name, "patients": store.patients, "least": least}
            yield Caution(level="high", key="too_few", values=values)
    yield from _about_days(sheet, sheet.terms)


def _about_days(sheet: Sheet, terms: Terms) -> Iterator[Caution]:
    first, last = terms.validity.from_, terms.validity.until
    if sheet.day > last:
        yield Caution(level="high", key="over", values={"until": last.isoformat()})
    elif (last - sheet.day).days < SOON_DAYS:
        yield Caution(level="low", key="over_soon", values={"until": last.isoformat()})
    if sheet.day < first:
        yield Caution(level="medium", key="not_yet", values={"first": first.isoformat()})


def _about_code(sheet: Sheet) -> Iterator[Caution]:
    if sheet.code.problem:
        yield Caution(level="high", key=f"code_{sheet.code.problem}")
    grave: tuple[Level, ...] = ("high", "medium")
    for level in grave:
        if count := sheet.code.counts.get(level, 0):
            yield Caution(level=level, key=f"findings_{level}", values={"count": count})
    if sheet.dry_run is not None and any(m.outcome != "released" for m in sheet.dry_run.messages):
        yield Caution(level="medium", key="dry_run_failed")
    if sheet.earlier is None:
        yield Caution(level="low", key="first_version")
        return
    if looser := [change for change in sheet.earlier.terms if change.direction == "looser"]:
        yield Caution(level="high", key="looser", values={"count": len(looser), "what": looser[0].path})


def _about_terms(sheet: Sheet) -> Iterator[Caution]:
    terms = sheet.terms
    if terms is None:
        return
    if sheet.steward_wrote:
        yield Caution(level="medium", key="steward_wrote")
    yield from _about_privacy(sheet, terms)
    for name, store in terms.data.items():
        if "*" in store.columns:
            yield Caution(level="medium", key="every_column", values={"store": name})
        if "*" in store.features or "*" in store.modalities:
            yield Caution(level="medium", key="every_feature", values={"store": name})
    for shown in sheet.stores:
        if shown.offered and not shown.pseudonyms:
            yield Caution(level="medium", key="plain_ids", values={"store": shown.name})
    if terms.resources.gpus:
        yield Caution(level="medium", key="gpu", values={"gpus": terms.resources.gpus})
    if large := _large(terms.resources, sheet.most):
        yield Caution(level="low", key="resources", values={"what": ", ".join(large)})


def _about_privacy(sheet: Sheet, terms: Terms) -> Iterator[Caution]:
    if sheet.claim is not None:
        if sheet.claim.refused_by:
            values: dict[str, str | int | float] = {"number": sheet.claim.admitted + 1, "left": sheet.claim.left}
            yield Caution(level="medium", key=f"refused_by_{sheet.claim.refused_by}", values=values)
        if sheet.claim.risk.tpr >= 0.5:
            yield Caution(level="high", key="weak_claim", values={"tpr": sheet.claim.risk.tpr})
        elif sheet.claim.risk.tpr >= 0.1:
            yield Caution(level="medium", key="weak_claim", values={"tpr": sheet.claim.risk.tpr})
        return
    patients = fewest_patients(sheet)
    numbers = max(map(most_numbers, terms.messages.values()), default=0)
    ratio = numbers / patients if patients else 0.0
    key, level = ("no_claim", "medium") if ratio < SOME_PER_PATIENT else ("no_claim_large", "high")
    if not terms.data:
        key, level = "no_claim", "low"
    elif SOME_PER_PATIENT <= ratio < MANY_PER_PATIENT:
        level = "medium"
    values = {} if key == "no_claim" else {"numbers": numbers, "patients": patients, "ratio": ratio}
    yield Caution.model_validate({"level": level, "key": key, "values": values})


def _large(wanted: Resources, most: Resources | None) -> list[str]:
    """What takes more than half of what the node gives."""
    if most is None:
        return []
    return [name for name in _RESOURCES if getattr(wanted, name) > getattr(most, name) / 2]
