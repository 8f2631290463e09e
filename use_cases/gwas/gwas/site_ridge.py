"""A DIZ's part in the first step of the two-step method: sums by fold for ridge regression in blocks of variants.

| query       | asks                                          | answers                                          |
|-------------|-----------------------------------------------|--------------------------------------------------|
| gwas_ridge  | the design's arrays; ridge_index, ridge_mean, | n (K,), zz (K, q (q + 1) / 2) packed, zy (K, q), |
|             | ridge_scale (m,): one block                   | yy (K,); carriers (m, 2), xx (m, m, K),          |
|             |                                               | xz (m, q, K), xy (m, K)                          |
| gwas_level1 | the same of all blocks (p1,), block (p1,),    | n (K,), ww (K, L (L + 1) / 2) packed,            |
|             | weights (p1, K J)                             | wz (K, L, q), wy (K, L)                          |

X are the columns of `site_scaled`, Z and y those of the design, K the run config's ``folds``, J its number of ``ridge``
heritabilities, L = J times the number of blocks. A sample's column (b, j) of W is its genotypes in block b times the
weights of its own fold (columns k J to k J + J - 1). Predictions stay here.

Folds are of patients, by a hash of the run config's seed and the patient id: no message says who is in which.

What a hub gets. Products of variants with each other, by fold: of any ``blocks`` variants of one
chromosome, and, with weights of its choice, of L combinations of all variants. Both are second moments of sums over all
DIZ, as principal components' are, and the same remains possible (`site_pca`, `site_scaled`); ``gwas_level1`` has so
many columns that the terms should let a run ask it a few times only. `carriers` guards rows and columns of xx.
"""

import hashlib
from itertools import pairwise

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Bool, Float, Int, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_design import design
from gwas.site_scaled import carriers, centred_variants, numbers, scaled, variants

MOST_COLUMNS = 1_500
"""L; the release contract states 1500 * 1501 / 2."""


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
    x = scaled(calls, mean, scale, fewest=settings.min_carriers)
    K, m, q = settings.folds, len(index), z.shape[1]
    upper = np.triu_indices(q)
    zz, zy, yy = np.zeros((K, len(upper[0]))), np.zeros((K, q)), np.zeros(K)
    xx, xz, xy = np.zeros((m, m, K)), np.zeros((m, q, K)), np.zeros((m, K))
    for k, rows in enumerate(_rows(site, settings, samples.keep)):
        xk, zk, yk = x[rows], z[rows], y[rows]
        zz[k], zy[k], yy[k] = (zk.T @ zk)[upper], zk.T @ yk, yk @ yk
        xx[:, :, k], xz[:, :, k], xy[:, k] = xk.T @ xk, xk.T @ zk, xk.T @ yk
    sizes = _sizes(site, settings, samples.keep)
    return {"n": sizes, "zz": zz, "zy": zy, "yy": yy, "carriers": carriers(calls), "xx": xx, "xz": xz, "xy": xy}


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
    weights, samples = numbers(request, "weights", (len(index), K * J)), design(site, request, settings)
    by_fold = _rows(site, settings, samples.keep)
    w = _predictions(site, request, settings, samples.keep, weights)
    upper, q = np.triu_indices(L), samples.z.shape[1]
    ww, wz, wy = np.zeros((K, len(upper[0]))), np.zeros((K, L, q)), np.zeros((K, L))
    for k, rows in enumerate(by_fold):
        wk = w[rows]
        ww[k], wz[k], wy[k] = (wk.T @ wk)[upper], wk.T @ samples.z[rows], wk.T @ samples.y[rows]
    return {"n": _sizes(site, settings, samples.keep), "ww": ww, "wz": wz, "wy": wy}


ANSWERS: dict[str, Answer] = {"gwas_ridge": gwas_ridge, "gwas_level1": gwas_level1}
"""By the query's name without ``query.``."""


def _predictions(site: Site, request: Request, settings: Settings, keep: Bool, weights: Float) -> Float:
    """(kept, L) of each sample, with the weights of its fold."""
    index, mean, scale = centred_variants(site, request, "ridge")
    by_fold, J, block = _rows(site, settings, keep), len(settings.ridge), request.arrays["block"]
    edges = np.searchsorted(block, np.arange(int(block[-1]) + 2))
    found = np.zeros((int(keep.sum()), J * (len(edges) - 1)))
    for number, (start, stop) in enumerate(pairwise(edges)):
        of = slice(int(start), int(stop))
        calls = site.genotypes.pick(index[of])[keep]
        x = scaled(calls, mean[of], scale[of], fewest=settings.min_carriers)
        for k, rows in enumerate(by_fold):
            found[rows, number * J : (number + 1) * J] = x[rows] @ weights[of, k * J : (k + 1) * J]
    return found


def _rows(site: Site, settings: Settings, keep: Bool) -> list[Int]:
    """Of the analysed samples, the places of those in each fold."""
    mine = folds(site, settings)[keep]
    return [np.flatnonzero(mine == k) for k in range(settings.folds)]


def _sizes(site: Site, settings: Settings, keep: Bool) -> Int:
    return np.bincount(folds(site, settings)[keep], minlength=settings.folds).astype(np.int64)
