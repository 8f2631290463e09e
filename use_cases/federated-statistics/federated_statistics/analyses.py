"""The descriptive analyses, as the hub runs them: strategies on sums, and their results as numbers."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from flame_strategies.count_tables import cross_table, histograms
from flame_strategies.pca import fit_pca
from flame_strategies.quantiles import quantiles, quantiles_on_grid
from flame_strategies.statistics import Rows, covariance, summarise
from flame_strategies.sums import Exchange

from federated_statistics.errors import InputError
from federated_statistics.results import Result, bin_label, cells, group, groups
from federated_statistics.settings import Settings

POINTS = 255
"""Thresholds per quantile and exchange; the release contract in ``pyproject.toml`` has room for them."""


def summary(exchange: Exchange, settings: Settings) -> Result:
    """Count, missing values, mean, standard deviation and variance. 2 exchanges."""
    found = summarise(exchange, settings.columns, ranges=settings.ranges)
    names = found.columns
    numbers = {
        "count": group(names, found.count),
        "missing": group(names, found.missing),
        "mean": group(names, found.mean),
        "sd": group(names, found.sd),
        "variance": group(names, found.variance),
    }
    return Result(numbers, 2, {"rows": found.rows})


def histogram(exchange: Exchange, settings: Settings) -> Result:
    """Counts in bins of equal width over the declared ranges. 1 exchange."""
    found = histograms(exchange, edges_of(settings))
    numbers = {}
    for name, h in found.items():
        labels = [bin_label(*pair) for pair in pairwise(h.edges)]
        numbers[name] = group([*labels, "below", "above", "missing"], [*h.counts, h.below, h.above, h.missing])
    details = {"edges": {name: h.edges.tolist() for name, h in found.items()}}
    return Result(numbers, 1, details)


def crosstab(exchange: Exchange, settings: Settings) -> Result:
    """Counts by two columns, with margins. 1 exchange."""
    found = cross_table(exchange, settings.row, settings.column, settings.levels)
    statistic, freedom = found.chi_squared()
    left_out = int(found.cells.sum()) - found.total
    numbers = cells(found.counts, found.row_levels, found.column_levels)
    numbers["independence"] = {"chi-squared": statistic, "degrees of freedom": float(freedom)}
    note = f"Rows are {found.row}, columns are {found.column}; {left_out} rows lack one of the two."
    return Result(numbers, 1, {"left_out": left_out}, (note,))


def quantile(exchange: Exchange, settings: Settings) -> Result:
    """Quantiles: exact, or to a grid in 1 exchange."""
    q = settings.probabilities
    names = [f"q{p:g}" for p in q]
    if settings.quantiles == "grid":
        grid = quantiles_on_grid(exchange, edges_of(settings), q)
        numbers = {"count": group(grid.columns, grid.count), **groups(names, grid.columns, grid.values.T)}
        for end, values in (("low", grid.low), ("high", grid.high)):
            numbers |= groups(
                [f"{name} {end}" for name in names], grid.columns, np.where(np.isinf(values), np.nan, values).T
            )
        note = "Values are interpolated; the quantile of the pooled rows lies between low and high."
        return Result(numbers, 1, {}, (note,))
    if settings.quantiles not in {"exact", "linear"}:
        raise InputError(f"Quantiles are exact, linear or grid, not {settings.quantiles!r}.")
    found = quantiles(
        exchange,
        settings.columns,
        q,
        method="linear" if settings.quantiles == "linear" else "inverted_cdf",
        whole=settings.whole,
        ranges=settings.ranges,
        points=POINTS,
    )
    numbers = {"count": group(found.columns, found.count), **groups(names, found.columns, found.values.T)}
    return Result(numbers, found.exchanges)


def correlation(exchange: Exchange, settings: Settings) -> Result:
    """Pearson's correlations of all pairs of columns. 2 exchanges."""
    rows: Rows = "pairwise" if settings.rows == "pairwise" else "complete"
    found = covariance(exchange, settings.columns, rows=rows, ranges=settings.ranges)
    counts = np.diagonal(found.count)
    note = f"Over {rows} rows: {counts.min()} to {counts.max()} of them by column."
    details = {
        "covariance": [[None if np.isnan(v) else float(v) for v in row] for row in found.covariance],
        "rows": rows,
    }
    return Result(groups(found.columns, found.columns, found.correlation), 2, details, (note,))


def pca(exchange: Exchange, settings: Settings) -> Result:
    """Principal components over complete rows. 2 exchanges."""
    found = fit_pca(
        exchange,
        settings.columns,
        components=settings.components or None,
        scaled=settings.scaled,
        ranges=settings.ranges,
    )
    names = [f"PC{number}" for number in range(1, len(found.components) + 1)]
    numbers = {
        "variance": group(names, found.explained_variance),
        "share": group(names, found.explained_variance_ratio),
        **groups(names, found.columns, found.components),
    }
    details = {"centre": found.centre.tolist(), "scale": found.scale.tolist(), "columns": list(found.columns)}
    return Result(numbers, 2, details, (f"Over {found.rows} complete rows.",))


def edges_of(settings: Settings) -> dict[str, "np.typing.NDArray[np.float64]"]:
    """Edges of equal bins over each column's declared range."""
    found = {}
    for name in settings.columns:
        low, high = settings.range_of(name)
        found[name] = np.linspace(low, high, settings.bins + 1)
    return found


DESCRIPTIVE: dict[str, Callable[[Exchange, Settings], Result]] = {
    "summary": summary,
    "histogram": histogram,
    "crosstab": crosstab,
    "quantiles": quantile,
    "correlation": correlation,
    "pca": pca,
}
