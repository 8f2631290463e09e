"""Logistic association at the hub: a model without variants, then chunk by chunk with each; see `logistic_fits`.

A variant has no result where its sums stay hidden: too few people carry one of its alleles, or too few of a category,
of the cases or of the controls have a call (RARE), somebody but too few have one of the genotypes (FEW_HOMOZYGOTES), or
somebody but too few leave the test (FEW_MISSING: at a DIZ without the variant, or with ``missing = "exclude"``). Nor
has one of which the covariates leave nothing, or whose samples are all cases or all controls (CONSTANT), or whose fit
does not end where the run config does not ask for Firth's method (NOT_CONVERGED).
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from flame_strategies.sums import GridExchange

from gwas.hub import Hub
from gwas.linear_run import HAPLOID
from gwas.logistic_fits import chunk_tests, null_model
from gwas.logistic_sums import LogisticSums
from gwas.moments_run import HasArrays, moments
from gwas.panel import MT, Y
from gwas.quality_rules import Quality
from gwas.results import FEW_HOMOZYGOTES, FEW_MISSING, RARE, Associations, Table
from gwas.scan import fingerprint, scan
from gwas.settings import Settings

Int = npt.NDArray[np.int64]


def run(hub: Hub, quality: Quality, components: HasArrays | None) -> Associations:
    """Test every variant that passed.

    Args:
        hub: The run.
        quality: Which variants passed.
        components: Principal components that are covariates.

    Raises:
        StrategyError: There is no model without variants, and so none with one; see `null_model` and `moments`.
    """
    found, sites = hub.fit(lambda exchange: _all(hub, exchange, quality, components))
    return replace(found, sites=sites)


def _all(hub: Hub, exchange: GridExchange, quality: Quality, components: HasArrays | None) -> Associations:
    of = moments(exchange, hub.settings, components)
    null = LogisticSums.null(exchange, hub.settings, of.arrays)
    coefficients = null_model(null)

    def work(start: int, stop: int) -> Table:
        index = np.flatnonzero(quality.passed[start:stop]) + start
        rows = chunk_tests(null.variants((start, stop), index), coefficients)
        rows["status"] = _why(rows["status"], quality, index, of.sites, hub.settings)
        if int(hub.panel.chromosome[start]) in (Y, MT):
            rows = _haploid(rows)
        return {**rows, "sites": quality.sites[index]}

    stamp = {
        "arrays": fingerprint(of.arrays),
        "nodes": list(exchange.sites),
        "passed": fingerprint({"passed": quality.passed}),
    }
    found = scan(hub, "associations", stamp, work, wanted=quality.passed)
    samples, cases = null.counts[0].tolist()
    columns = ", ".join(of.terms[1:]) or "nothing but the variant"
    note = f"Logistic regression on {columns}; {samples} samples, {cases} of them cases."
    return replace(found, exchanges=len(exchange.history), notes=(note,), samples=samples, cases=cases)


def _why(status: Int, quality: Quality, index: Int, sites: int, settings: Settings) -> Int:
    """Of variants that the quality control saw and whose sums stay hidden now, what the quality control says of it."""
    hidden = status == RARE
    leave = (quality.sites[index] < sites) | ((settings.missing == "exclude") & (quality.missing[index] > 0))
    few = quality.rarest[index] < settings.min_carriers
    return np.select([hidden & few, hidden & leave], [FEW_HOMOZYGOTES, FEW_MISSING], status)


def _haploid(rows: Table) -> Table:
    """2 in the .bed file is one copy."""
    numbers = {name: rows[name] / HAPLOID for name in ("beta", "se")}
    return {**rows, **numbers, "alt_count": rows["alt_count"] * HAPLOID}
