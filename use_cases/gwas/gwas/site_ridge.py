"""A DIZ's part in the first step of the two-step method: sums by fold for ridge regression in blocks of variants.

| query       | asks                                          | answers                                          |
|-------------|-----------------------------------------------|--------------------------------------------------|
| gwas_ridge  | the design's arrays; ridge_index, ridge_mean, | n (1, K), zz (1, K, q (q + 1) / 2) packed,       |
|             | ridge_scale (m,): one block                   | zy (1, K, q), yy (1, K); xx (m, m, K),           |
|             |                                               | xz (m, q, K), xy (m, K)                          |
| gwas_level1 | the same of all blocks (p1,), block (p1,),    | n (1, K), ww (1, K, L (L + 1) / 2) packed,       |
|             | weights (p1, K J)                             | wz (1, K, L, q), wy (1, K, L)                    |

X are the columns of `site_scaled`, Z and y those of the design, K the run config's ``folds``, J its number of ``ridge``
heritabilities, L = J times the number of blocks. A sample's column (b, j) of W is its genotypes in block b times the
weights of its own fold (columns k J to k J + J - 1). Predictions stay here.

Folds are of patients, by a hash of the run config's seed and the patient id: no message says who is in which.

Guards. A row of X needs enough carriers of either allele in every fold: ``carriers`` (m, 2 K). All that is by fold
needs enough people in every fold, and in every fold of each declared level: ``classes`` (1, K G) and, the same for each
row of X, ``row_classes`` (m, K G), G as in `site_classes`. One fold that holds too few hides all folds, because the sum
of all of them is known.

What a hub gets. Products of variants with each other, by fold: of any ``blocks`` variants of one
chromosome, and, with weights of its choice, of L combinations of all variants. Both are second moments of sums over all
DIZ, as principal components' are, and the same remains possible (`site_pca`, `site_scaled`); ``gwas_level1`` has so
many columns that the terms should let a run ask it a few times only.
"""

import hashlib
from itertools import pairwise

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Bool, Float, Int, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_classes import everyone, groups
from gwas.site_design import design
from gwas.site_scaled import carriers, centred_variants, numbers, scaled, variants

MOST_COLUMNS = 1_500
"""L; the release contract states 1500 * 1501 / 2."""

FEWEST_OF_A_BLOCK = 20
"""Variants; a chromosome with fewer has no block."""

LARGEST_WEIGHT = 1e3
"""Of a standardised variant, in the trait's standard deviations."""


def folds(site: Site, settings: Settings) -> Int:
    """(n,) the fold of each sample: all samples of a patient are in one."""

    def make() -> Int:
        hashes = (hashlib.sha256(f"{settings.seed}:ridge:{patient}".encode()).digest() for patient in site.patients)
        return np.array([int.from_bytes(found, "big") % settings.folds for found in hashes], dtype=np.int64)

    return remember(site, digest("ridge folds", settings.seed, settings.folds), make)


def gwas_ridge(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products by fold of one block's variants.

    Raises:
        InputError: The variants are no block.
    """
    index, mean, scale = centred_variants(site, request, "ridge")
    if len(index) > settings.blocks or len(np.unique(site.panel.chromosome[index])) > 1:
        raise InputError(f"A block has at most {settings.blocks} variants, of one chromosome.")
    samples = design(site, request, settings)
    calls, z, y = site.genotypes.pick(index)[samples.keep], samples.z, samples.y
    x = scaled(calls, mean, scale)
    K, m, q = settings.folds, len(index), z.shape[1]
    upper = np.triu_indices(q)
    zz, zy, yy = np.zeros((1, K, len(upper[0]))), np.zeros((1, K, q)), np.zeros((1, K))
    xx, xz, xy = np.zeros((m, m, K)), np.zeros((m, q, K)), np.zeros((m, K))
    by_fold = in_folds(folds(site, settings)[samples.keep], settings)
    for k, rows in enumerate(by_fold):
        xk, zk, yk = x[rows], z[rows], y[rows]
        zz[0, k], zy[0, k], yy[0, k] = (zk.T @ zk)[upper], zk.T @ yk, yk @ yk
        xx[:, :, k], xz[:, :, k], xy[:, k] = xk.T @ xk, xk.T @ zk, xk.T @ yk
    classes = by_class(site, settings, samples.keep, by_fold)
    return {
        "n": _sizes(by_fold),
        "zz": zz,
        "zy": zy,
        "yy": yy,
        "xx": xx,
        "xz": xz,
        "xy": xy,
        "carriers": np.concatenate([carriers(calls[rows]) for rows in by_fold], axis=1),
        "classes": classes,
        "row_classes": np.repeat(classes, m, axis=0),
    }


def gwas_level1(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products by fold of the blocks' predictions.

    Raises:
        InputError: The blocks or their weights are not of the form that a fit has.
    """
    index, block = variants(site, request, "ridge_index"), request.arrays.get("block")
    K, J = settings.folds, len(settings.ridge)
    if block is None or block.shape != index.shape or block.dtype.kind != "i" or block[0] != 0:
        raise InputError("The message does not say which variant belongs to which block.")
    steps = np.diff(block)
    if not np.isin(steps, (0, 1)).all() or np.bincount(block).max() > settings.blocks:
        raise InputError(f"Blocks are of at most {settings.blocks} neighbours, and in order.")
    if (steps[np.diff(site.panel.chromosome[index].astype(np.int64)) != 0] == 0).any():
        raise InputError("A block is of one chromosome.")
    L = J * (int(block[-1]) + 1)
    if L > MOST_COLUMNS:
        raise InputError(f"There are {L} predictions per sample; at most {MOST_COLUMNS} are answered for.")
    if np.bincount(block).min() < FEWEST_OF_A_BLOCK:
        raise InputError(f"A block of fewer than {FEWEST_OF_A_BLOCK} variants is these variants' genotypes.")
    weights, samples = numbers(request, "weights", (len(index), K * J)), design(site, request, settings)
    if np.abs(weights).max() > LARGEST_WEIGHT:
        raise InputError(f"A weight is beyond {LARGEST_WEIGHT:.0f}; no fit of a standardised trait gives this.")
    by_fold = in_folds(folds(site, settings)[samples.keep], settings)
    w = _predictions(site, request, settings, samples.keep, weights)
    upper, q = np.triu_indices(L), samples.z.shape[1]
    ww, wz, wy = np.zeros((1, K, len(upper[0]))), np.zeros((1, K, L, q)), np.zeros((1, K, L))
    for k, rows in enumerate(by_fold):
        wk = w[rows]
        ww[0, k], wz[0, k], wy[0, k] = (wk.T @ wk)[upper], wk.T @ samples.z[rows], wk.T @ samples.y[rows]
    classes = by_class(site, settings, samples.keep, by_fold)
    return {"n": _sizes(by_fold), "ww": ww, "wz": wz, "wy": wy, "classes": classes}


ANSWERS: dict[str, Answer] = {"gwas_ridge": gwas_ridge, "gwas_level1": gwas_level1}
"""By the query's name without ``query.``."""


def _predictions(site: Site, request: Request, settings: Settings, keep: Bool, weights: Float) -> Float:
    """(kept, L) of each sample, with the weights of its fold."""
    index, mean, scale = centred_variants(site, request, "ridge")
    by_fold = in_folds(folds(site, settings)[keep], settings)
    J, block = len(settings.ridge), request.arrays["block"]
    edges = np.searchsorted(block, np.arange(int(block[-1]) + 2))
    found = np.zeros((int(keep.sum()), J * (len(edges) - 1)))
    for number, (start, stop) in enumerate(pairwise(edges)):
        of = slice(int(start), int(stop))
        calls = site.genotypes.pick(index[of])[keep]
        x = scaled(calls, mean[of], scale[of])
        for k, rows in enumerate(by_fold):
            found[rows, number * J : (number + 1) * J] = x[rows] @ weights[of, k * J : (k + 1) * J]
    return found


def in_folds(mine: Int, settings: Settings) -> list[Int]:
    """The places of the samples of each fold, whose folds are (kept,)."""
    return [np.flatnonzero(mine == k) for k in range(settings.folds)]


def by_class(site: Site, settings: Settings, keep: Bool, by_fold: list[Int]) -> Int:
    """(1, K G) people of each of the groups of `site_classes`, fold by fold."""
    of = groups(site, settings, keep)
    return np.concatenate([everyone(of[rows]) for rows in by_fold], axis=1)


def _sizes(by_fold: list[Int]) -> Int:
    return np.array([[len(rows) for rows in by_fold]], dtype=np.int64)
