"""Means, variances, covariances and correlations over all sites, equal to those of the pooled rows.

Each is two exchanges of sums. The first one finds where a column lies, the second one sums z = (x - centre) / scale
with the centre and scale found: sums of numbers near 0 and 1, whatever the columns' units, so that a mean of a million
with a standard deviation of one costs no digits (the corrected two-pass algorithm: Chan, Golub and LeVeque, "Algorithms
for computing the sample variance", The American Statistician 37(3), 1983). The mean is then corrected as well: what the
first exchange lost, by rounding or in the fixed point of a secure sum, the second one puts right.

What a site answers, each in the array record ``sums``. All receive a config record ``ask`` with ``columns`` (p names)
and an array record ``reference`` with ``centre`` and ``scale`` (p,); a missing value has z = 0:

* ``query.moments``: ``n`` (1,) rows, ``count`` (p,) values that are present, ``sum_z``, ``sum_zz`` (p,);
* ``query.cross``, over complete rows: ``n`` (1,), ``sum_z`` (p,), ``gram`` (p, p) = Z'Z;
* ``query.cross_pairwise``: (p, p) each, entry (i, j) over the rows that have both columns: ``count``, ``sum_z`` and
  ``sum_zz`` of column i, ``gram`` of z_i z_j.

Nothing here looks at a single site's answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.sums import Exchange, Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Ranges = Mapping[str, tuple[float, float]]
Rows = Literal["complete", "pairwise"]

_NO_SPREAD = 8 * float(np.finfo(np.float64).eps)
"""A standard deviation below this share of the mean is rounding: float64 cannot hold such a column's values apart."""


@dataclass(frozen=True, eq=False)
class Summary:
    """The first two moments of each column; 2 exchanges.

    Attributes:
        columns: p names.
        rows: Rows in all sites.
        count: (p,) values that are present.
        mean: (p,) in the column's unit; NaN without a value.
        variance: (p,) with divisor count - 1, in the unit squared; NaN with fewer than two values.
    """

    columns: tuple[str, ...]
    rows: int
    count: Int
    mean: Vector
    variance: Vector

    @property
    def missing(self) -> Int:
        """(p,) values that are missing."""
        return self.rows - self.count

    @property
    def sd(self) -> Vector:
        """(p,) standard deviations."""
        return np.sqrt(self.variance)


@dataclass(frozen=True, eq=False)
class Covariance:
    """Second moments of all pairs of columns; 2 exchanges.

    Attributes:
        columns: p names.
        rows: Over which rows: "complete", those in which no column is missing; "pairwise", for each pair those that
            have both (such a matrix need not be positive semidefinite).
        count: (p, p) rows behind each entry.
        mean: (p,) over the complete rows, or over each column's own.
        covariance: (p, p) with divisor count - 1; NaN with fewer than two rows.
        correlation: (p, p) Pearson's; NaN where a column does not vary.
    """

    columns: tuple[str, ...]
    rows: Rows
    count: Int
    mean: Vector
    covariance: Matrix
    correlation: Matrix


def summarise(exchange: Exchange, columns: Sequence[str], *, ranges: Ranges | None = None) -> Summary:
    """Count, missing values, mean and variance of columns. 2 exchanges.

    Args:
        exchange: Asks all sites and returns sums.
        columns: Numeric columns, p of them.
        ranges: Where columns are expected to lie, (low, high). The result does not depend on it; the first exchange
            then moves small numbers, which a secure sum of bounded range needs.

    Raises:
        ValueError: No column, one twice, or a range that is none.
        UnusableReply: The sums are not those of these columns.
    """
    first = _Located.by(exchange, columns, ranges)
    sums = exchange("query.moments", first.content())
    p = len(first.columns)
    count = expect_counts(sums, "count", (p,))
    sum_z, sum_zz = expect(sums, "sum_z", (p,)), expect(sums, "sum_zz", (p,))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first.centre + first.scale * (sum_z / np.where(count > 0, count, np.nan))
        spread = np.maximum(sum_zz - sum_z**2 / count, 0.0)
        variance = first.scale**2 * spread / np.where(count > 1, count - 1, np.nan)
    return Summary(first.columns, int(expect_counts(sums, "n", (1,))[0]), count, mean, variance)


def covariance(
    exchange: Exchange, columns: Sequence[str], *, rows: Rows = "complete", ranges: Ranges | None = None
) -> Covariance:
    """Covariances and correlations of all pairs of columns. 2 exchanges.

    Args:
        exchange: Asks all sites and returns sums.
        columns: Numeric columns, p of them.
        rows: See `Covariance`.
        ranges: As in `summarise`.

    Raises:
        ValueError: As `summarise`, or `rows` is neither.
        UnusableReply: The sums are not those of these columns.
    """
    if rows not in {"complete", "pairwise"}:
        raise ValueError(f"rows is {rows!r}; it is complete or pairwise.")
    first = _Located.by(exchange, columns, ranges)
    p = len(first.columns)
    shape = (p, p)
    if rows == "complete":
        sums = exchange("query.cross", first.content())
        count = np.broadcast_to(expect_counts(sums, "n", (1,)), shape).copy()
        gram = expect(sums, "gram", shape)
        sum_z = np.broadcast_to(expect(sums, "sum_z", (p,))[:, None], shape)
        sum_zz = np.broadcast_to(np.diagonal(gram)[:, None], shape)
    else:
        sums = exchange("query.cross_pairwise", first.content())
        count = expect_counts(sums, "count", shape)
        gram, sum_z, sum_zz = (expect(sums, name, shape) for name in ("gram", "sum_z", "sum_zz"))
    n = np.where(count > 0, count, np.nan)
    mean_z = sum_z / n  # of column i over the rows of (i, j)
    shared = gram / n - mean_z * mean_z.T
    spread = np.maximum(sum_zz / n - mean_z**2, 0.0)
    mean = first.centre + first.scale * np.diagonal(mean_z)
    constant = first.scale[:, None] * np.sqrt(spread) <= _NO_SPREAD * np.abs(mean)[:, None]
    spread = np.where(constant, np.nan, spread)
    with np.errstate(invalid="ignore", divide="ignore"):
        unbiased = n / np.where(count > 1, n - 1, np.nan)
        covariances = np.outer(first.scale, first.scale) * shared * unbiased
        correlation = np.clip(shared / np.sqrt(spread * spread.T), -1.0, 1.0)
    return Covariance(first.columns, rows, count, mean, _symmetric(covariances), _symmetric(correlation))


def expect(sums: Sums, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """An array of the sums as float64.

    Raises:
        UnusableReply: It is not there, or of another shape.
    """
    array = sums.get(name)
    if array is None or array.shape != shape:
        found = "without it" if array is None else f"of shape {list(array.shape)}"
        raise UnusableReply(f"The sites' sums need {name!r} of shape {list(shape)}; they came {found}.")
    return np.asarray(array, dtype=np.float64)


def expect_counts(sums: Sums, name: str, shape: tuple[int, ...]) -> Int:
    """An array of counts as int64.

    Raises:
        UnusableReply: It is not there, of another shape, or holds a negative number.
    """
    counts = np.rint(expect(sums, name, shape)).astype(np.int64)
    if (counts < 0).any():
        raise UnusableReply(f"The sites' sums hold a negative count in {name!r}.")
    return counts


def named(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns as a tuple.

    Raises:
        ValueError: None, or one twice.
    """
    names = tuple(columns)
    if not names or len(set(names)) < len(names):
        raise ValueError("Name at least one column, and each of them once.")
    return names


@dataclass(frozen=True, eq=False)
class _Located:
    """Where columns lie: what the second exchange standardises by."""

    columns: tuple[str, ...]
    centre: Vector
    scale: Vector

    @classmethod
    def by(cls, exchange: Exchange, columns: Sequence[str], ranges: Ranges | None) -> "_Located":
        """From the pooled moments, one exchange."""
        names = named(columns)
        start = cls(names, *_expected(names, ranges or {}))
        sums = exchange("query.moments", start.content())
        count = np.maximum(expect_counts(sums, "count", (len(names),)), 1)
        mean = expect(sums, "sum_z", (len(names),)) / count
        spread = np.sqrt(np.maximum(expect(sums, "sum_zz", (len(names),)) / count - mean**2, 0.0))
        centre, scale = start.centre + start.scale * mean, start.scale * spread
        # Where the spread is lost in rounding it is still known to be about this small.
        scale = np.maximum(scale, 1e-8 * np.abs(centre))
        return cls(names, centre, np.where(scale > 0, scale, 1.0))

    def content(self) -> dict[str, dict[str, Any]]:
        return {
            "ask": {"columns": list(self.columns)},
            "reference": {"centre": self.centre, "scale": self.scale},
        }


def _expected(columns: tuple[str, ...], ranges: Ranges) -> tuple[Vector, Vector]:
    """Centre and half width of the declared ranges, 0 and 1 where none is declared."""
    bounds = np.array([ranges.get(name, (-1.0, 1.0)) for name in columns], dtype=np.float64)
    if not (np.isfinite(bounds).all() and (bounds[:, 0] < bounds[:, 1]).all()):
        raise ValueError("A range is two finite numbers, the low one first.")
    return bounds.mean(axis=1), (bounds[:, 1] - bounds[:, 0]) / 2


def _symmetric(matrix: Matrix) -> Matrix:
    return np.asarray((matrix + matrix.T) / 2)
