"""Quantiles over all sites, from counts: to a declared grid in one exchange, or exact in a few.

On a grid: a histogram in declared bins says in which bin a quantile lies; within it the values are taken to be spread
evenly. One exchange; the pooled quantile lies in the same bin, so the error is at most the bin's width.

Exact: the r-th smallest of all values is the least x with #{values <= x} >= r, and float64 numbers are finite in number
and have an order that is that of integers (their bits, read as a signed magnitude). So a search over those integers
ends at the value itself. Each exchange asks for counts at `points` thresholds in every bracket at once, for all columns
and probabilities, which narrows a bracket by the factor points + 1: with 255 points the 2^64 numbers take 8 exchanges,
whole numbers between 0 and 254 take one. Counts are integers: under a secure sum the result is the same to the last
bit.

* ``query.ranks`` receives a config record ``ask`` with ``columns`` (p names) and an array record ``reference`` with
  ``thresholds`` (p, T). Reply: ``at_most`` (p, T), values of a column at most each threshold, and ``count`` (p,).

An exact quantile is the value of one patient, and the thresholds close in on it: gates that hide small counts make the
lowest and highest quantiles inexact, and gates that blur counts end the search with an error.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from flame_strategies.count_tables import histograms
from flame_strategies.errors import UnusableReply
from flame_strategies.statistics import Int, Matrix, Ranges, Vector, expect_counts, named
from flame_strategies.sums import Exchange

Method = Literal["inverted_cdf", "linear"]

_LOWEST = np.iinfo(np.int64).min
_WHOLE = 1 << 53
"""Every whole number up to here is a float64."""


@dataclass(frozen=True, eq=False)
class Quantiles:
    """Exact quantiles.

    Attributes:
        columns: p names.
        probabilities: (k,).
        count: (p,) values that are present.
        values: (p, k) in the columns' units; NaN for a column without values.
        exchanges: How many it took.
    """

    columns: tuple[str, ...]
    probabilities: Vector
    count: Int
    values: Matrix
    exchanges: int


@dataclass(frozen=True, eq=False)
class GridQuantiles:
    """Quantiles to a grid; 1 exchange.

    Attributes:
        columns: p names.
        probabilities: (k,).
        count: (p,) values that are present.
        values: (p, k) interpolated in their bin; NaN where the quantile lies outside of the grid.
        low: (p, k) the pooled quantile is at least this; minus infinity below the grid.
        high: (p, k) and at most this.
    """

    columns: tuple[str, ...]
    probabilities: Vector
    count: Int
    values: Matrix
    low: Matrix
    high: Matrix


def quantiles_on_grid(
    exchange: Exchange, grid: Mapping[str, npt.ArrayLike], probabilities: Sequence[float]
) -> GridQuantiles:
    """Quantiles to the width of a bin. 1 exchange.

    Args:
        exchange: Asks all sites and returns sums.
        grid: By column, the edges of the bins, finite and rising.
        probabilities: k numbers from 0 to 1.

    Raises:
        ValueError: As `histograms`, or a probability is none.
        UnusableReply: The sums are not those of these columns.
    """
    q = _probabilities(probabilities)
    found = histograms(exchange, grid)
    count = np.array([h.total for h in found.values()], dtype=np.int64)
    values, low, high = (np.full((len(found), len(q)), np.nan) for _ in range(3))
    for row, h in enumerate(found.values()):
        if h.total == 0:
            continue
        edges = np.concatenate([[-np.inf], h.edges, [np.inf]])
        cells = np.concatenate([[h.below], h.counts, [h.above]])
        ends = np.cumsum(cells)
        rank = _rank(h.total, q)
        at = np.searchsorted(ends, rank)  # the first bin in which so many are reached
        low[row], high[row] = edges[at], edges[at + 1]
        with np.errstate(invalid="ignore"):
            share = (rank - (ends - cells)[at]) / cells[at]
            inside = low[row] + share * (high[row] - low[row])
        values[row] = np.where(np.isfinite(inside), inside, np.nan)
    return GridQuantiles(tuple(found), q, count, values, low, high)


def quantiles(
    exchange: Exchange,
    columns: Sequence[str],
    probabilities: Sequence[float],
    *,
    method: Method = "inverted_cdf",
    whole: Collection[str] = (),
    ranges: Ranges | None = None,
    points: int = 255,
) -> Quantiles:
    """Exact quantiles of columns, in about 64 / log2(points + 1) exchanges.

    Args:
        exchange: Asks all sites and returns sums.
        columns: Numeric columns, p of them.
        probabilities: k numbers from 0 to 1.
        method: As in ``numpy.quantile``: "inverted_cdf" is an observed value; "linear" lies between two of them, and
            asks for both.
        whole: Columns that hold whole numbers only, at most 2^53 in size: far fewer exchanges. If they hold others, the
            result is rounded up.
        ranges: Where columns are expected to lie, (low, high): the first thresholds. The result does not depend on it.
        points: Thresholds per bracket and exchange; a reply has p k points counts of 8 bytes, for "linear" twice that.

    Raises:
        ValueError: No column, one twice, a probability is none, or fewer than one point.
        UnusableReply: The sums are not those of these columns, or not counts of one set of rows.
    """
    names, q = named(columns), _probabilities(probabilities)
    if method not in {"inverted_cdf", "linear"} or points < 1:
        raise ValueError("The method is inverted_cdf or linear, with at least one point.")
    search = _Search(exchange, names, np.array([name in set(whole) for name in names]), points)
    search.start(ranges or {})
    n = search.count[:, None].astype(np.float64)
    if method == "inverted_cdf":
        values = search.finish(_rank(n, q))
    else:
        place = (n - 1) * q
        before = np.floor(place)
        pair = search.finish(np.concatenate([before, np.minimum(before + 1, n - 1)], axis=1).astype(np.int64) + 1)
        values = _between(pair[:, : len(q)], pair[:, len(q) :], place - before)
    values[search.count == 0] = np.nan
    return Quantiles(names, q, search.count, values, search.exchanges)


class _Search:
    """Brackets (low, high] of the keys of order statistics: #{x <= low} < rank <= #{x <= high}."""

    def __init__(self, exchange: Exchange, columns: tuple[str, ...], whole: npt.NDArray[np.bool_], points: int) -> None:
        self._exchange, self._columns, self._whole, self._points = exchange, columns, whole, points
        self._keys: list[Int] = []
        self._at_most: list[Int] = []
        self.count = np.zeros(len(columns), dtype=np.int64)
        self.exchanges = 0

    def start(self, ranges: Ranges) -> None:
        """The first exchange, before any rank is known: how many values there are, and counts over the ranges."""
        top = np.where(self._whole, _WHOLE, _keys(np.array(np.finfo(np.float64).max)))
        self._ends = -top - 1, top
        keys = _inside(self._ends[0][:, None], self._ends[1][:, None], self._points)
        for row, name in enumerate(self._columns):
            if name not in ranges:
                continue
            first = np.linspace(*ranges[name], max(self._points, 2))
            if not (np.isfinite(first).all() and first[0] < first[-1]):
                raise ValueError("A range is two finite numbers, the low one first.")
            own = np.clip(np.rint(first), -_WHOLE, _WHOLE).astype(np.int64) if self._whole[row] else _keys(first)
            keys[row] = own[: keys.shape[1]]
        self._ask(np.arange(len(self._columns)), keys)

    def finish(self, rank: Int) -> Matrix:
        """The order statistics of ranks (p, k), from 1."""
        low, high = (np.repeat(end[:, None], rank.shape[1], axis=1) for end in self._ends)
        while True:
            for row, (keys, at_most) in enumerate(zip(self._keys, self._at_most, strict=True)):
                place = np.searchsorted(at_most, rank[row])
                ends = np.concatenate([[low[row].min()], keys, [high[row].max()]])
                low[row] = np.maximum(low[row], ends[place])
                high[row] = np.minimum(high[row], ends[place + 1])
            open_ = np.flatnonzero((high != low + 1).any(axis=1) & (self.count > 0))
            if open_.size == 0:
                return np.asarray(np.where(self._whole[:, None], high.astype(np.float64), _floats(high)))
            inside = _inside(low[open_][:, :, None], high[open_][:, :, None], self._points)
            self._ask(open_, inside.reshape(len(open_), -1))

    def _ask(self, rows: npt.NDArray[np.intp], keys: Int) -> None:
        keys = np.sort(keys, axis=1)
        thresholds = np.where(self._whole[rows, None], keys.astype(np.float64), _floats(keys))
        names = [self._columns[row] for row in rows]
        sums = self._exchange("query.ranks", {"ask": {"columns": names}, "reference": {"thresholds": thresholds}})
        at_most, count = expect_counts(sums, "at_most", keys.shape), expect_counts(sums, "count", (len(rows),))
        if (np.diff(at_most, axis=1) < 0).any() or (at_most[:, -1] > count).any():
            raise UnusableReply("The counts do not rise with the threshold, so they were blurred; ask for a grid.")
        if self.exchanges == 0:
            self._keys, self._at_most, self.count = list(keys), list(at_most), count
        elif (self.count[rows] != count).any():
            raise UnusableReply("The sites' numbers of values changed during the search; start again.")
        self.exchanges += 1
        for row, own, counts in zip(rows, keys, at_most, strict=True):
            self._keys[row], self._at_most[row] = own, counts


def _inside(low: Int, high: Int, points: int) -> Int:
    """Keys that part (low, high) evenly; (..., points) from (..., 1). All of them where there are no more."""
    start, width = low.view(np.uint64), high.view(np.uint64) - low.view(np.uint64)
    step, part = np.arange(1, points + 1, dtype=np.uint64), np.uint64(points + 1)
    return np.asarray((start + width // part * step + width % part * step // part).view(np.int64))


def _keys(values: Vector) -> Int:
    """Integers in the order of the finite numbers; both zeros are 0."""
    bits = np.asarray(values, dtype=np.float64).view(np.int64)
    return np.asarray(np.where(bits >= 0, bits, _LOWEST - bits))


def _floats(keys: Int) -> Vector:
    """The numbers of `_keys`."""
    return np.where(keys >= 0, keys, _LOWEST - keys).view(np.float64)


def _rank(n: float | Matrix, q: Vector) -> Int:
    """The rank from 1 that ``numpy.quantile(method="inverted_cdf")`` takes of n values, by its own arithmetic."""
    return np.maximum(np.ceil(n * q - 1.0), 0.0).astype(np.int64) + 1


def _between(a: Matrix, b: Matrix, share: Matrix) -> Matrix:
    """From a to b, from whichever is nearer, so that it stays between them and reaches both exactly."""
    return np.where(share < 0.5, a + (b - a) * share, b - (b - a) * (1.0 - share))


def _probabilities(probabilities: Sequence[float]) -> Vector:
    q = np.asarray(probabilities, dtype=np.float64)
    if q.ndim != 1 or len(q) == 0 or not ((q >= 0) & (q <= 1)).all():
        raise ValueError("Name at least one probability, from 0 to 1.")
    return q
