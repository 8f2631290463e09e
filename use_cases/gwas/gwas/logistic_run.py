"""Logistic association at the hub: a model without variants, then chunk by chunk with each; see `logistic_fits`.

A variant has no result where too few people carry one of its alleles (its sums stay hidden, RARE), where so few samples
lack a call that what they add stays hidden (FEW_MISSING, with ``missing = "exclude"``), where the covariates leave
nothing of it, or its samples are all cases or all controls (CONSTANT), and where its fit does not end and the run
config does not ask for Firth's method (NOT_CONVERGED).
"""

from dataclasses import replace

import numpy as np
from flame_strategies.sums import GridExchange

from gwas.hub import Hub
from gwas.linear_run import HAPLOID
from gwas.logistic_fits import chunk_tests, null_model
from gwas.logistic_sums import LogisticSums
from gwas.moments_run import HasArrays, moments
from gwas.panel import MT, Y
from gwas.quality_rules import Quality
from gwas.results import Associations, Table
from gwas.scan import fingerprint, scan


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


def _haploid(rows: Table) -> Table:
    """2 in the .bed file is one copy."""
    numbers = {name: rows[name] / HAPLOID for name in ("beta", "se")}
    return {**rows, **numbers, "alt_count": rows["alt_count"] * HAPLOID}
