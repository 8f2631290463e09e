"""The release contract: what may be asked with each message type, and exactly what may leave in answer."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from flame_fl.contract.content import DTYPES
from flame_fl.contract.frames import MAX_ARRAYS, MAX_HEADER_BYTES
from flame_fl.contract.words import Frozen, ItemName, Moderate

Exactly = Annotated[int, Field(ge=0, le=1 << 31)]
MAX_ELEMENTS = 1 << 31
_OF_COMPANIONS = ("contributors", "largest_share", "guard", "guard_zero")
AtMost = Annotated[str, StringConstraints(pattern=r"^<=[1-9][0-9]{0,9}$")]


class ArrayRule(Frozen):
    """One array that may leave; it must be there."""

    record: ItemName
    """Name of the ArrayRecord."""
    name: ItemName
    """Name of the array in it."""
    dtype: str
    """bool, float16 to float64, int8 to int64 or uint8 to uint64."""
    shape: Annotated[tuple[Exactly | AtMost, ...], Field(max_length=32)]
    """One entry per dimension: an integer is exact, "<=N" a bound."""
    kind: Literal["model", "sum", "mean", "rate", "count", "histogram"] = "model"
    """What its elements are, for disclosure control: counts lose small cells; sums, means and rates those elements that
    its companions say too few patients, or one patient, stand behind."""
    contributors: ItemName | None = None
    """Of a sum, mean or rate: the array in the same record that says how many patients contributed to each element. It
    is looked at and does not leave."""
    largest_share: ItemName | None = None
    """Of a sum or mean: likewise, one patient's largest share of each element's sum of absolute contributions."""
    guard: ItemName | None = None
    """Of a sum of shape (m, ...): an array (m, c) of whole counts in the same record, that is looked at and does not
    leave. Row i of the sum leaves as 0 where one of the c counts of row i is small. Under masks, if `min_total_of` of
    [tool.flame.secure_aggregation] lists the counts, their totals over all DIZ decide; else each DIZ's own, and none at
    all is not small."""
    guard_zero: ItemName | None = None
    """Likewise, of counts that may also be 0: row i leaves as 0 where one of them is neither 0 nor large enough. For
    cells that nobody need be in, such as two copies of an allele."""
    guard_axes: Literal[1, 2] = 1
    """2: of a sum of shape (m, m, ...), rows and columns alike."""
    clip_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """With noise: the array is clipped by itself, to this share of clip_norm. Either every array has one or none; the
    squares of all, and of the metrics' shares, add up to 1 at most."""

    max_abs: Annotated[float, Field(gt=0, le=1e100)] | None = None
    """Bound on the absolute value of each element; what exceeds it is not released. Numbers with noise of vetted code
    are cut off there, if they are masked."""

    @model_validator(mode="after")
    def _known_dtype(self) -> Self:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is unknown; use one of {', '.join(sorted(DTYPES))}")
        if math.prod(max(1, d) for d in self.shape if isinstance(d, int)) > MAX_ELEMENTS:
            raise ValueError("the shape is beyond any array that could be sent")
        return self

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may leave."""
        return len(shape) == len(self.shape) and all(
            have == want if isinstance(want, int) else have <= int(want[2:])
            for have, want in zip(shape, self.shape, strict=True)
        )

    @property
    def guards(self) -> tuple[str, ...]:
        """Names of the counts that guard its rows."""
        return tuple(dict.fromkeys(name for name in (self.guard, self.guard_zero) if name is not None))

    @property
    def exact_shape(self) -> tuple[int, ...] | None:
        """The shape if every dimension is exact, else None."""
        dims = tuple(d for d in self.shape if isinstance(d, int))
        return dims if len(dims) == len(self.shape) else None

    @property
    def least_bytes(self) -> int:
        """Bytes of the smallest array the rule allows."""
        return math.prod(d if isinstance(d, int) else 0 for d in self.shape) * np.dtype(self.dtype).itemsize


class MetricRule(Frozen):
    """One metric that may leave; it may be missing."""

    record: ItemName
    """Name of the MetricRecord."""
    name: ItemName
    """Name of the metric in it."""
    kind: Literal["count", "mean", "sum", "rate", "score"]
    """What the number is. A rate lies in [0, 1]. A count is a whole number from 0; under an enforced claim it leaves as
    the constant 1."""
    min: Moderate | None = None
    """Smallest value that may leave; under an enforced claim, of the value before noise."""
    max: Moderate | None = None
    """Largest value that may leave, likewise. An enforced claim needs both, for every kind but count."""
    denominator: ItemName | None = None
    """Of a rate, mean or sum: the count in the same record that says how many patients stand behind it."""
    length: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """The metric is a list of at most so many numbers; without it, one number."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"metric {self.name!r}: min must be below max")
        return self


class MessageTerms(Frozen):
    """What may be asked with one message type, how often, and what may leave in answer."""

    per_run: Annotated[int, Field(ge=1, le=1_000_000)]
    """Messages of this type per node and run; repeats of the same message are not counted. A round that is asked again
    after its ServerApp was started again counts again: state the rounds and four more."""
    update: Literal["delta", "value"] = "value"
    """What clipping and noise apply to: the arrays themselves, or their difference to the arrays that were sent."""
    max_bytes: Annotated[int, Field(ge=1, le=1 << 31)] = 256 * 1024 * 1024
    """Bytes of all arrays of one reply."""
    arrays: tuple[ArrayRule, ...] = ()
    """The arrays that may leave."""
    metrics: tuple[MetricRule, ...] = ()
    """The metrics that may leave."""

    @model_validator(mode="after")
    def _listed_once(self) -> Self:
        keys = [(r.record, r.name) for r in self.arrays] + [(r.record, r.name) for r in self.metrics]
        if len(keys) != len(set(keys)):
            raise ValueError("an array or metric is listed twice")
        records = {r.record for r in self.arrays}, {r.record for r in self.metrics}
        if records[0] & records[1] or "flame" in records[0] | records[1]:
            raise ValueError('arrays and metrics need records of their own, and "flame" is the gate\'s')
        if sum(rule.least_bytes for rule in self.arrays) > self.max_bytes:
            raise ValueError("the listed arrays have more than max_bytes, so nothing could ever leave")
        self._check_companions()
        if len(self.arrays) > MAX_ARRAYS or self._header_bytes() > MAX_HEADER_BYTES // 2:
            raise ValueError("the listed arrays and metrics are more than one reply's header holds")
        return self

    @property
    def companions(self) -> frozenset[tuple[str, str]]:
        """(record, name) of the arrays that are for disclosure control and do not leave."""
        named = [
            (r.record, name)
            for r in self.arrays
            for name in (r.contributors, r.largest_share, r.guard, r.guard_zero)
            if name is not None
        ]
        return frozenset(named)

    @property
    def leaving(self) -> "MessageTerms":
        """The contract of what leaves: without companions."""
        if not self.companions:
            return self
        arrays = tuple(
            rule.model_copy(update=dict.fromkeys(_OF_COMPANIONS) | {"guard_axes": 1})
            for rule in self.arrays
            if (rule.record, rule.name) not in self.companions
        )
        return self.model_copy(update={"arrays": arrays})

    def _check_companions(self) -> None:
        rules = {(rule.record, rule.name): rule for rule in self.arrays}
        for rule in self.arrays:
            allowed = {"sum": 2, "mean": 2, "rate": 1}.get(rule.kind, 0)
            if (rule.contributors and not allowed) or (rule.largest_share and allowed < 2):
                raise ValueError(f"array {rule.name!r} of kind {rule.kind!r} has no such companion")
            for name, dtype in ((rule.contributors, ("int", "uint")), (rule.largest_share, ("float",))):
                found = rules.get((rule.record, name)) if name is not None else None
                if name is not None and (found is None or not found.dtype.startswith(dtype)):
                    raise ValueError(
                        f"the companion {name!r} of array {rule.name!r} must be a listed array of {dtype[0]}s"
                    )
                if found is not None and (found.kind != "model" or found.shape != rule.shape):
                    raise ValueError(f"the companion {name!r} of array {rule.name!r} needs its shape, and no kind")
            self._check_guards(rule, rules)
        counts = {(m.record, m.name) for m in self.metrics if m.kind == "count"}
        for metric in self.metrics:
            named = metric.denominator
            if named is not None and (metric.kind in {"count", "score"} or (metric.record, named) not in counts):
                raise ValueError(f"the denominator {named!r} of metric {metric.name!r} must be a count beside it")

    @staticmethod
    def _check_guards(rule: ArrayRule, rules: Mapping[tuple[str, str], ArrayRule]) -> None:
        if not rule.guards and rule.guard_axes != 1:
            raise ValueError(f"array {rule.name!r} has guard_axes and no guard")
        if rule.guards and (rule.kind != "sum" or len(rule.shape) < rule.guard_axes):
            raise ValueError(f"array {rule.name!r}: a guard is of a sum, and guards its first dimensions")
        for name in rule.guards:
            found = rules.get((rule.record, name))
            if found is None or found.kind != "count" or "int" not in found.dtype or len(found.shape) != 2:
                raise ValueError(f"the guard {name!r} of array {rule.name!r} must be a listed array (m, c) of counts")
            if {*rule.shape[: rule.guard_axes], found.shape[0]} != {found.shape[0]}:
                raise ValueError(f"the guard {name!r} of array {rule.name!r} needs as many rows")
            if found.guards or found.contributors or (rule.record, rule.name) == (found.record, found.name):
                raise ValueError(f"the guard {name!r} of array {rule.name!r} has no companion of its own")

    def clip_parts(self, others: int, metric_share: float, *, apart: bool) -> tuple[tuple[int, float], ...]:
        """(length, share of clip_norm) of what is clipped by itself: the squares of all shares add up to 1.

        Arrays with a `clip_share` each by themselves, else all arrays together; then `others` coordinates (metrics,
        each of `metric_share` at most). Empty if everything is clipped together: without shares, unless `apart` asks
        that the others are not shortened because an array is long, and there is room for them.
        """
        sizes = [math.prod(rule.exact_shape or ()) for rule in self.arrays]
        left = 1.0 - others * metric_share**2
        if any(rule.clip_share for rule in self.arrays):
            parts = [(size, rule.clip_share or 0.0) for size, rule in zip(sizes, self.arrays, strict=True)]
        elif apart and others and left > 0:
            parts = [(sum(sizes), math.sqrt(left))]
        else:
            return ()
        return (*parts, (others, math.sqrt(others) * metric_share)) if others else tuple(parts)

    def _header_bytes(self) -> int:
        """What a reply's header needs at most: names, shapes and the longest numbers."""
        names = [r.record + r.name for r in self.arrays] + [m.record + m.name for m in self.metrics]
        numbers = sum(len(r.shape) for r in self.arrays) + sum(m.length or 1 for m in self.metrics)
        return sum(len(json.dumps(name)) + 40 for name in names) + 26 * numbers

    def check_shares(self, metric_share: float, *, extra: bool) -> None:
        """What clipping array by array needs of the contract.

        Raises:
            ValueError: Naming what stands in the way.
        """
        shares = [rule.clip_share for rule in self.arrays]
        given = [share for share in shares if share is not None]
        others = sum(rule.kind != "count" for rule in self.metrics) + extra
        if extra and not given and others * metric_share**2 >= 1:
            raise ValueError("adaptive_clip leaves no room for the arrays: fewer metrics, or a smaller metric_share")
        if not given:
            return
        if len(given) < len(shares):
            raise ValueError("give every array a clip_share, or none")
        if sum(share * share for share in given) + others * metric_share**2 > 1 + 1e-9:
            raise ValueError("the squares of the clip shares, metrics' included, add up to more than 1")

    def check_claim(self, *, noisy: bool) -> None:
        """What clipping (and noise) need of the contract: decided before anything runs, so it cannot leak.

        Raises:
            ValueError: Naming what stands in the way.
        """
        if any(not rule.dtype.startswith("float") for rule in self.arrays):
            raise ValueError("an update that is clipped may hold only float arrays")
        if self.companions:
            raise ValueError("companions are for disclosure control, which clipping and noise replace")
        if not noisy:
            if any(rule.clip_share for rule in self.arrays):
                raise ValueError("clip_share needs an enforced claim")
            return
        if any(rule.exact_shape is None for rule in self.arrays):
            raise ValueError("under an enforced claim every array needs an exact shape")
        if any(m.length is not None for m in self.metrics):
            raise ValueError("under an enforced claim a metric is one number; send lists as arrays")
        open_ = [m.name for m in self.metrics if m.kind != "count" and (m.min is None or m.max is None)]
        if open_:
            raise ValueError(f"under an enforced claim these metrics need min and max: {open_}")
