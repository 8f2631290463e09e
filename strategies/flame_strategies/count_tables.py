"""Histograms and cross tables over all sites: integer counts, one exchange each, equal to the pooled ones to the unit.

Edges and levels are declared before anything is asked: found in the data they would say something of single patients,
and differ from site to site. What falls outside them is counted beside.

* ``query.histogram`` receives a config record ``ask`` with ``columns`` (p names) and an array record ``reference`` with
  ``edges`` (p, B + 1), rising, shorter ones filled up with infinity. Reply: ``counts`` (p, B + 3): below the edges, in
  each bin, above, missing.
* ``query.cross_table`` receives ``ask`` with ``row`` and ``column``. Reply: ``counts`` (R + 1, C + 1), the last row and
  column for values that are missing or none of the levels.

Counts stay counts under disclosure control: where a gate hides small cells, or a secure sum is taken, the tables hold
what arrived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.statistics import Int, Vector, expect_counts, named
from flame_strategies.sums import Exchange


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of one column.

    Attributes:
        edges: (B + 1,) rising; bins are [a, b), the last one [a, b], as numpy has them.
        counts: (B,) in the bins.
        below: Values under the first edge.
        above: Values over the last one.
        missing: Rows without a value.
    """

    edges: Vector
    counts: Int
    below: int
    above: int
    missing: int

    @property
    def total(self) -> int:
        """Values that are present, in the bins or outside."""
        return int(self.counts.sum()) + self.below + self.above


@dataclass(frozen=True, eq=False)
class CrossTable:
    """Counts by two columns.

    Attributes:
        row: Name of the column whose levels are the rows.
        column: Name of the other one.
        row_levels: R levels.
        column_levels: C levels.
        cells: (R + 1, C + 1) counts, the last row and column for missing values.
    """

    row: str
    column: str
    row_levels: tuple[str, ...]
    column_levels: tuple[str, ...]
    cells: Int

    @property
    def counts(self) -> Int:
        """(R, C) rows that have both."""
        return self.cells[:-1, :-1]

    @property
    def row_totals(self) -> Int:
        """(R,) margin over `counts`."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def column_totals(self) -> Int:
        """(C,) margin over `counts`."""
        return np.asarray(self.counts.sum(axis=0))

    @property
    def total(self) -> int:
        """Rows that have both."""
        return int(self.counts.sum())

    def chi_squared(self) -> tuple[float, int]:
        """Pearson's statistic of independence and its degrees of freedom, over levels that occur.

        NaN and 0 where only one level of a column occurs.
        """
        counts = self.counts[self.row_totals > 0][:, self.column_totals > 0].astype(np.float64)
        freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1) if counts.size else 0
        if freedom == 0:
            return float("nan"), 0
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
        return float(((counts - expected) ** 2 / expected).sum()), freedom


def histograms(exchange: Exchange, edges: Mapping[str, npt.ArrayLike]) -> dict[str, Histogram]:
    """Histograms of columns in declared bins. 1 exchange.

    Args:
        exchange: Asks all sites and returns sums.
        edges: By column, (B + 1,) finite and rising; B may differ.

    Returns:
        By column.

    Raises:
        ValueError: No column, or edges that do not rise.
        UnusableReply: The sums are not those of these columns.
    """
    columns = named(tuple(edges))
    of = [np.asarray(edges[name], dtype=np.float64) for name in columns]
    if any(e.ndim != 1 or len(e) < 2 or not np.isfinite(e).all() or (np.diff(e) <= 0).any() for e in of):
        raise ValueError("The edges of a histogram are two finite numbers or more, rising.")
    most = max(len(e) for e in of)
    padded = np.stack([np.concatenate([e, np.full(most - len(e), np.inf)]) for e in of])
    sums = exchange("query.histogram", {"ask": {"columns": list(columns)}, "reference": {"edges": padded}})
    counts = expect_counts(sums, "counts", (len(columns), most + 2))
    return {
        name: Histogram(e, row[1 : len(e)], int(row[0]), int(row[-2]), int(row[-1]))
        for name, e, row in zip(columns, of, counts, strict=True)
    }


def cross_table(exchange: Exchange, row: str, column: str, levels: Mapping[str, Sequence[str]]) -> CrossTable:
    """Rows by the levels of two columns. 1 exchange.

    Args:
        exchange: Asks all sites and returns sums.
        row: A column with declared levels.
        column: Another one.
        levels: The levels, by column, in the order the sites have them in.

    Raises:
        ValueError: The two are one, or have no levels.
        UnusableReply: The sums are not those of these levels.
    """
    if row == column or not levels.get(row) or not levels.get(column):
        raise ValueError("A cross table needs two columns with declared levels.")
    of = tuple(levels[row]), tuple(levels[column])
    sums = exchange("query.cross_table", {"ask": {"row": row, "column": column}})
    cells = expect_counts(sums, "counts", (len(of[0]) + 1, len(of[1]) + 1))
    return CrossTable(row, column, *of, cells)
