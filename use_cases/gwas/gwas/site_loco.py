"""A DIZ's own polygenic predictions, without the chromosome that is tested: what the second step takes off the trait.

A message about variants of one chromosome brings weights on variants (p1, K) and on covariates (K, q) by fold. The
prediction of a sample in fold k is the sum over the variants of the other chromosomes of its standardised genotypes
times the weights of fold k, less its covariates times theirs. The weights are the hub's, the genotypes and the fold are
the DIZ's, and the prediction does not leave it: it changes the trait that sums are made of.

With weights of its choice, a hub learns from the sums of a chunk what it would from a column of a basis (`site_pca`).
"""

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Float, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_design import Design
from gwas.site_ridge import folds
from gwas.site_scaled import BLOCK, centred_variants, numbers, scaled

LOCO_ARRAYS = ("loco_index", "loco_mean", "loco_scale", "loco_weights", "loco_z", "loco_chromosome")


def offset(site: Site, request: Request, settings: Settings, design: Design) -> Float:
    """(kept,) what is subtracted from the analysed samples' trait; zeros if the message brings no weights.

    Args:
        site: The DIZ's data.
        request: With all of `LOCO_ARRAYS`, or none.
        settings: The approved run config's.
        design: The samples.

    Raises:
        InputError: The analysis is none with predictions, or the weights are not of the form that a fit has.
    """
    if not any(name in request.arrays for name in LOCO_ARRAYS):
        return np.zeros(design.rows)
    if settings.analysis != "two-step":
        raise InputError("The approved analysis takes no polygenic prediction off the phenotype.")
    chromosome = int(numbers(request, "loco_chromosome", (1,))[0])
    span = [request.config.get(name) for name in ("start", "stop")]
    if isinstance(span[0], int) and int(site.panel.chromosome[span[0]]) != chromosome:
        raise InputError("The message tests variants of a chromosome that it does not leave out of the prediction.")
    by_chromosome = _by_chromosome(site, request, settings, design)
    on_covariates = numbers(request, "loco_z", (settings.folds, design.z.shape[1]))
    mine = folds(site, settings)[design.keep]
    found = sum((part for code, part in by_chromosome.items() if code != chromosome), np.zeros(design.rows))
    found = found - np.einsum("nq,nq->n", design.z, on_covariates[mine])
    return np.asarray(found, dtype=np.float64)


def _by_chromosome(site: Site, request: Request, settings: Settings, design: Design) -> dict[int, Float]:
    """(kept,) each chromosome's part of the predictions, remembered: the next chunks need the same."""
    index, mean, scale = centred_variants(site, request, "loco")
    weights = numbers(request, "loco_weights", (len(index), settings.folds))
    used = {"index": index, "mean": mean, "scale": scale, "weights": weights, "keep": design.keep}
    key = digest("loco", repr(settings), arrays=used)

    def make() -> dict[int, Float]:
        mine = folds(site, settings)[design.keep]
        chromosome, found = site.panel.chromosome[index], {}
        for code in np.unique(chromosome).tolist():
            part, places = np.zeros((design.rows, settings.folds)), np.flatnonzero(chromosome == code)
            for start in range(0, len(places), BLOCK):
                of = places[start : start + BLOCK]
                calls = site.genotypes.pick(index[of])[design.keep]
                part += scaled(calls, mean[of], scale[of]) @ weights[of]
            found[int(code)] = part[np.arange(design.rows), mine]
        return found

    return remember(site, key, make)
