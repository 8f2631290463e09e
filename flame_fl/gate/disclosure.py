"""Disclosure control: what may leave of an update where no arithmetic bounds what it tells. Pure.

It follows these rules, in this order (docs/disclosure.md has the reasons, and what each does not stop):

1. What does not fit the allow-list does not leave.
2. Few numbers: per answer, and over all answers of an analysis, in proportion to the patients.
3. Every array and metric by itself (`disclosure_items`): dominance in sums and means, small cells, digits.
4. Arrays that the app sent for these rules alone (`contributors`, `largest_share`, `guard`, `guard_zero`) do
   not leave.

The rules believe the app what its numbers are. They hold against questions that a server asks an honest app.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import EMPTY, Array, Content, Metric
from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.release_contract import ArrayRule, MessageTerms
from flame_fl.gate.allow_list import check, rejected
from flame_fl.gate.disclosure_cells import CellNoise
from flame_fl.gate.disclosure_items import Hidden, Items, guard_counts


@dataclass(frozen=True)
class DisclosureFacts:
    """What the gate knows of the patients behind an answer.

    Attributes:
        patients: How many the smallest cohort has.
        released_before: Numbers that left in earlier answers that count towards the same total.
        cohort_fingerprint: Of all cohorts; hexadecimal digits.
        message_sha256: Hash of the message that is answered.
        key: The node's, for the noise on counts alone; it never leaves.
    """

    patients: int
    released_before: int
    cohort_fingerprint: str
    message_sha256: str
    key: bytes = field(repr=False)
    tested: frozenset[str] = frozenset()
    """Arrays of counts ("RECORD/ARRAY") whose totals over all DIZ a minimum-count test judges, before any leaves."""


@dataclass(frozen=True)
class Notes:
    """For the node's own audit log: how many numbers leave, and what was hidden. Never a value."""

    numbers: int
    hidden: tuple[Hidden, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As an audit entry holds it."""
        return {"numbers": self.numbers, "hidden": [[h.place, h.rule, h.count] for h in self.hidden]}


@dataclass(frozen=True)
class Disclosed:
    """What may go on to the release, and what was done to it."""

    content: Content
    notes: Notes


def disclose(update: Content, rules: MessageTerms, terms: Disclosure, facts: DisclosureFacts) -> Disclosed:
    """Apply the rules to an update.

    Args:
        update: What the sandbox produced.
        rules: The release contract of this message type. What comes back fits `rules.leaving`.
        terms: The disclosure rules.
        facts: What the gate knows of the patients.

    Raises:
        RefusedError: 904, with a detail for the node's log.
    """
    check(update, rules)
    content = without_companions(update, rules)
    numbers = numbers_in(content)
    _require_few(numbers, terms, facts)
    noise = CellNoise(facts.key, facts.cohort_fingerprint, facts.message_sha256)
    items = Items(update, terms, noise, facts.patients)
    arrays: dict[str, dict[str, Array]] = {}
    for rule in rules.arrays:
        if rule.name in content.arrays[rule.record]:  # it is no companion
            arrays.setdefault(rule.record, {})[rule.name] = items.array(
                rule,
                tested=f"{rule.record}/{rule.name}" in facts.tested,
                guarded_elsewhere=frozenset(name for name in rule.guards if f"{rule.record}/{name}" in facts.tested),
            )
    metrics: dict[str, dict[str, Metric]] = {}
    for listed in rules.metrics:
        if listed.name in content.metrics.get(listed.record, EMPTY) and (value := items.metric(listed)) is not None:
            metrics.setdefault(listed.record, {})[listed.name] = value
    return Disclosed(Content(arrays, metrics), Notes(numbers, tuple(items.hidden)))


def without_companions(update: Content, rules: MessageTerms) -> Content:
    """The update without what was sent for disclosure control only; what is left fits `rules.leaving`."""
    if not (companions := rules.companions):
        return update
    arrays = {
        record: {name: array for name, array in named.items() if (record, name) not in companions}
        for record, named in update.arrays.items()
    }
    return Content(arrays, update.metrics, update.configs)


def tested_guards(
    update: Content, rules: MessageTerms, facts: DisclosureFacts
) -> Mapping[tuple[str, str], npt.NDArray[np.int64]]:
    """(m, c) by guard (record, name): counts whose totals over all DIZ decide, before any row leaves.

    Raises:
        RefusedError: 904, they are no counts, or not as many as rows.
    """
    return {
        (rule.record, name): guard_counts(update, rule, name, facts.patients, f"array {rule.record!r}/{rule.name!r}")
        for rule in rules.arrays
        for name in rule.guards
        if f"{rule.record}/{name}" in facts.tested
    }


def numbers_in(content: Content) -> int:
    """Elements of all arrays and metrics. Counts are numbers too: n of them tell the yes or no of n patients."""
    values = [value for named in content.metrics.values() for value in named.values()]
    in_metrics = sum(len(value) if isinstance(value, list) else 1 for value in values)
    return in_metrics + sum(array.size for _, _, array in content.array_items())


def unguarded(rules: MessageTerms) -> tuple[tuple[str, str], ...]:
    """(record, name) of arrays whose elements no rule looks at, for a steward: models, and sums without companions."""
    leaving = (rule for rule in rules.arrays if (rule.record, rule.name) not in rules.companions)
    return tuple((rule.record, rule.name) for rule in leaving if not _guarded(rule))


def _guarded(rule: ArrayRule) -> bool:
    if rule.guards:
        return True
    if rule.kind in {"sum", "mean"}:
        return rule.contributors is not None and rule.largest_share is not None
    return rule.kind in {"count", "histogram"} or (rule.kind == "rate" and rule.contributors is not None)


def _require_few(numbers: int, terms: Disclosure, facts: DisclosureFacts) -> None:
    """Rule 2. Fewer equations than unknowns have more than one solution; that says nothing of each single unknown.

    Raises:
        RefusedError: 904.
    """
    patients, total = facts.patients, facts.released_before + numbers
    if numbers > terms.max_numbers_per_patient * patients:
        raise rejected(
            f"{numbers} numbers about {patients} patients in one answer; {terms.max_numbers_per_patient:g} per patient"
            " may leave"
        )
    if total >= terms.max_numbers_per_patient_in_total * patients:
        raise rejected(
            f"{total} numbers about {patients} patients in all answers; fewer than"
            f" {terms.max_numbers_per_patient_in_total:g} per patient may leave"
        )
