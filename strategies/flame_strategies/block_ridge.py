"""Whole-genome regression in two levels of ridge, from sums by fold: the first step of REGENIE, without the rows.

The method is that of Mbatchou et al., "Computationally efficient whole-genome regression for quantitative and binary
traits" (Nature Genetics 53, 2021), for a quantitative trait. Let Z (n, q) be the covariates with a column of ones, y
the trait and X the standardised genotypes; ~ marks what the pooled regression on Z leaves of a column. Samples lie in
K folds.

* Level 0. Variants are taken in blocks of neighbours. In each block, for each fold k and each of J penalties, ridge
  regression of y~ on X~ over the samples outside fold k gives weights, and these give predictions in fold k:
  J columns W per block. Penalties are M (1 - h) / h for h the share of variance that all M variants would explain if
  each explained the same.
* Level 1. Ridge regression of y~ on all columns W over the samples outside fold k gives their coefficients for fold k.
  Its penalty is chosen among t (1 - h) / h, t the sum of the columns' variances, by the squared error of the held-out
  folds.
* A sample's prediction leaves one chromosome out (LOCO): the sum over the other chromosomes' blocks. It is linear in
  the sample's genotypes and covariates, with weights by fold, so a site can make it and need not tell it.

Everything here is exact from sums over samples by fold: X'X, X'Z, X'y of a block, Z'Z, Z'y, y'y, and W'W, W'Z, W'y of
the predictions, which sites form with level 0's weights. What regression on Z leaves follows from these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Covariates:
    """Sums of covariates and trait by fold.

    Attributes:
        n: (K,) samples.
        zz: (K, q, q).
        zy: (K, q).
        yy: (K,).
    """

    n: npt.NDArray[np.int64]
    zz: Array
    zy: Array
    yy: Array

    @property
    def gamma(self) -> Array:
        """(q,) coefficients of the trait on the covariates, over all samples."""
        return np.asarray(np.linalg.solve(self.zz.sum(axis=0), self.zy.sum(axis=0)))

    def left_of_trait(self) -> Array:
        """(K,) the sum of squares of y~."""
        gamma = self.gamma
        explained = 2 * self.zy @ gamma - np.einsum("kij,i,j->k", self.zz, gamma, gamma)
        return np.asarray(self.yy - explained)


@dataclass(frozen=True, eq=False)
class BlockModel:
    """Level 0 in one block of m variants.

    Attributes:
        weights: (K, m, J) of standardised genotypes, for predictions in fold k by penalty j.
        shifts: (K, q, J) of covariates; a prediction is x'weights - z'shifts.
    """

    weights: Array
    shifts: Array


@dataclass(frozen=True, eq=False)
class Predictions:
    """Sums by fold of level 0's predictions without their shifts, x'weights, L columns.

    Attributes:
        ww: (K, L, L) of their products.
        wz: (K, L, q) with the covariates.
        wy: (K, L) with the trait.
    """

    ww: Array
    wz: Array
    wy: Array


@dataclass(frozen=True, eq=False)
class LevelOne:
    """Level 1.

    Attributes:
        coefficients: (K, L) of the L columns of level 0, block after block and in each by penalty.
        heritability: That the chosen penalty stands for.
        errors: By penalty, the mean squared error of the held-out folds over the variance of y~.
    """

    coefficients: Array
    heritability: float
    errors: tuple[float, ...]


def penalties(heritabilities: Sequence[float], size: float) -> Array:
    """`size` (1 - h) / h for each h.

    Raises:
        ValueError: One is not between 0 and 1.
    """
    h = np.asarray(heritabilities, dtype=np.float64)
    if h.ndim != 1 or not h.size or not ((h > 0) & (h < 1)).all():
        raise ValueError("Heritabilities must lie between 0 and 1.")
    return np.asarray(size * (1 - h) / h)


def block_model(covariates: Covariates, xx: Array, xz: Array, xy: Array, penalty: Array) -> BlockModel:
    """Level 0 in one block.

    Args:
        covariates: By fold.
        xx: (m, m, K) sums of products of variants.
        xz: (m, q, K) with the covariates.
        xy: (m, K) with the trait.
        penalty: (J,) above 0.

    Raises:
        StrategyError: The sums are those of no data.
    """
    of_z = np.linalg.solve(covariates.zz.sum(axis=0), xz.sum(axis=2).T)
    folds = range(xx.shape[2])
    own = [left_of_products(xx[:, :, k], xz[:, :, k], covariates.zz[k], of_z) for k in folds]
    trait = [_left_of_trait(xy[:, k], xz[:, :, k], covariates, k, of_z) for k in folds]
    all_own, all_trait = sum(own, np.zeros_like(xx[:, :, 0])), sum(trait, np.zeros_like(xy[:, 0]))
    weights = np.stack([ridge(all_own - own[k], all_trait - trait[k], penalty) for k in folds])
    return BlockModel(weights, np.einsum("qm,kmj->kqj", of_z, weights))


def ridge(xx: Array, xy: Array, penalty: Array) -> Array:
    """(m, J) coefficients (X'X + penalty)^-1 X'y for several penalties.

    Raises:
        StrategyError: X'X is no sum of products.
    """
    own, unit = (xx + xx.T) / 2, np.eye(len(xx))
    try:
        np.linalg.cholesky(own + penalty.max() * unit)
        found = [np.linalg.solve(own + weight * unit, xy) for weight in penalty.tolist()]
    except np.linalg.LinAlgError:
        raise StrategyError(
            "The sums of products of a block are those of no data; the sites' answers do not fit."
        ) from None
    return np.stack(found, axis=1)


def left_of_products(ww: Array, wz: Array, zz: Array, of_z: Array) -> Array:
    """Products of columns less what `of_z` (q, m) times the covariates explains of them."""
    crossed = wz @ of_z
    return np.asarray(ww - crossed - crossed.T + of_z.T @ zz @ of_z)


def level_one(
    covariates: Covariates, blocks: Sequence[BlockModel], sums: Predictions, heritabilities: Sequence[float]
) -> LevelOne:
    """Ridge regression on the predictions of level 0, its penalty chosen by the held-out folds.

    Args:
        covariates: By fold.
        blocks: Level 0.
        sums: Of the predictions.
        heritabilities: That make the penalties.

    Raises:
        StrategyError: The trait does not vary once covariates are taken out, or no block predicts anything.
    """
    ww, wz, wy = sums.ww, sums.wz, sums.wy
    folds = len(ww)
    shifts = np.concatenate([block.shifts for block in blocks], axis=2)
    own = np.stack([left_of_products(ww[k], wz[k], covariates.zz[k], shifts[k]) for k in range(folds)])
    trait = np.stack([_left_of_trait(wy[k], wz[k], covariates, k, shifts[k]) for k in range(folds)])
    left, samples = covariates.left_of_trait(), int(covariates.n.sum())
    size = float(np.trace(own.sum(axis=0))) / samples
    if not (left.sum() > 0 and size > 0):
        raise StrategyError("The trait does not vary, or no block of variants predicts any of it.")
    penalty = penalties(heritabilities, size)
    found = np.stack([ridge(own.sum(axis=0) - own[k], trait.sum(axis=0) - trait[k], penalty) for k in range(folds)])
    squared = np.einsum("kij,kia,kja->ka", own, found, found)
    errors = (left[:, None] - 2 * np.einsum("ki,kia->ka", trait, found) + squared).sum(axis=0) / left.sum()
    best = int(np.argmin(errors))
    return LevelOne(found[:, :, best], float(heritabilities[best]), tuple(errors.tolist()))


def genome_weights(blocks: Sequence[BlockModel], coefficients: Array) -> Array:
    """(M, K) weights of all variants, block after block, for predictions in fold k."""
    parts = [
        np.einsum("kmj,kj->mk", block.weights, part)
        for block, part in zip(blocks, _by_block(blocks, coefficients), strict=True)
    ]
    return np.concatenate(parts)


def shifts_without(
    blocks: Sequence[BlockModel], coefficients: Array, chromosomes: Sequence[int]
) -> tuple[Array, Mapping[int, Array]]:
    """(K, q) weights of the covariates in a prediction from all blocks, and from those of the other chromosomes.

    Args:
        blocks: Level 0.
        coefficients: (K, L), level 1's.
        chromosomes: Of each block.
    """
    parts = [
        np.einsum("kqj,kj->kq", block.shifts, part)
        for block, part in zip(blocks, _by_block(blocks, coefficients), strict=True)
    ]
    total = np.sum(parts, axis=0)
    without = {
        code: np.sum([part for part, of in zip(parts, chromosomes, strict=True) if of != code], axis=0)
        if any(of != code for of in chromosomes)
        else np.zeros_like(total)
        for code in sorted(set(chromosomes))
    }
    return total, without


def _by_block(blocks: Sequence[BlockModel], coefficients: Array) -> list[Array]:
    """The coefficients (K, J) of each block."""
    ends = np.cumsum([block.weights.shape[2] for block in blocks])
    return np.split(coefficients, ends[:-1], axis=1)


def _left_of_trait(wy: Array, wz: Array, covariates: Covariates, fold: int, of_z: Array) -> Array:
    """Products of columns with the trait in one fold, of what the covariates leave of both."""
    gamma = covariates.gamma
    return np.asarray(wy - wz @ gamma - of_z.T @ (covariates.zy[fold] - covariates.zz[fold] @ gamma))
