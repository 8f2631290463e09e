"""The complete rows of a regression's design, built the same at every DIZ.

The columns are, in this order: the numeric ones; then each categorical one's declared levels except its reference, as
0 or 1. A row with any value missing, or with a level that the design does not declare, is left out and counted.
"""

from dataclasses import dataclass

import numpy as np

from federated_statistics.errors import InputError
from federated_statistics.table import MISSING, Arrays, Float, Int, Request, Table


@dataclass(frozen=True, eq=False)
class Rows:
    """Complete rows.

    Attributes:
        X: (n, p) columns in their own units.
        y: (n,) outcome.
        offset: (n,) what enters the linear predictor with coefficient 1: offset plus logarithm of the exposure.
        kept: (rows,) which rows of the table these are.
        excluded: How many rows are left out.
        invalid: How many complete rows have an exposure that is not above 0; they are in none of the arrays.
    """

    X: Float
    y: Float
    offset: Float
    kept: np.typing.NDArray[np.bool_]
    excluded: int
    invalid: int


def build(table: Table, request: Request, *more: str) -> Rows:
    """The rows in which all columns of the request's design are there.

    Args:
        table: The DIZ's rows.
        request: Its config has the design (see `flame_strategies.glm_design.Design.content`).
        more: Further columns that must be there.
    """
    X = np.column_stack([table.matrix(request.names("numeric")), *_indicators(table, request)])
    y = values(table, str(request.config["outcome"]))
    offset = np.zeros(table.rows)
    if name := str(request.config.get("offset", "")):
        offset = offset + table.number(name)
    exposure = table.number(name) if (name := str(request.config.get("exposure", ""))) else np.ones(table.rows)
    complete = np.isfinite(X).all(axis=1) & np.isfinite(y) & np.isfinite(offset) & np.isfinite(exposure)
    for column in more:
        complete &= np.isfinite(values(table, column))
    kept = complete & (exposure > 0)
    offset = offset[kept] + np.log(exposure[kept])
    excluded, invalid = table.rows - int(complete.sum()), int(complete.sum() - kept.sum())
    return Rows(X[kept], y[kept], offset, kept, excluded, invalid)


def values(table: Table, name: str) -> Float:
    """(rows,) a column as numbers, NaN where missing; one with levels as their indices."""
    if name not in table.numbers and name in table.codes:
        codes = table.codes[name]
        return np.where(codes == MISSING, np.nan, codes.astype(np.float64))
    return table.number(name)


def standardise(rows: Rows, request: Request, *, intercept: bool) -> Float:
    """(n, q) columns centred and scaled as the hub says, after a column of ones if there is an intercept."""
    centre, scale = request.arrays["centre"], request.arrays["scale"]
    if centre.shape != (rows.X.shape[1],) or scale.shape != centre.shape:
        raise InputError(f"The message scales {centre.size} columns; the design has {rows.X.shape[1]}.")
    Z = (rows.X - centre) / scale
    return np.column_stack([np.ones(len(Z)), Z]) if intercept else Z


def has_intercept(request: Request) -> bool:
    """Whether the design has one."""
    return bool(request.config["intercept"])


def moments(rows: Rows) -> Arrays:
    """Counts of rows; sums of the columns and of their squares."""
    return {
        "n": np.array([len(rows.y)], dtype=np.int64),
        "excluded": np.array([rows.excluded], dtype=np.int64),
        "sum_x": rows.X.sum(axis=0),
        "sum_xx": (rows.X**2).sum(axis=0),
    }


def pack(matrix: Float) -> Float:
    """(q (q + 1) / 2,) the upper triangle of a symmetric matrix (q, q), row by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def _indicators(table: Table, request: Request) -> list[Float]:
    """For each categorical column (rows, levels - 1) of 0 and 1, NaN where missing."""
    found: list[Float] = []
    levels = [str(level) for level in request.config.get("levels", [])]
    start = 0
    for name, count, reference in zip(
        request.names("categorical"), request.config.get("level_counts", []), request.names("references"), strict=True
    ):
        own = levels[start : start + int(count)]
        start += int(count)
        codes = _recode(table, name, own)
        compared = [index for index, level in enumerate(own) if level != reference]
        indicators = (codes[:, None] == np.array(compared, dtype=np.int64)).astype(np.float64)
        indicators[codes == MISSING] = np.nan
        found.append(indicators)
    return found


def _recode(table: Table, name: str, levels: list[str]) -> Int:
    """(rows,) indices into `levels` of a column whose codes count the table's declared levels."""
    codes = table.code(name)
    declared = table.levels.get(name, tuple(levels))
    if unknown := sorted(set(levels) - set(declared)):
        raise InputError(f"The column {name!r} has no declared level {', '.join(unknown)}.")
    index = np.array([levels.index(level) if level in levels else MISSING for level in declared] + [MISSING])
    return np.asarray(index[codes], dtype=np.int64)  # the last entry is that of a missing value, -1
