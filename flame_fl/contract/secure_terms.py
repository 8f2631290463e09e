"""`[tool.flame.secure_aggregation]`: what the hub may learn of each DIZ's answers is their sum alone.

With n DIZ in a set-up, of which c may collude with the hub, T shares open a secret of one DIZ:

* a DIZ answers once for each sum and peer, with a share of one of the peer's two secrets. The hub sees one kind of each
  honest DIZ and both of each colluder: n + c in all. T > (n + c) / 2 makes 2T of them impossible, so that nobody opens
  both secrets of a DIZ, nor has two lists signed of who is alive;
* at least T must be left to answer: d ≤ n - T;
* a sum of n - d DIZ still holds two honest ones, whatever colluders subtract: n - d ≥ c + 2, and at least 3.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from flame_fl.contract.release_contract import ArrayRule, MessageTerms
from flame_fl.contract.words import Frozen, ItemName, Name

FEWEST_SITES = 3
MOST_SITES = 1000
MOST_MIN_TOTAL = 1000
MOST_TESTED_SITES = 100


def threshold(sites: int, colluding: int) -> int:
    """T, the smallest number above (n + c) / 2."""
    return (sites + colluding) // 2 + 1


def flaw(sites: int, dropouts: int, colluding: int) -> str:
    """Why n, d and c do not go together; "" if they do. What holds for n holds for every larger n."""
    if not FEWEST_SITES <= sites <= MOST_SITES or dropouts < 0 or colluding < 0:
        return f"a masked sum needs {FEWEST_SITES} to {MOST_SITES} sites, and no negative number of losses"
    needed = threshold(sites, colluding)
    if dropouts > sites - needed:
        return (
            f"with {sites} sites and {colluding} colluding, {needed} must answer to unmask, so that at most"
            f" {max(0, sites - needed)} may drop out, not {dropouts}"
        )
    least = max(FEWEST_SITES, colluding + 2)
    if sites - dropouts < least:
        return (
            f"with {sites} sites, {dropouts} of which may drop out and {colluding} collude, a sum could hold"
            f" {sites - dropouts} sites; {least} are the fewest"
        )
    return ""


class SecureAggregation(Frozen):
    """Whether answers leave masked, so that only their sum over the DIZ can be read, and who is trusted with what."""

    required: bool = False
    """Every answer leaves masked: arrays and metrics, of all types. If not, the rest only says how they would."""
    dropouts: Annotated[int, Field(ge=0, le=MOST_SITES)] = 0
    """d: so many DIZ may be lost after a set-up, and the sum of the others can still be read."""
    colluding: Annotated[int, Field(ge=0, le=MOST_SITES)] = 0
    """c: the sums say nothing of one DIZ even if so many others share what they know with the hub."""
    weight: ItemName | None = None
    """The count metric by which models, means and rates are weighted; without it each DIZ weighs the same."""
    support: dict[ItemName, tuple[Name, ...]] = Field(default_factory=dict)
    """Which sites of the roster supply an array, by "RECORD/ARRAY", where not all do; the others add zeros. A sum in
    which too few of them are left is not unmasked."""

    min_total: Annotated[int, Field(ge=2, le=MOST_MIN_TOTAL)] | None = None
    """Of the arrays in `min_total_of`, only elements leave whose total over all DIZ is at least this; the others are 0.
    A minimum-count test between the DIZ decides it, and tells nothing else (docs/mpc.md). It takes the place of the
    cell size that each DIZ else applies to its own counts."""
    min_total_of: tuple[ItemName, ...] = ()
    """Arrays of counts, as "RECORD/ARRAY"."""

    def check(self, min_sites: int, messages: Mapping[str, MessageTerms], *, bounded: bool, noisy: bool) -> None:
        """What masks need of the other terms.

        Args:
            min_sites: So many DIZ are in every set-up.
            messages: The release contract.
            bounded: A clip norm bounds every array.
            noisy: The gate's own noise is added, in integers.

        Raises:
            ValueError: Naming what does not fit.
        """
        if not self.required:
            return
        if why := flaw(min_sites, self.dropouts, self.colluding):
            raise ValueError(f"secure_aggregation with [tool.flame.federation] min_sites = {min_sites}: {why}")
        listed: set[str] = set()
        for kind, rules in messages.items():
            listed |= {f"{rule.record}/{rule.name}" for rule in rules.arrays}
            if not noisy:
                _check_ranges(kind, rules, bounded=bounded)
                _check_weight(kind, rules, self.weight)
        self._check_min_total(messages, min_sites, noisy=noisy)
        if unknown := sorted(set(self.support) - listed):
            raise ValueError(f"secure_aggregation.support: no message has an array {unknown[0]!r}")
        for name, sites in self.support.items():
            if len(set(sites)) < max(FEWEST_SITES, self.colluding + 2):
                raise ValueError(f"secure_aggregation.support: too few sites supply {name!r}")

    def _check_min_total(self, messages: Mapping[str, MessageTerms], min_sites: int, *, noisy: bool) -> None:
        trusted = max(1, self.colluding)
        if self.min_total is not None and (
            min_sites - self.dropouts < 2 * trusted + 1 or min_sites > MOST_TESTED_SITES
        ):
            raise ValueError(
                f"secure_aggregation.min_total needs from {2 * trusted + 1} to {MOST_TESTED_SITES} sites left after"
                " dropouts: fewer than half of them may collude"
            )
        if self.min_total is not None and self.min_total * (1 + self.colluding) > MOST_MIN_TOTAL:
            raise ValueError(f"secure_aggregation.min_total times 1 + colluding is beyond {MOST_MIN_TOTAL}")
        if (self.min_total is None) != (not self.min_total_of) or (noisy and self.min_total_of):
            raise ValueError("secure_aggregation: min_total and min_total_of go together, and not with noise")
        counts = {
            f"{rule.record}/{rule.name}"
            for rules in messages.values()
            for rule in rules.arrays
            if rule.kind in {"count", "histogram"} and "int" in rule.dtype
        }
        if unknown := sorted(set(self.min_total_of) - counts):
            raise ValueError(f"secure_aggregation.min_total_of: no message has an array of whole counts {unknown[0]!r}")


def _check_ranges(kind: str, rules: MessageTerms, *, bounded: bool) -> None:
    def require(found: Iterable[str], what: str) -> None:
        if names := ", ".join(found):
            raise ValueError(f"{kind}: to be masked, {what}: {names}")

    unbounded = [] if bounded else [rule for rule in rules.leaving.arrays if rule.max_abs is None]
    require((rule.name for rule in unbounded), "these arrays need max_abs")
    require((rule.name for rule in rules.arrays if rule.dtype == "bool"), "these arrays need numbers, not bool")
    require((m.name for m in rules.metrics if m.length is not None), "these metrics must be one number; send arrays")
    open_ = (m.name for m in rules.metrics if m.max is None or (m.min is None and m.kind != "count"))
    require(open_, "these metrics need min and max (a count max)")


def _check_weight(kind: str, rules: MessageTerms, weight: str | None) -> None:
    if weight is None or (all(rule.kind in SUMMED for rule in rules.leaving.arrays) and not rules.metrics):
        return
    found = [m for m in rules.metrics if m.name == weight]
    if len(found) != 1 or found[0].kind != "count":
        raise ValueError(f"{kind}: secure_aggregation.weight = {weight!r} must name one count metric of it")


SUMMED = frozenset({"sum", "count", "histogram"})
"""Kinds of arrays and metrics that add up over sites; of the others the mean is formed."""


def largest(rule: ArrayRule, clip_norm: float | None) -> float:
    """The bound on the absolute value of each of an array's numbers."""
    bounds = [bound for bound in (rule.max_abs, clip_norm) if bound is not None]
    return min(bounds) if bounds else math.inf
