"""Linear regression of a phenotype on one variant after another, from sums over all samples.

With the columns Z of the null model (the first of ones), the phenotype y and a variant's copies g, the least-squares
fit of y on (Z, g) needs Z'Z, Z'y, y'y, Z'g, g'g and g'y alone. Projecting Z out of g and y (Frisch and Waugh,
Econometrica 1, 1933) leaves three numbers of each variant: the effect is (g y) / (g g), the residual sum of squares
(y y) - (g y)^2 / (g g), and t has n - q - 1 degrees of freedom.

Z'Z, Z'y and y'y are those of all samples less what the samples that do not enter a variant's test take away; where none
does, all variants share one decomposition. Each variant with samples of its own has its own, all of them side by side:
a loop over the q columns, never over variants.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.tails import log10_student

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

COLLINEAR = 1e-8
"""Share of a column's sum of squares that the columns before it must leave."""


@dataclass(frozen=True, eq=False)
class NullSums:
    """The sums of the null model over all samples.

    Attributes:
        zz: Z'Z, shape (q, q).
        zy: Z'y, shape (q,).
        yy: y'y.
    """

    zz: Matrix
    zy: Vector
    yy: float


@dataclass(frozen=True, eq=False)
class VariantSums:
    """The sums of m variants.

    Attributes:
        g: Copies, shape (m,).
        gg: Sum of their squares, shape (m,).
        zg: Z'g without the ones, shape (m, q - 1).
        gy: Shape (m,).
        mzz: Upper triangle of what Z'Z loses (`numpy.triu_indices`), shape (m, q (q + 1) / 2).
        mzy: Likewise of Z'y, shape (m, q).
        myy: Likewise of y'y, shape (m,).
    """

    g: Vector
    gg: Vector
    zg: Matrix
    gy: Vector
    mzz: Matrix
    mzy: Matrix
    myy: Vector

    @classmethod
    def of(cls, sums: Mapping[str, npt.NDArray[Any]]) -> "VariantSums":
        """From the summed answers of ``gwas_linear``."""
        return cls(*(np.asarray(sums[name], dtype=np.float64) for name in _OF_A_VARIANT))


_OF_A_VARIANT = ("g", "gg", "zg", "gy", "mzz", "mzy", "myy")


@dataclass(frozen=True, eq=False)
class LinearTests:
    """Tests of m variants, NaN where there is none.

    Attributes:
        n: Samples in each, shape (m,).
        beta: The effect of one copy, shape (m,).
        se: Its standard error, shape (m,).
        t: Shape (m,).
        log10_p: Logarithm of base 10 of the two-sided p, shape (m,).
        fits: Whether the columns leave variation of the variant, and degrees of freedom; shape (m,).
    """

    n: Vector
    beta: Vector
    se: Vector
    t: Vector
    log10_p: Vector
    fits: Bool


def linear_tests(null: NullSums, sums: VariantSums) -> LinearTests:
    """Test each variant.

    Args:
        null: Sums over all samples.
        sums: Of the variants.
    """
    m, q = len(sums.g), len(null.zy)
    n = np.rint(null.zz[0, 0] - sums.mzz[:, 0])  # whole but for the fixed point of masked sums
    projected = np.empty((3, m))
    fits = np.empty(m, dtype=np.bool_)
    own = sums.mzz[:, 0] != 0
    zg = np.column_stack([sums.g, sums.zg])
    if (~own).any():
        of = (zg[~own].T, sums.gg[~own], sums.gy[~own])
        projected[:, ~own], fits[~own] = _project(null.zz[:, :, None], null.zy[:, None], null.yy, *of)
    if own.any():
        rows, columns = np.triu_indices(q)
        zz = np.empty((q, q, int(own.sum())))
        lost = np.ascontiguousarray(sums.mzz[own].T)
        zz[rows, columns] = zz[columns, rows] = null.zz[rows, columns][:, None] - lost
        zy, yy = null.zy[:, None] - sums.mzy[own].T, null.yy - sums.myy[own]
        projected[:, own], fits[own] = _project(zz, zy, yy, zg[own].T, sums.gg[own], sums.gy[own])
    gg, gy, yy = projected
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = sums.gg - sums.g**2 / n
    degrees = n - q - 1
    fits &= (gg > COLLINEAR * np.maximum(centred, 0)) & (centred > COLLINEAR * sums.gg) & (degrees > 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(fits, gy / gg, np.nan)
        se = np.sqrt(np.maximum(yy - gy * beta, 0.0) / degrees / gg)
        t = beta / se
    return LinearTests(n, beta, se, t, log10_student(t, np.where(fits, degrees, np.nan)), fits)


def _project(  # noqa: PLR0917 -- the six blocks of one symmetric matrix
    zz: npt.NDArray[np.float64], zy: Matrix, yy: npt.ArrayLike, zg: Matrix, gg: Vector, gy: Vector
) -> tuple[Matrix, Bool]:
    """What Z leaves of g'g, g'y and y'y, shape (3, m), and whether its columns are independent, (m,).

    Args:
        zz: (q, q, m), or (q, q, 1) for all variants at once.
        zy: (q, m) or (q, 1).
        yy: (m,) or one number.
        zg: (q, m).
        gg: (m,).
        gy: (m,).
    """
    q, width = zz.shape[0], zz.shape[2]
    lower = np.zeros((q, q, width))  # Cholesky's factor, column by column; the right-hand sides are solved on the way
    independent = np.ones(width, dtype=np.bool_)
    u, v = np.array(zg, dtype=np.float64), np.array(np.broadcast_to(zy, (q, width)), dtype=np.float64)
    for j in range(q):
        before = lower[j, :j]
        pivot = zz[j, j] - np.einsum("kw,kw->w", before, before)
        good = pivot > COLLINEAR * np.abs(zz[j, j])
        independent &= good
        root = np.sqrt(np.where(good, pivot, 1.0))
        lower[j, j] = root
        if j + 1 < q:
            lower[j + 1 :, j] = (zz[j + 1 :, j] - np.einsum("ikw,kw->iw", lower[j + 1 :, :j], before)) / root
        u[j] = (u[j] - np.einsum("kw,km->m" if width == 1 else "km,km->m", before, u[:j])) / root
        v[j] = (v[j] - np.einsum("kw,kw->w", before, v[:j])) / root
    left = np.stack(
        [
            gg - np.einsum("km,km->m", u, u),
            gy - np.einsum("kw,km->m" if width == 1 else "km,km->m", v, u),
            np.broadcast_to(yy - np.einsum("kw,kw->w", v, v), gg.shape),
        ]
    )
    return left, np.broadcast_to(independent, gg.shape)
