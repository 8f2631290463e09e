"""A DIZ's part of the federated elastic net: three kinds of sums over the rows that have an outcome.

All three are asked with a config record ``design``: ``columns`` (p names) and ``outcome``. A missing value of a column
stands at the pooled centre; a row without an outcome is left out.

| query      | asks                                             | answers                                              |
|------------|--------------------------------------------------|------------------------------------------------------|
| en_moments | nothing more                                     | n (1,), count, sum_x, sum_xx (p,), sum_y (2,)        |
| en_target  | centre, scale (p,), y_centre, y_scale (1,), K    | n, sum_y, yy (K,), sum_z, xty (K, p)                 |
| en_columns | the same and columns (m,)                        | gram (K, p, m): Z_k' Z_k[:, columns]                 |

A patient's fold is SHA-256(patient id) mod K: all rows of a patient share a fold at every DIZ without anybody
exchanging ids.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from federated_statistics.errors import InputError
from federated_statistics.table import Answer, Arrays, Float, Int, Request, Table


def en_moments(table: Table, request: Request) -> Arrays:
    """Sums from which the hub forms pooled means and standard deviations."""
    X, y, _ = _rows(table, request)
    present = ~np.isnan(X)
    filled = np.where(present, X, 0.0)
    return {
        "n": np.array([len(y)], dtype=np.int64),
        "count": present.sum(axis=0, dtype=np.int64),
        "sum_x": filled.sum(axis=0),
        "sum_xx": (filled**2).sum(axis=0),
        "sum_y": np.array([y.sum(), y @ y]),
    }


def en_target(table: Table, request: Request) -> Arrays:
    """By fold: first moments of the standardised columns with the standardised outcome."""
    parts = _folds(table, request)
    return {
        "n": np.array([len(y) for _, y in parts], dtype=np.int64),
        "sum_z": np.stack([z.sum(axis=0) for z, _ in parts]),
        "xty": np.stack([z.T @ y for z, y in parts]),
        "sum_y": np.array([y.sum() for _, y in parts]),
        "yy": np.array([y @ y for _, y in parts]),
    }


def en_columns(table: Table, request: Request) -> Arrays:
    """By fold: the asked columns of the second-moment matrix."""
    chosen = np.asarray(request.arrays["columns"], dtype=np.int64)
    return {"gram": np.stack([z.T @ z[:, chosen] for z, _ in _folds(table, request)])}


ANSWERS: Mapping[str, Answer] = {"en_moments": en_moments, "en_target": en_target, "en_columns": en_columns}
"""By the query's name without ``query.``."""


def _rows(table: Table, request: Request) -> tuple[Float, Float, Int]:
    """Columns (n, p), outcome (n,) and the rows' numbers (n,), of rows with an outcome."""
    y = table.number(str(request.config["outcome"]))
    rows = np.flatnonzero(~np.isnan(y))
    return table.matrix(request.names("columns"))[rows], y[rows], rows


def _folds(table: Table, request: Request) -> list[tuple[Float, Float]]:
    """Standardised columns and outcome, by fold."""
    X, y, rows = _rows(table, request)
    folds, given = int(request.config["folds"]), request.arrays
    if folds < 2:
        raise InputError(f"{folds} folds are too few for a cross-validation; take 2 or more.")
    z = np.nan_to_num((X - given["centre"]) / given["scale"], nan=0.0)
    v = (y - given["y_centre"]) / given["y_scale"]
    fold = np.array([_fold_of(table.patients[row], folds) for row in rows], dtype=np.int64)
    return [(z[fold == k], v[fold == k]) for k in range(folds)]


def _fold_of(patient: str, folds: int) -> int:
    return int.from_bytes(hashlib.sha256(patient.encode()).digest(), "big") % folds
