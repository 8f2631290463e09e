"""Fusion of blocks of columns (modalities) in one linear model, equal to that of the pooled rows, from sums over sites.

The rows' columns lie in blocks, and a row, or a whole site, may lack blocks or single values. A column is standardised
by the pooled mean and standard deviation of the values that are observed, a missing one then is 0, and behind the
columns comes one indicator per block, 1 where the row lacks it. Every site contributes what it has: no complete case is
needed, and the sums are those of the pooled design (a missing-indicator design; with a ridge penalty it has one
solution also where an indicator is constant or two of them are equal).

Queries, answered in the array record ``sums``, for F columns, M blocks, q outputs and K folds of patients:

1. ``moments``, input: array record ``about`` with ``centre`` and ``unit`` (F,). Reply: ``n``, ``sites`` (1,) int64;
   ``there``, ``widths`` (M,) int64, rows that have a block, and its number of columns (summed over sites like all
   else); ``count`` (F,) int64; ``sum_x``, ``sum_xx`` (F,) of (x - centre) / unit where observed. It is asked twice: in
   the columns' own units (both empty) for the means and a rough spread, and around the means in that spread. So no
   digits are lost to a mean that is far from 0, nor to the fixed point of masked sums where a spread is small.
2. ``block``, input: array record ``scaling`` with ``centre``, ``scale`` (F,), a scale of 0 leaving a column out. Reply,
   by fold and with z (p = F + M): ``n`` (K,) int64; ``sum_z`` (K, p); ``xx`` (K, p (p + 1) / 2) upper triangles of
   the sums of z z'; ``xy`` (K, p, q); ``sum_y``, ``yy`` (K, q).

`ridge_path` needs no more. For classes see `multinomial`, for survival times `block_cox`.

Penalties are per row: mean loss + penalty / 2 |b|^2, loss half the squared error (scikit-learn: alpha = n penalty).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import unpack
from flame_strategies.reference import CONSTANT_SPREAD
from flame_strategies.sums import Content, Exchange, Sums

__all__ = ["BlockMoments", "BlockScaling", "RidgePath", "ask_blocks", "best_of", "pooled_scaling", "ridge_path"]

SMALLEST_SPREAD = 1e-6
"""In a column's own unit; one that varies less is constant. Give a column in another unit where it means something."""

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BlockScaling:
    """How every site standardises its rows.

    Attributes:
        n: Rows.
        sites: Sites that answered.
        there: (M,) rows that have each block.
        widths: (M,) columns of each block.
        count: (F,) observed values of each column.
        centre: (F,) their mean.
        scale: (F,) their standard deviation (population), 0 where a column does not vary.
    """

    n: int
    sites: int
    there: Int
    widths: Int
    count: Int
    centre: Vector
    scale: Vector

    def content(self) -> dict[str, Vector]:
        """The array record ``scaling``."""
        return {"centre": self.centre, "scale": self.scale}


def pooled_scaling(exchange: Exchange, content: Content, *, query: str = "query.block_moments") -> BlockScaling:
    """Means and spreads of the observed values, in two exchanges.

    Args:
        exchange: Asks all sites and returns sums.
        content: Records that say of which rows; without ``about``.
        query: The message type.

    Raises:
        ValueError: There are no rows.
    """
    first = _moments(exchange(query, {**content, "about": {"centre": np.zeros(0), "unit": np.zeros(0)}}))
    count = first["count"].astype(np.float64)
    centre, variance = _spread(first, count)
    unit = np.maximum(np.sqrt(np.maximum(variance, 0.0)), SMALLEST_SPREAD)
    second = _moments(exchange(query, {**content, "about": {"centre": centre, "unit": unit}}))
    if not np.array_equal(first["count"], second["count"]):
        raise UnusableReply("The sites' counts of values changed between two exchanges; their data stores changed.")
    shift, variance = _spread(second, count)  # what rounding left of the mean
    centre, scale = centre + unit * shift, unit * np.sqrt(np.maximum(variance, 0.0))
    scale = np.where(scale > np.maximum(CONSTANT_SPREAD * np.abs(centre), SMALLEST_SPREAD), scale, 0.0)
    sites = int(first["sites"][0])
    return BlockScaling(
        int(first["n"][0]), sites, first["there"], first["widths"] // sites, first["count"], centre, scale
    )


@dataclass(frozen=True, eq=False)
class BlockMoments:
    """Sums of a standardised design by fold.

    Attributes:
        n: (K,) rows.
        sum_z: (K, p).
        xx: (K, p, p).
        xy: (K, p, q).
        sum_y: (K, q).
        yy: (K, q) sums of squares.
    """

    n: Int
    sum_z: Matrix
    xx: Matrix
    xy: Matrix
    sum_y: Matrix
    yy: Matrix

    @classmethod
    def of(cls, sums: Sums) -> "BlockMoments":
        """From the sums of a ``block`` query.

        Raises:
            UnusableReply: Shapes do not fit together.
        """
        n, sum_z, xx = np.asarray(sums["n"], dtype=np.int64), np.asarray(sums["sum_z"]), np.asarray(sums["xx"])
        folds, p = len(n), sum_z.shape[-1]
        q = np.asarray(sums["sum_y"]).shape[-1]
        shapes = {"sum_z": (folds, p), "xx": (folds, p * (p + 1) // 2), "xy": (folds, p, q), "yy": (folds, q)}
        for name, shape in shapes.items():
            if np.shape(sums[name]) != shape:
                raise UnusableReply(f"The sites send {name} of shape {np.shape(sums[name])}, not {shape}.")
        full = np.stack([unpack(part, p) for part in xx])
        return cls(n, sum_z, full, np.asarray(sums["xy"]), np.asarray(sums["sum_y"]), np.asarray(sums["yy"]))

    @property
    def whole(self) -> "BlockMoments":
        """All folds as one."""
        parts = (self.n, self.sum_z, self.xx, self.xy, self.sum_y, self.yy)
        return BlockMoments(*(part.sum(axis=0, keepdims=True) for part in parts))

    def without(self, fold: int) -> "BlockMoments":
        """All folds but one as one; of -1, all."""
        kept = np.arange(len(self.n)) != fold
        parts = (self.n, self.sum_z, self.xx, self.xy, self.sum_y, self.yy)
        return BlockMoments(*(part[kept].sum(axis=0, keepdims=True) for part in parts))

    def centred(self) -> tuple[float, Vector, Vector, Matrix, Matrix]:
        """Of all rows: n, mean of z (p,), mean of y (q,), centred sums of z z' (p, p) and of z y' (p, q)."""
        one = self.whole
        n = float(one.n[0])
        z, y = one.sum_z[0] / n, one.sum_y[0] / n
        return n, z, y, one.xx[0] - n * np.outer(z, z), one.xy[0] - n * np.outer(z, y)


@dataclass(frozen=True, eq=False)
class RidgePath:
    """Ridge regressions at L penalties.

    Attributes:
        penalties: (L,).
        coefficients: (L, 1 + p, q) of the standardised columns, the intercept first.
        fold_coefficients: (K, L, 1 + p, q) without each fold; empty without folds.
        errors: (K, L) sums of squared errors of each fold's rows under the fit without them.
        n: (K,) rows of each fold.
        best: The penalty with the least mean squared error; 0 without folds.
    """

    penalties: Vector
    coefficients: Matrix
    fold_coefficients: Matrix
    errors: Matrix
    n: Int
    best: int


def ask_blocks(
    exchange: Exchange, content: Content, scaling: BlockScaling, *, query: str = "query.block"
) -> BlockMoments:
    """The design's moments, by fold, in one exchange."""
    return BlockMoments.of(exchange(query, {**content, "scaling": scaling.content()}))


def ridge_path(moments: BlockMoments, penalties: Sequence[float]) -> RidgePath:
    """Ridge regression in closed form at each penalty, cross-validated over the folds that have rows.

    Args:
        moments: By fold; one fold for a fit without cross-validation.
        penalties: Per row, above 0.

    Raises:
        ValueError: A penalty is not above 0, or there are no rows.
    """
    rates = np.asarray(penalties, dtype=np.float64)
    if rates.ndim != 1 or not rates.size or not (rates > 0).all():
        raise ValueError("penalties must be numbers above 0.")
    if not moments.n.sum():
        raise ValueError("No site has a row that can be used; check the data stores' filters.")
    whole = _solve(moments, rates)
    used = [fold for fold in range(len(moments.n)) if 0 < moments.n[fold] < moments.n.sum()]
    if len(used) < 2:
        empty = np.zeros((0, *whole.shape))
        return RidgePath(rates, whole, empty, np.zeros((0, len(rates))), moments.n, 0)
    by_fold = np.stack([_solve(moments.without(fold), rates) for fold in range(len(moments.n))])
    errors = np.stack([_errors(moments, fold, by_fold[fold]) for fold in range(len(moments.n))])
    return RidgePath(rates, whole, by_fold, errors, moments.n, best_of(errors))


def best_of(losses: npt.ArrayLike) -> int:
    """The largest of the penalties with the least loss; losses (K, L) are sums over each fold's rows."""
    total = np.asarray(losses, dtype=np.float64).sum(axis=0)
    return int(np.flatnonzero(total <= total.min())[-1])


def _solve(moments: BlockMoments, rates: Vector) -> Matrix:
    """(L, 1 + p, q)."""
    n, z, y, sxx, sxy = moments.centred()
    values, vectors = np.linalg.eigh(sxx)
    turned = vectors.T @ sxy
    found = np.stack([vectors @ (turned / (np.maximum(values, 0.0) + n * rate)[:, None]) for rate in rates])
    intercepts = y - np.einsum("p,lpq->lq", z, found)
    return np.concatenate([intercepts[:, None, :], found], axis=1)


def _errors(moments: BlockMoments, fold: int, coefficients: Matrix) -> Vector:
    """(L,) squared errors of one fold's rows."""
    n, z, xx = float(moments.n[fold]), moments.sum_z[fold], moments.xx[fold]
    xy, y, yy = moments.xy[fold], moments.sum_y[fold], moments.yy[fold]
    full = np.block([[np.array([[n]]), z[None, :]], [z[:, None], xx]])
    cross = np.concatenate([y[None, :], xy])
    of = [float(yy.sum() - 2 * (b * cross).sum() + (b * (full @ b)).sum()) for b in coefficients]
    return np.array(of)


def _spread(sums: Sums, count: Vector) -> tuple[Vector, Vector]:
    """Mean and variance (F,) of what was summed, each 0 where nothing was observed."""
    mean, square = (
        np.divide(sums[name], count, out=np.zeros_like(count), where=count > 0) for name in ("sum_x", "sum_xx")
    )
    return mean, square - mean**2


def _moments(sums: Sums) -> dict[str, npt.NDArray[Any]]:
    missing = {"n", "sites", "there", "widths", "count", "sum_x", "sum_xx"} - sums.keys()
    if missing:
        raise UnusableReply(f"The sites' answers lack {', '.join(sorted(missing))}.")
    if not sums["n"][0]:
        raise ValueError("No site has a row that can be used; check the data stores' filters.")
    return dict(sums)
