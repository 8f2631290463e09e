"""A DIZ's part of the descriptive statistics: sums and counts over its rows, and nothing of a single row.

| query          | asks                                         | answers                                             |
|----------------|----------------------------------------------|-----------------------------------------------------|
| moments        | columns; centre, scale (p,)                  | n (1,), count (p,), sum_z (p,), sum_zz (p,)         |
| cross          | columns; centre, scale (p,)                  | n (1,), sum_z (p,), gram (p, p), complete rows only |
| cross_pairwise | columns; centre, scale (p,)                  | count, sum_z, sum_zz, gram (p, p), see below        |
| histogram      | columns; edges (p, B + 1), padded with inf   | counts (p, B + 3): below, the bins, above, missing  |
| cross_table    | row, column: two columns with levels         | counts (R + 1, C + 1), the last ones are missing    |
| ranks          | columns; thresholds (p, T)                   | at_most (p, T), count (p,)                          |

With z = (x - centre) / scale. Centre and scale come from the hub: near the pooled mean and standard deviation they keep
the sums small and exact, whatever the columns' units (two passes over the data: Chan, Golub and LeVeque, The American
Statistician 37(3), 1983).

Pairwise, entry (i, j) is over the rows that have both columns: ``count`` how many, ``sum_z`` and ``sum_zz`` the sum of
z_i and of its square, ``gram`` that of z_i z_j.

Invariant: an answer's shape depends on the request and on the declared levels, never on the rows.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from federated_statistics.errors import InputError
from federated_statistics.table import MISSING, Answer, Arrays, Float, Request, Table


def moments(table: Table, request: Request) -> Arrays:
    """By column, over its rows that are present."""
    z, present = _standardised(table, request)
    return {
        "n": np.array([table.rows], dtype=np.int64),
        "count": present.sum(axis=0, dtype=np.int64),
        "sum_z": z.sum(axis=0),
        "sum_zz": (z**2).sum(axis=0),
    }


def cross(table: Table, request: Request) -> Arrays:
    """Second moments over the rows in which no column is missing."""
    z, present = _standardised(table, request)
    z = z[present.all(axis=1)]
    return {"n": np.array([len(z)], dtype=np.int64), "sum_z": z.sum(axis=0), "gram": z.T @ z}


def cross_pairwise(table: Table, request: Request) -> Arrays:
    """Second moments of each pair of columns over the rows that have both."""
    z, present = _standardised(table, request)
    there = present.astype(np.float64)
    return {
        "count": np.rint(there.T @ there).astype(np.int64),
        "sum_z": z.T @ there,
        "sum_zz": (z**2).T @ there,
        "gram": z.T @ z,
    }


def histogram(table: Table, request: Request) -> Arrays:
    """Counts in bins [a, b), the last one [a, b], and beside the bins."""
    values, edges = table.matrix(request.names("columns")), _array(request, "edges", values_of=2)
    _fits(edges.shape[0], values.shape[1], "edges")
    bins = edges.shape[1] - 1
    counts = np.zeros((values.shape[1], bins + 3), dtype=np.int64)
    for column, of in enumerate(edges):
        inside = of[np.isfinite(of)]
        if len(inside) < 2 or (np.diff(inside) <= 0).any() or np.isfinite(of[len(inside) :]).any():
            raise InputError("The edges of a histogram must rise; give at least two for every column.")
        x = values[:, column]
        x = x[~np.isnan(x)]
        place = np.searchsorted(inside, x, side="right")  # 0 below, k in bin k - 1, len(inside) above
        place[x == inside[-1]] = len(inside) - 1
        place[place == len(inside)] = bins + 1
        counts[column] = np.bincount(place, minlength=bins + 3)
        counts[column, -1] = table.rows - len(x)
    return {"counts": counts}


def cross_table(table: Table, request: Request) -> Arrays:
    """Rows by two columns with declared levels."""
    names = str(request.config["row"]), str(request.config["column"])
    sizes = [len(table.levels[name]) if name in table.levels else 0 for name in names]
    codes = [
        np.where((code := table.code(name)) == MISSING, size, code) for name, size in zip(names, sizes, strict=True)
    ]
    shape = sizes[0] + 1, sizes[1] + 1
    cells = np.bincount(codes[0] * shape[1] + codes[1], minlength=shape[0] * shape[1])
    return {"counts": cells.reshape(shape).astype(np.int64)}


def ranks(table: Table, request: Request) -> Arrays:
    """By column: how many values there are, and how many of them are at most each threshold."""
    values, thresholds = table.matrix(request.names("columns")), _array(request, "thresholds", values_of=2)
    _fits(thresholds.shape[0], values.shape[1], "thresholds")
    if np.isnan(thresholds).any():
        raise InputError("A threshold is not a number.")
    at_most = np.zeros(thresholds.shape, dtype=np.int64)
    count = np.zeros(values.shape[1], dtype=np.int64)
    for column, of in enumerate(thresholds):
        x = values[:, column]
        x = np.sort(x[~np.isnan(x)])
        at_most[column] = np.searchsorted(x, of, side="right")
        count[column] = len(x)
    return {"at_most": at_most, "count": count}


ANSWERS: Mapping[str, Answer] = {
    "moments": moments,
    "cross": cross,
    "cross_pairwise": cross_pairwise,
    "histogram": histogram,
    "cross_table": cross_table,
    "ranks": ranks,
}
"""By the query's name without ``query.``."""


def _standardised(table: Table, request: Request) -> tuple[Float, npt.NDArray[np.bool_]]:
    """(n, p) values of z, 0 where missing, and which are present."""
    values = table.matrix(request.names("columns"))
    centre, scale = _array(request, "centre", values_of=1), _array(request, "scale", values_of=1)
    _fits(len(centre), values.shape[1], "centre")
    _fits(len(scale), values.shape[1], "scale")
    if not (np.isfinite(centre).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError("Centre and scale must be finite, and the scale above 0.")
    present = ~np.isnan(values)
    return np.where(present, (values - centre) / scale, 0.0), present


def _array(request: Request, name: str, *, values_of: int) -> Float:
    """An array of the request, with so many dimensions."""
    array = request.arrays.get(name)
    if array is None or array.ndim != values_of:
        raise InputError(f"The query needs an array {name!r} of {values_of} dimensions.")
    return np.asarray(array, dtype=np.float64)


def _fits(have: int, want: int, what: str) -> None:
    if have != want:
        raise InputError(f"There are {want} columns and {have} rows of {what}; they must be as many.")
