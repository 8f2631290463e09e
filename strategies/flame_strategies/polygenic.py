"""Polygenic scores from sums: ridge and elastic-net weights of chosen variants, and how well a score predicts.

minimise over g, b:   1/(2n) |y - Zg - Xb|^2 + lambda (r |S b|_1 + (1 - r)/2 |S b|^2)

with the covariates Z (a column of ones first) unpenalised, the variants X, their standard deviations S over all rows,
and r the share of the absolute penalty: 0 is ridge regression (Hoerl and Kennard, Technometrics 12, 1970; of genomes,
Meuwissen, Hayes and Goddard, Genetics 157, 2001), 1 the lasso (Tibshirani, JRSS B 58, 1996). Least squares sees the
data through sums of products alone, so that weights from summed products are those of the pooled rows. The penalty is
that of the least squared error over folds of patients, which comes from the folds' own sums.

With ridge, Z is projected out first (Frisch and Waugh, Econometrica 1, 1933), and one eigendecomposition per fold
serves all penalties. The elastic net is `elastic_net`'s, which answers its own questions from the same sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.elastic_net import fit_elastic_net
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.sums import Content, Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

CONSTANT = 1e-9
"""A variant with less than this share of its variance left beside the covariates gets no weight."""


@dataclass(frozen=True, eq=False)
class FoldProducts:
    """Sums of products by fold of patients: K folds, q covariates with the column of ones first, m variants.

    Attributes:
        zz: (K, q, q).
        xz: (K, m, q).
        zy: (K, q).
        xx: (K, m, m).
        xy: (K, m).
        yy: (K,).
    """

    zz: Matrix
    xz: Matrix
    zy: Matrix
    xx: Matrix
    xy: Matrix
    yy: Vector

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            UnusableReply: They do not fit together.
        """
        K, m, q = self.xz.shape if self.xz.ndim == 3 else (0, 0, 0)
        shapes = [(K, q, q), (K, q), (K, m, m), (K, m), (K,)]
        if [a.shape for a in (self.zz, self.zy, self.xx, self.xy, self.yy)] != shapes or K < 2:
            raise UnusableReply("The sites' products by fold do not fit together; check the ClientApp.")

    @property
    def n(self) -> Vector:
        """(K,) rows."""
        return np.asarray(self.zz[:, 0, 0])

    def variants(self, kept: npt.NDArray[np.bool_]) -> "FoldProducts":
        """Those of some of the variants, kept (m,)."""
        xx = self.xx[:, kept][:, :, kept]
        return FoldProducts(self.zz, self.xz[:, kept], self.zy, xx, self.xy[:, kept], self.yy)

    def spread(self) -> Vector:
        """(m,) standard deviations of the variants over all rows; 0 where the covariates leave nothing."""
        zz, xz, xx = (a.sum(axis=0) for a in (self.zz, self.xz, self.xx))
        n, square = self.n.sum(), np.diagonal(xx)
        variance = square / n - (xz[:, 0] / n) ** 2
        left = square - np.einsum("mq,qm->m", xz, _solve(zz, xz.T))
        usable = (variance > CONSTANT * square / n) & (left > CONSTANT * n * np.maximum(variance, 0))
        return np.sqrt(np.where(usable, variance, 0.0))


@dataclass(frozen=True, eq=False)
class PolygenicFit:
    """Weights along a path of penalties; in the data's own units.

    Attributes:
        penalties: (L,) falling; of ridge and elastic net they are not the same scale.
        cv_mse: (L,) mean squared error over held-out rows.
        null_mse: The same of the covariates alone.
        best: Index of the least `cv_mse`.
        covariates: (q,) at `best`, the intercept first.
        weights: (m,) at `best`, per copy of the effect allele; 0 where a variant got none.
    """

    penalties: Vector
    cv_mse: Vector
    null_mse: float
    best: int
    covariates: Vector
    weights: Vector


def fit_ridge(products: FoldProducts, penalties: Sequence[float] | None = None) -> PolygenicFit:
    """Ridge weights.

    Args:
        products: Of the training rows.
        penalties: Falling; by default 30 of them, from 100 times the largest eigenvalue of the variants'
            correlations to a thousandth of their mean.

    Raises:
        StrategyError: No variant varies, or the covariates are collinear.
    """
    usable = (spread := products.spread()) > 0
    if not usable.any():
        raise StrategyError("No variant of the score varies beside the covariates; choose more of them.")
    of, scale = products.variants(usable), spread[usable]
    problems = [_projected(of, scale, left_out) for left_out in (None, *range(len(of.n)))]
    values = problems[0][0]
    path = (
        np.geomspace(100 * values.max(), 1e-3 * max(values.mean(), 1e-12), 30)
        if penalties is None
        else np.asarray(penalties, dtype=np.float64)
    )
    if path.ndim != 1 or path.size == 0 or not (path > 0).all() or not (np.diff(path) < 0).all():
        raise ValueError("penalties must be above 0, each less than the one before.")
    squares = np.zeros(len(path))
    for fold, (eigen, vectors, target) in enumerate(problems[1:]):
        for place, penalty in enumerate(path.tolist()):
            b = vectors @ (target / (eigen + penalty)) / scale
            squares[place] += _held_out(of, fold, _covariates(of, b, fold), b)
    mse = squares / of.n.sum()
    best = int(np.argmin(mse))
    eigen, vectors, target = problems[0]
    b = vectors @ (target / (eigen + path[best])) / scale
    weights = np.zeros(len(usable))
    weights[usable] = b
    return PolygenicFit(path, mse, null_mse(products), best, _covariates(of, b, None), weights)


def fit_sparse(products: FoldProducts, *, l1_ratio: float = 1.0, num_lambdas: int = 40) -> PolygenicFit:
    """Weights by the lasso or an elastic net.

    Args:
        products: Of the training rows.
        l1_ratio: Above 0 and at most 1.
        num_lambdas: On the path, from the penalty at which no variant is in the score to a hundredth of it.

    Raises:
        StrategyError: No variant varies, or numerically dependent columns.
    """
    usable = products.spread() > 0
    if not usable.any():
        raise StrategyError("No variant of the score varies beside the covariates; choose more of them.")
    of = products.variants(usable)
    q, m = of.zz.shape[1], of.xx.shape[1]
    factors = np.concatenate([np.zeros(q - 1), np.ones(m)])
    path = fit_elastic_net(
        _OwnAnswers(of),
        l1_ratio=l1_ratio,
        num_lambdas=num_lambdas,
        folds=len(of.n),
        penalty_factors=factors,
        columns_per_request=q + m,
    )
    model = path.model()
    weights = np.zeros(len(usable))
    weights[usable] = model.coef[q - 1 :]
    covariates = np.concatenate([[model.intercept], model.coef[: q - 1]])
    return PolygenicFit(path.lambdas, path.cv_mse, null_mse(products), path.best, covariates, weights)


def null_mse(products: FoldProducts) -> float:
    """Mean squared error over held-out rows of the covariates alone."""
    of = products.variants(np.zeros(products.xx.shape[1], dtype=np.bool_))
    none = np.empty(0)
    squares = [_held_out(of, fold, _covariates(of, none, fold), none) for fold in range(len(of.n))]
    return float(sum(squares) / of.n.sum())


class _OwnAnswers:
    """Answers the elastic net's questions from the products, as one site that has all rows would."""

    def __init__(self, of: FoldProducts) -> None:
        # The columns are the covariates without the ones, then the variants.
        self._n, self._yy, self._sum_y = of.n, of.yy, of.zy[:, 0]
        self._sum = np.concatenate([of.zz[:, 0, 1:], of.xz[:, :, 0]], axis=1)
        self._xy = np.concatenate([of.zy[:, 1:], of.xy], axis=1)
        above = np.concatenate([of.zz[:, 1:, 1:], of.xz[:, :, 1:].transpose(0, 2, 1)], axis=2)
        below = np.concatenate([of.xz[:, :, 1:], of.xx], axis=2)
        self._gram = np.concatenate([above, below], axis=1)

    def __call__(self, message_type: str, content: Content) -> Sums:
        n, total, sum_y = self._n, self._sum.sum(axis=0), self._sum_y
        if message_type == "query.moments":
            rows = round(float(n.sum()))
            return {
                "n": np.array([rows]),
                "count": np.full(len(total), rows),
                "sum_x": total,
                "sum_xx": np.diagonal(self._gram.sum(axis=0)),
                "sum_y": np.array([sum_y.sum(), self._yy.sum()]),
            }
        reference = content["reference"]
        c, s = reference["centre"], reference["scale"]
        yc, ys = float(reference["y_centre"][0]), float(reference["y_scale"][0])
        if message_type == "query.target":
            cross = self._xy - yc * self._sum - sum_y[:, None] * c + n[:, None] * yc * c
            return {
                "n": n,
                "sum_z": (self._sum - n[:, None] * c) / s,
                "xty": cross / (s * ys),
                "sum_y": (sum_y - n * yc) / ys,
                "yy": (self._yy - 2 * yc * sum_y + n * yc**2) / ys**2,
            }
        at = reference["columns"]
        shift = self._sum[:, :, None] * c[at] + c[:, None] * self._sum[:, None, at]
        gram = self._gram[:, :, at] - shift + n[:, None, None] * c[:, None] * c[at]
        return {"gram": gram / (s[:, None] * s[at])}


def _total(array: Matrix, left_out: int | None) -> Matrix:
    """Sum over the folds but one."""
    return np.asarray(array.sum(axis=0) if left_out is None else np.delete(array, left_out, axis=0).sum(axis=0))


def _projected(of: FoldProducts, scale: Vector, left_out: int | None) -> tuple[Vector, Matrix, Vector]:
    """Eigenvalues (m,), eigenvectors (m, m) and rotated target (m,) of the scaled variants beside the covariates."""
    zz, xz, zy, xx, xy = (_total(a, left_out) for a in (of.zz, of.xz, of.zy, of.xx, of.xy))
    n = zz[0, 0]
    gram = (xx - xz @ _solve(zz, xz.T)) / n / scale / scale[:, None]
    target = (xy - xz @ _solve(zz, zy)) / n / scale
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return np.maximum(values, 0.0), vectors, vectors.T @ target


def _covariates(of: FoldProducts, b: Vector, left_out: int | None) -> Vector:
    """(q,) the covariates' coefficients beside weights b (m,)."""
    zz, xz, zy = (_total(a, left_out) for a in (of.zz, of.xz, of.zy))
    return _solve(zz, zy - xz.T @ b)


def _held_out(of: FoldProducts, fold: int, g: Vector, b: Vector) -> float:
    """Sum of squared errors of a model on the rows of one fold."""
    linear = of.zy[fold] @ g + of.xy[fold] @ b
    square = g @ of.zz[fold] @ g + 2 * b @ of.xz[fold] @ g + b @ of.xx[fold] @ b
    return float(of.yy[fold] - 2 * linear + square)


def _solve(zz: Matrix, right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(np.linalg.solve(zz, right))
    except np.linalg.LinAlgError:
        raise StrategyError("The covariates are collinear, or a fold leaves too few rows; leave some out.") from None
