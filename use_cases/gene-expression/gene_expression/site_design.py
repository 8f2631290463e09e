"""The samples and columns of a design, built the same at every DIZ.

The columns are, in this order: the numeric ones; then each categorical one's declared levels except its reference, as
0 or 1. A sample with any of them missing, or with a level that the design does not declare, is left out and counted.
A DIZ's samples are the rows of its data store that are left.

With an effect for each site there is no column for it. The residuals of a regression with one constant per site are
those of columns and outcome less their means at the site (Frisch and Waugh, Econometrica 1, 1933; Lovell, JASA 58,
1963), so each DIZ subtracts its own means, which never leave it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gene_expression.errors import InputError
from gene_expression.table import MISSING, Float, Int, Request, Table


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in which all columns of a design are there.

    Attributes:
        X: (n, p) columns in their own units.
        kept: (rows,) which rows of the table these are.
    """

    X: Float
    kept: npt.NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """How many there are, n."""
        return len(self.X)

    @property
    def excluded(self) -> int:
        """How many rows of the table are left out."""
        return len(self.kept) - self.rows


def build(table: Table, request: Request) -> Samples:
    """The samples of a request's design.

    Args:
        table: The DIZ's rows.
        request: Its config has the design (see `flame_strategies.glm_design.Design.content`); without any column in it
            all rows are samples.

    Raises:
        InputError: A column, or a level, is not declared here.
    """
    numeric = [table.number(name)[:, None] for name in request.names("numeric")]
    X = np.concatenate([np.empty((table.rows, 0)), *numeric, *_indicators(table, request)], axis=1)
    kept = np.isfinite(X).all(axis=1)
    return Samples(X[kept], kept)


def has_site_effects(request: Request) -> bool:
    """Whether each site has a constant of its own."""
    return bool(request.config.get("site_effects", False))


def standardise(samples: Samples, request: Request) -> Float:
    """(n, q) columns centred and scaled as the hub says.

    After a column of ones; with site effects less the DIZ's own means instead.
    """
    Z = scaled(samples.X, request.arrays["centre"], request.arrays["scale"])
    return centred(Z) if has_site_effects(request) else np.column_stack([np.ones(len(Z)), Z])


def scaled(X: Float, centre: Float, scale: Float) -> Float:
    """(n, p) columns less `centre` (p,) and divided by `scale` (p,).

    Raises:
        InputError: They are of another number of columns, or not finite, or a scale is not above 0.
    """
    if centre.shape != (X.shape[1],) or scale.shape != centre.shape:
        raise InputError(f"The message scales {centre.size} columns; the design has {X.shape[1]}.")
    if not (np.isfinite(centre).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError("The message's centres and scales must be finite, and scales above 0.")
    return np.asarray((X - centre) / scale)


def centred(values: Float) -> Float:
    """(n, ...) less the means of the columns."""
    return values - values.mean(axis=0) if len(values) else values


def pairs(Z: Float) -> Float:
    """(n, q (q + 1) / 2) products of each two columns, in the order of a packed upper triangle."""
    rows, columns = np.triu_indices(Z.shape[1])
    return np.asarray(Z[:, rows] * Z[:, columns])


def _indicators(table: Table, request: Request) -> list[Float]:
    """For each categorical column (rows, levels - 1) of 0 and 1, NaN where missing."""
    found: list[Float] = []
    levels, start = request.names("levels"), 0
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
    declared = table.levels[name]
    if unknown := sorted(set(levels) - set(declared)):
        raise InputError(f"The column {name!r} has no declared level {', '.join(unknown)}.")
    index = np.array([levels.index(level) if level in levels else MISSING for level in declared] + [MISSING])
    return np.asarray(index[codes], dtype=np.int64)  # the last entry is that of a missing value, -1
