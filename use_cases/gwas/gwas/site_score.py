"""A DIZ's part of a polygenic score: sums over training samples for its weights, over test samples for its worth.

A variant counts as copies of the effect allele less a mean that the hub sends; a missing call is at the mean. Only
autosomes are in a score. Folds are of patients, by a hash of seed and patient id, so that all samples of a patient are
in one fold at every DIZ; the approved run config alone decides about seed and number.

What the hub may choose are variants, means and weights. Carriers of both alleles are counted for each variant, by fold
and among the test samples, and guard what leaves (``pyproject.toml``): sums of a variant, or of a score with a variant,
that too few people carry are 0. Bins of a score are where a normal distribution has equal shares, at a centre and
spread that the hub sends, so that it cannot cut around one patient more finely than the run config lets it.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Bool, Float, Int, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_design import TEST, TRAIN, analysed, design

MOST_LD, MOST_VARIANTS = 500, 500
"""Variants in one message; the release contract states the same."""

BINS = 40
"""Of a score, for the ROC curve."""

TENTHS = np.array(
    [
        *(-1.2815515655446004, -0.8416212335729143, -0.5244005127080409, -0.2533471031357997, 0.0),
        *(0.2533471031357997, 0.5244005127080407, 0.8416212335729143, 1.2815515655446004),
    ]
)
"""Where a standard normal distribution has 10 %, 20 %, ..."""

CUTS = np.linspace(-3.2, 3.2, BINS - 1)
"""Between the bins of a standardised score."""

AUTOSOMES = 22


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
    x = _centred(calls, mean)
    return {"xx": x.T @ x, "carriers": _carriers(calls)}


def score_moments(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products by fold of the training samples' variants x, covariates z and outcome y.

    Returns:
        ``zz`` (K, q, q), ``zy`` (K, q), ``yy`` (K,); ``xz`` (m, q, K), ``xy`` (m, K), ``xx`` (m, m, K), and
        ``carriers`` (m, 2 K + 2), which guards them: of both alleles in each fold, and among the test samples.
    """
    index, mean = _variants(site, request, MOST_VARIANTS)
    of, held = design(site, request, settings, TRAIN), analysed(site, settings, TEST)
    calls, fold = site.genotypes.pick(index), folds(site, settings)
    K, q, m = settings.folds, of.z.shape[1], len(index)
    zz, zy, yy = np.zeros((K, q, q)), np.zeros((K, q)), np.zeros(K)
    xz, xy, xx = np.zeros((m, q, K)), np.zeros((m, K)), np.zeros((m, m, K))
    carriers = [_carriers(calls[held])]
    mine, trained = fold[of.keep], calls[of.keep]
    for k in range(K):
        rows = mine == k
        x, z, y = _centred(trained[rows], mean), of.z[rows], of.y[rows]
        zz[k], zy[k], yy[k] = z.T @ z, z.T @ y, y @ y
        xz[:, :, k], xy[:, k], xx[:, :, k] = x.T @ z, x.T @ y, x.T @ x
        carriers.append(_carriers(trained[rows]))
    return {
        "zz": zz,
        "zy": zy,
        "yy": yy,
        "xz": xz,
        "xy": xy,
        "xx": xx,
        "carriers": np.concatenate(carriers, axis=1),
    }


def score_check(site: Site, request: Request, settings: Settings) -> Arrays:
    """How well a score predicts the test samples.

    Args:
        site: The DIZ's data.
        request: Arrays: ``index``, ``mean`` and ``weights`` (m,), ``covariates`` (q,), ``ranges`` (4,): centre and
            spread of the score, then of the prediction; and those of the design.
        settings: The approved run config's.

    Returns:
        ``products`` (1, 10): upper triangle of the sums of products of 1, prediction by covariates, score and outcome,
        guarded by ``carriers`` (1, 2 m); ``tenths`` (10, 3): samples, prediction and outcome by bin of the prediction,
        guarded by ``people`` (10, 1); ``bins`` (`BINS`, 2): controls and cases by bin of the score, 0 of a trait.
    """
    index, mean = _variants(site, request, MOST_VARIANTS)
    of = design(site, request, settings, TEST)
    weights = _vector(request, "weights", len(index))
    covariates, ranges = _vector(request, "covariates", of.z.shape[1]), _vector(request, "ranges", 4)
    if (weights == 0).any():
        raise InputError("Every variant of a score has a weight that is not 0.")
    if not (ranges[[1, 3]] > 0).all():
        raise InputError("The spreads of score and prediction are above 0.")
    calls = site.genotypes.pick(index)[of.keep]
    carriers = _carriers(calls).reshape(1, -1)
    score, base = _centred(calls, mean) @ weights, of.z @ covariates
    rows = np.column_stack([np.ones(of.rows), base, score, of.y])
    place = np.searchsorted(ranges[2] + ranges[3] * TENTHS, base + score, side="right")
    tenths = np.zeros((10, 3))
    np.add.at(tenths, place, np.column_stack([np.ones(of.rows), base + score, of.y]))
    bins = np.zeros((BINS, 2), dtype=np.int64)
    if settings.binary:
        at = np.searchsorted(ranges[0] + ranges[1] * CUTS, score, side="right")
        np.add.at(bins, (at, of.y.astype(np.int64)), 1)
    return {
        "products": (rows.T @ rows)[np.triu_indices(4)][None, :],
        "carriers": carriers,
        "tenths": tenths,
        "people": tenths[:, :1].astype(np.int64),
        "bins": bins,
    }


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
    return index.astype(np.int64), mean


def _vector(request: Request, name: str, length: int) -> Float:
    found = np.asarray(request.arrays[name], dtype=np.float64)
    if found.shape != (length,) or not np.isfinite(found).all():
        raise InputError(f"The message's {name} should be {length} finite numbers.")
    return found


def _centred(calls: npt.NDArray[np.int8], mean: Float) -> Float:
    """(n, m) copies less their mean, 0 where there is no call."""
    return np.where(calls < 0, 0.0, calls - mean)


def _carriers(calls: npt.NDArray[np.int8]) -> Int:
    """(m, 2) samples with the effect allele, and with the other one."""
    there: Bool = calls >= 0
    return np.stack([(calls > 0).sum(axis=0), (there & (calls < 2)).sum(axis=0)], axis=1).astype(np.int64)


ANSWERS: dict[str, Answer] = {"score_ld": score_ld, "score_moments": score_moments, "score_check": score_check}
