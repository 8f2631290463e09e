"""One array or one metric under the rules of disclosure control. Pure.

dominance  An element of a sum or mean leaves as 0 if fewer than min_cell patients contributed to it, or if the largest
           patient's share of the sum of absolute contributions is above `dominance`: the (n, k) rule with n = 1
           (Hundepool et al., Statistical Disclosure Control, Wiley 2012, chapter 4). Both figures come from the app, as
           companion arrays.
cells      Counts as in `disclosure_cells`. A rate leaves only if its denominator is at least min_cell, and the patients
           inside and outside of its numerator are too, or none.
digits     A metric that is no count keeps so many significant digits. Arrays keep all of theirs.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import Array, Content, Metric
from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.release_contract import ArrayRule, MetricRule
from flame_fl.gate.allow_list import rejected
from flame_fl.gate.disclosure_cells import CellNoise, Counts, as_counts, protect

Mask = npt.NDArray[np.bool_]

_ROUNDING = 1e-6  # how far a share computed in float32 may pass 1


@dataclass(frozen=True)
class Hidden:
    """How many elements of one array or metric did not leave, or left changed, and why.

    Attributes:
        place: Which array or metric.
        rule: "cell" (small), "complement" (hidden for a small one's sake), "few" or "dominance".
        count: How many elements.
    """

    place: str
    rule: str
    count: int


@dataclass(frozen=True)
class Items:
    """The arrays and metrics of one update that fits its contract.

    Args:
        update: The update, with its companion arrays.
        terms: The rules.
        noise: For counts.
        patients: How many the smallest cohort has.
        hidden: What was hidden so far.
    """

    update: Content
    terms: Disclosure
    noise: CellNoise
    patients: int
    hidden: list[Hidden] = field(default_factory=list)

    def array(self, rule: ArrayRule, *, tested: bool = False, guarded_elsewhere: frozenset[str] = frozenset()) -> Array:
        """One array as it may leave.

        Args:
            rule: Its rule.
            tested: Its cells are counts, and judged by their totals over all DIZ.
            guarded_elsewhere: Those of its guards whose counts are.

        Raises:
            RefusedError: 904, it or a companion is not what the contract says.
        """
        array = self.update.arrays[rule.record][rule.name]
        place = f"array {rule.record!r}/{rule.name!r}"
        if rule.kind == "model":
            return array
        if rule.kind in {"count", "histogram"}:
            counts = as_counts(array, place)
            return array if tested else self._like(array, self._protected(counts, place))
        if rule.kind == "rate":
            _require_rate(array, place)
        few = dominated = np.zeros(array.shape, bool)
        if rule.contributors is not None:
            behind = as_counts(self._companion(rule, rule.contributors), f"{rule.contributors!r} of {place}")
            if behind.max(initial=0) > self.patients:
                raise rejected(f"{place} claims more contributors than there are patients")
            few = self._too_few(array, behind, rule.kind)
        if rule.largest_share is not None:
            share = self._companion(rule, rule.largest_share)
            _require_rate(share, f"{rule.largest_share!r} of {place}", leeway=_ROUNDING)
            dominated = (share > self.terms.dominance) & ~few
        for name in rule.guards:
            if name not in guarded_elsewhere:
                few = few | _spread(self._small_rows(rule, name, place), array.shape, rule.guard_axes)
        self._note(place, few=few, dominance=dominated)
        return np.where(few | dominated, array.dtype.type(0), array)

    def metric(self, rule: MetricRule) -> Metric | None:
        """One metric as it may leave; None if it does not.

        Raises:
            RefusedError: 904, it is not what the contract says, or comes without its denominator.
        """
        present = self.update.metrics[rule.record]
        value, place = present[rule.name], f"metric {rule.record!r}/{rule.name!r}"
        numbers = np.array(value)
        if rule.kind == "count":
            counts: Metric = self._protected(as_counts(numbers, place), place).tolist()
            return _each(counts, lambda number: _within(number, rule))
        if rule.kind == "rate":
            _require_rate(numbers, place)
        if rule.denominator is not None:
            if rule.denominator not in present:
                raise rejected(f"{place} comes without its denominator {rule.denominator!r}")
            behind = as_counts(np.array(present[rule.denominator]), f"{rule.denominator!r} of {place}")
            if behind.shape not in {(), numbers.shape}:
                raise rejected(f"{place} has not as many numbers as its denominator {rule.denominator!r}")
            few = self._too_few(numbers, np.broadcast_to(behind, numbers.shape), rule.kind)
            self._note(place, few=few)
            if few.any():
                return None
        digits = self.terms.significant_digits
        return _each(value, lambda number: _within(_rounded(number, digits), rule))

    def _protected(self, counts: Counts, place: str) -> Counts:
        cells = protect(counts, place, self.terms, self.noise)
        self.hidden.extend(
            Hidden(place, why, found)
            for why, found in (("cell", cells.small), ("complement", cells.complementary))
            if found
        )
        return cells.values

    def _too_few(self, value: Array, behind: Counts, kind: str) -> Mask:
        """Where fewer than min_cell patients stand behind a value; or, none excepted, inside or outside of a rate."""
        least = self.terms.min_cell
        few = behind < least
        if kind == "rate":
            inside = np.rint(value.astype(np.float64) * behind)
            for part in (inside, behind - inside):
                few = few | ((part > 0) & (part < least))
        return few

    def _small_rows(self, rule: ArrayRule, name: str, place: str) -> Mask:
        """(m,) where one of a guard's counts is above 0 and below min_cell."""
        counts = guard_counts(self.update, rule, name, self.patients, place)
        return np.asarray(((counts > 0) & (counts < self.terms.min_cell)).any(axis=1))

    def _companion(self, rule: ArrayRule, name: str) -> Array:
        companion = self.update.arrays[rule.record][name]
        if companion.shape != self.update.arrays[rule.record][rule.name].shape:
            raise rejected(f"array {rule.record!r}/{name!r} has not the shape of {rule.name!r}")
        return companion

    @staticmethod
    def _like(array: Array, counts: Counts) -> Array:
        """Counts in an array's own dtype. One that was moved beyond it is the largest that fits."""
        if array.dtype.kind == "b":
            return counts.astype(bool)
        most = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else np.finfo(array.dtype).max
        return np.minimum(counts, int(min(most, np.iinfo(np.int64).max))).astype(array.dtype)

    def _note(self, place: str, **by_rule: Mask) -> None:
        self.hidden.extend(Hidden(place, why, int(mask.sum())) for why, mask in by_rule.items() if mask.any())


def guard_counts(update: Content, rule: ArrayRule, name: str, patients: int, place: str) -> Counts:
    """(m, c) the counts `name` that guard an array.

    Raises:
        RefusedError: 904, they are none, or not as many rows as the array has.
    """
    array, counts = (update.arrays[rule.record][one] for one in (rule.name, name))
    found = as_counts(counts, f"{name!r} of {place}")
    if {*array.shape[: rule.guard_axes], found.shape[0]} != {found.shape[0]}:
        raise rejected(f"{place} has not as many rows as its guard {name!r}")
    if found.max(initial=0) > patients:
        raise rejected(f"{place} claims more patients than there are")
    return found


def _spread(rows: Mask, shape: tuple[int, ...], axes: int) -> Mask:
    """Rows, and with two axes columns too, as elements of an array."""
    marked = rows.reshape(-1, *[1] * (len(shape) - 1))
    if axes == 2:
        marked = marked | rows.reshape(1, -1, *[1] * (len(shape) - 2))
    return np.broadcast_to(marked, shape)


def _require_rate(values: Array, place: str, *, leeway: float = 0.0) -> None:
    if values.size and (values.min() < 0 or values.max() > 1 + leeway):
        raise rejected(f"{place} is no share between 0 and 1")


def _each(value: Metric, change: Callable[[float], float]) -> Metric:
    return [change(number) for number in value] if isinstance(value, list) else change(value)


def _rounded(number: float, digits: int | None) -> float:
    """To so many significant digits; a whole number stays one."""
    if digits is None:
        return number
    if isinstance(number, int):
        return round(number, min(0, digits - len(str(abs(number)))))
    rounded = float(f"{number:.{digits - 1}e}")
    return rounded if math.isfinite(rounded) else math.copysign(sys.float_info.max, number)


def _within(number: float, rule: MetricRule) -> float:
    """What was hidden or rounded is still in the range that the contract states; a whole number stays one."""
    low = number if rule.min is None else max(number, math.ceil(rule.min) if isinstance(number, int) else rule.min)
    return low if rule.max is None else min(low, math.floor(rule.max) if isinstance(number, int) else rule.max)
