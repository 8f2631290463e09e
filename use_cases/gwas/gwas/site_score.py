"""A DIZ's part of a polygenic score: sums over training samples for its weights, over test samples for its worth.

A variant counts as copies of the effect allele less a mean that the hub sends; a missing call is this DIZ's most
frequent one (`site_scaled.filled`). Only variants that the panel states as common are in a score, and such as all DIZ
have. Folds are of patients, by a hash of seed and patient id; the approved run config alone decides about seed and
number.

What the hub may choose are variants, means and weights. Carriers of both alleles are counted for each variant, by fold
and among the test samples, and people by fold and by declared level; they guard what leaves (``pyproject.toml``).

A score's worth is told in tenths of each DIZ's own test samples, by their rank in its prediction and in its score: a
message brings no cuts. All tenths leave, or none.
"""

import hashlib

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Float, Int, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_classes import everyone, groups
from gwas.site_design import TEST, TRAIN, analysed, design
from gwas.site_ridge import LARGEST_WEIGHT, by_class, in_folds
from gwas.site_scaled import AUTOSOMES, carriers, filled, must_be_there

MOST_LD, MOST_VARIANTS = 500, 500
"""Variants in one message; the release contract states the same."""

LEAST_WEIGHT = 1e-9

TENTHS = 10
"""Of a DIZ's test samples, by rank."""


def folds(site: Site, settings: Settings) -> Int:
    """(n,) the fold of each sample's patient."""

    def make() -> Int:
        hashes = (hashlib.sha256(f"{settings.seed}:score:{patient}".encode()).digest() for patient in site.patients)
        return np.array([int.from_bytes(found, "big") % settings.folds for found in hashes], dtype=np.int64)

    return remember(site, digest("score folds", settings.seed, settings.folds), make)


def score_ld(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products of variants with each other, over the training samples: for linkage disequilibrium.

    Returns:
        ``xx`` (m, m) and ``carriers`` (m, 2), which guards it.
    """
    index, mean = _variants(site, request, MOST_LD)
    calls = site.genotypes.pick(index)[analysed(site, settings, TRAIN)]
    x = filled(calls) - mean
    return {"xx": x.T @ x, "carriers": carriers(calls)}


def score_moments(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products by fold of the training samples' variants x, covariates z and outcome y.

    Returns:
        ``zz`` (1, K, q, q), ``zy`` (1, K, q), ``yy`` (1, K); ``xz`` (m, q, K), ``xy`` (m, K), ``xx`` (m, m, K). Guards:
        ``carriers`` (m, 2 K + 2) of both alleles in each fold, and among the test samples; ``classes`` (1, K G) and
        ``row_classes`` (m, K G), people by fold and group (`site_classes`).
    """
    index, mean = _variants(site, request, MOST_VARIANTS)
    of, held = design(site, request, settings, TRAIN), analysed(site, settings, TEST)
    calls = site.genotypes.pick(index)
    K, q, m = settings.folds, of.z.shape[1], len(index)
    zz, zy, yy = np.zeros((1, K, q, q)), np.zeros((1, K, q)), np.zeros((1, K))
    xz, xy, xx = np.zeros((m, q, K)), np.zeros((m, K)), np.zeros((m, m, K))
    trained, by_fold = calls[of.keep], in_folds(folds(site, settings)[of.keep], settings)
    every = filled(trained) - mean
    for k, rows in enumerate(by_fold):
        x, z, y = every[rows], of.z[rows], of.y[rows]
        zz[0, k], zy[0, k], yy[0, k] = z.T @ z, z.T @ y, y @ y
        xz[:, :, k], xy[:, k], xx[:, :, k] = x.T @ z, x.T @ y, x.T @ x
    classes = by_class(site, settings, of.keep, by_fold)
    return {
        "zz": zz,
        "zy": zy,
        "yy": yy,
        "xz": xz,
        "xy": xy,
        "xx": xx,
        "carriers": np.concatenate([carriers(calls[held]), *(carriers(trained[rows]) for rows in by_fold)], axis=1),
        "classes": classes,
        "row_classes": np.repeat(classes, m, axis=0),
    }


def score_check(site: Site, request: Request, settings: Settings) -> Arrays:
    """How well a score predicts the test samples.

    Args:
        site: The DIZ's data.
        request: Arrays: ``index``, ``mean`` and ``weights`` (m,), ``covariates`` (q,), and those of the design.
        settings: The approved run config's.

    Returns:
        ``products`` (1, 10): upper triangle of the sums of products of 1, prediction by covariates, score and outcome,
        guarded by ``carriers`` (1, 2 m) and ``classes`` (1, G); ``tenths`` (1, 10, 3): samples, prediction and outcome
        by the rank of the prediction among this DIZ's, and of a disease ``ranks`` (1, 10, 2): controls and cases by the
        rank of the score, 0 of a trait; both guarded by ``people`` (1, 10) and ``classes``.
    """
    index, mean = _variants(site, request, MOST_VARIANTS)
    of = design(site, request, settings, TEST)
    weights, covariates = _vector(request, "weights", len(index)), _vector(request, "covariates", of.z.shape[1])
    for of_what in (weights, covariates):
        if np.abs(of_what).max() > LARGEST_WEIGHT:
            raise InputError(f"A weight is beyond {LARGEST_WEIGHT:.0f}; no fit of a standardised trait gives this.")
    if (np.abs(weights) < LEAST_WEIGHT).any():
        raise InputError("Every variant of a score has a weight that is not 0.")
    calls = site.genotypes.pick(index)[of.keep]
    score, base = (filled(calls) - mean) @ weights, of.z @ covariates
    rows = np.column_stack([np.ones(of.rows), base, score, of.y])
    place = tenth(base + score)
    tenths, ranks = np.zeros((TENTHS, 3)), np.zeros((TENTHS, 2), dtype=np.int64)
    np.add.at(tenths, place, np.column_stack([np.ones(of.rows), base + score, of.y]))
    if settings.binary:
        np.add.at(ranks, (tenth(score), of.y.astype(np.int64)), 1)
    return {
        "products": (rows.T @ rows)[np.triu_indices(4)][None],
        "tenths": tenths[None],
        "ranks": ranks[None],
        "carriers": carriers(calls).reshape(1, -1),
        "people": tenths[None, :, 0].astype(np.int64),
        "classes": everyone(groups(site, settings, of.keep)),
    }


def tenth(values: Float) -> Int:
    """(n,) 0 to 9, by rank; the earlier of two equal ones is the lower."""
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * TENTHS // max(len(values), 1)


def _variants(site: Site, request: Request, most: int) -> tuple[Int, Float]:
    """Places in the panel, and means.

    Raises:
        InputError: They are none, too many, not increasing, or not of autosomes; or a mean is not from 0 to 2.
    """
    index = request.arrays["index"]
    if index.ndim != 1 or not 1 <= len(index) <= most or index.dtype.kind != "i":
        raise InputError(f"A message about a score names 1 to {most} variants by their places.")
    if (np.diff(index) <= 0).any() or not 0 <= index[0] <= index[-1] < site.panel.size:
        raise InputError("The places of a score's variants increase, and lie within the panel.")
    if (site.panel.chromosome[index] > AUTOSOMES).any():
        raise InputError("Only variants of autosomes are in a score.")
    mean = _vector(request, "mean", len(index))
    if not ((mean >= 0) & (mean <= 2)).all():
        raise InputError("The mean of a variant is from 0 to 2 copies.")
    must_be_there(site, index)
    return index.astype(np.int64), mean


def _vector(request: Request, name: str, length: int) -> Float:
    found = np.asarray(request.arrays[name], dtype=np.float64)
    if found.shape != (length,) or not np.isfinite(found).all():
        raise InputError(f"The message's {name} should be {length} finite numbers.")
    return found


ANSWERS: dict[str, Answer] = {"score_ld": score_ld, "score_moments": score_moments, "score_check": score_check}
