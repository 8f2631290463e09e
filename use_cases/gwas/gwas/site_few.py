"""A DIZ's samples as every query of an analysis sees them: one sample per patient, and no allele that few carry here.

Variants that may take weights (`site_scaled.weighable`) are part of sums that no row's guard protects. Where 1 to
``min-carriers`` - 1 of a DIZ's analysed samples carry one of the two alleles, the DIZ lacks the variant: for the
quality control, for every test and for every weight alike, so that no two answers differ by these few. With
``min-carriers`` of 1 nothing changes. Which variants these are follows from the panel and the run config, never from a
message; the hub learns of them as it does of other variants that a DIZ lacks (``gwas_variants``).

How many samples are analysed does not depend on it: shares of missing calls are of all that the file has.
"""

from dataclasses import replace

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Bool, Site
from gwas.site_cache import digest, remember
from gwas.site_design import TEST, analysed
from gwas.site_quality import missing_share
from gwas.site_scaled import carriers, weighable

_WIDTH = 4_096
"""Variants that are read at once."""


def as_asked(site: Site, settings: Settings) -> Site:
    """The DIZ's data as its answers are made of them; remembered.

    Raises:
        InputError: Some patients have several analysed samples.
    """
    return remember(site, digest("as asked", repr(settings)), lambda: _as_asked(site, settings), lasting=True)


def few(site: Site, settings: Settings) -> Bool:
    """(p,) weighable variants of which some, but fewer than `min_carriers` analysed samples carry an allele."""
    found = np.zeros(site.panel.size, dtype=np.bool_)
    if settings.min_carriers <= 1:
        return found
    keep = analysed(site, settings)
    rows = np.flatnonzero(weighable(site.panel, settings) & site.genotypes.present)
    for start in range(0, len(rows), _WIDTH):
        some = rows[start : start + _WIDTH]
        count = carriers(site.genotypes.pick(some)[keep])
        found[some] = ((count > 0) & (count < settings.min_carriers)).any(axis=1)
    return found


def _as_asked(site: Site, settings: Settings) -> Site:
    _one_sample_each(site, settings)
    absent = few(site, settings)
    found = replace(site, genotypes=site.genotypes.without(absent))
    if settings.mind < 1:
        remember(found, digest("missing"), lambda: missing_share(site), lasting=True)
    return found


def _one_sample_each(site: Site, settings: Settings) -> None:
    parts = ("", TEST) if settings.analysis == "score" else ("",)
    for part in parts:
        rows = np.flatnonzero(analysed(site, settings, part)) if site.patients else np.zeros(0, dtype=np.int64)
        if several := len(rows) - len({site.patients[row] for row in rows}):
            raise InputError(
                f"{several} analysed samples are of patients who have another one: counts of samples would be taken "
                "for counts of patients. Keep one sample of each patient in the data store."
            )
