"""The allow-list: whether an update fits its release contract. Pure: returns, or refuses with 904.

1. Every array and metric is listed with its exact name and dtype and an allowed shape; config records (free text) never
   leave. One unlisted item refuses the whole update: a partly released update would hide the attempt.
2. The total size is within the contract.
3. Everything is finite, and within its `max_abs`: NaN and infinity do not leave.

An item may be missing only if it is a metric.
"""

import numpy as np

from flame_fl.contract.content import Array, Content, Metric
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import MessageTerms, MetricRule


def check(update: Content, rules: MessageTerms, *, ranges: bool = True) -> None:
    """Check an update. `ranges=False` leaves metrics beyond their range to be clamped by the caller.

    Raises:
        RefusedError: 904, with a detail for the node's log.
    """
    allowed = {(r.record, r.name): r for r in rules.arrays}
    metrics = {(r.record, r.name): r for r in rules.metrics}
    if update.configs:
        raise rejected("the update holds a config record")
    if update.nbytes > rules.max_bytes:
        raise rejected(f"the update has {update.nbytes} bytes; {rules.max_bytes} may leave")
    present = set()
    for record, name, array in update.array_items():
        rule = allowed.get((record, name))
        if rule is None:
            raise rejected(f"array {record!r}/{name!r} is not listed")
        if array.dtype.name != rule.dtype or not rule.allows(array.shape):
            raise rejected(
                f"array {record!r}/{name!r} is {array.dtype} {array.shape}; {rule.dtype} {rule.shape} may leave"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise rejected(f"array {record!r}/{name!r} is not finite")
        if ranges and rule.max_abs is not None and array.size and largest_of(array) > rule.max_abs:
            raise rejected(f"array {record!r}/{name!r} has an element beyond max_abs")
        present.add((record, name))
    if missing := sorted(set(allowed) - present):
        raise rejected(f"array {missing[0]} is missing")
    for record, values in update.metrics.items():
        for name, value in values.items():
            metric = metrics.get((record, name))
            if metric is None:
                raise rejected(f"metric {record!r}/{name!r} is not listed")
            _check_metric(metric, value, ranges=ranges)
    unlisted = [*update.arrays.keys() - {r.record for r in rules.arrays}]
    unlisted += update.metrics.keys() - {r.record for r in rules.metrics}
    if unlisted:  # an empty record: its name alone would say something
        raise rejected(f"record {min(unlisted)!r} is not listed")


def largest_of(array: Array) -> float:
    """Largest absolute value, exactly; the smallest integer has no positive twin, so both ends are looked at."""
    ends: tuple[float, float] = array.max().item(), array.min().item()
    return max(map(abs, ends))


def _check_metric(rule: MetricRule, value: Metric, *, ranges: bool) -> None:
    numbers = value if isinstance(value, list) else [value]
    label = f"metric {rule.record!r}/{rule.name!r}"
    if isinstance(value, list) != (rule.length is not None) or (rule.length is not None and len(numbers) > rule.length):
        raise rejected(f"{label} is not of the listed length")
    if not all(np.isfinite(x) for x in numbers):
        raise rejected(f"{label} is not finite")
    if rule.kind == "count" and not all(isinstance(x, int) and x >= 0 for x in numbers):
        raise rejected(f"{label} is no count")
    if ranges and any(
        (rule.min is not None and x < rule.min) or (rule.max is not None and x > rule.max) for x in numbers
    ):
        raise rejected(f"{label} is outside its range")


def rejected(detail: str) -> RefusedError:
    """The refusal of an update that does not fit; `detail` stays at the node."""
    return RefusedError(RefusalCode.RELEASE_REJECTED, detail)
