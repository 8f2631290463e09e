"""Linear association at the hub: every variant that passed the quality control, equal to PLINK 2 on the pooled samples.

The DIZ answer with sums (`site_linear`), `flame_strategies.association` makes tests of them. With ``missing =
"exclude"`` a variant's test is of the samples with a call, as ``plink2 --glm`` has it; with "impute" a missing call is
the DIZ's most frequent one.

A variant that the quality control left out has no row. One that is in has no result where too few people carry one of
its alleles, or too few of a category have a call (its sums stay hidden, RARE), where so few samples lack a call, of all
or of a category, that its sums stay hidden for that (FEW_MISSING), and where the covariates leave nothing of it
(CONSTANT).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from flame_strategies.association import NullSums, VariantSums, linear_tests
from flame_strategies.sums import GridExchange

from gwas.hub import Hub
from gwas.moments_run import Arrays, HasArrays, Moments, moments, null_sums
from gwas.panel import MT, Y
from gwas.quality_rules import Quality
from gwas.results import CONSTANT, FEW_MISSING, LINEAR, NO_TEST, OK, RARE, TWO_STEP, Associations, Table
from gwas.scan import fingerprint, scan

HAPLOID = 0.5
"""PLINK 2 counts haploid calls of Y and mitochondria as 0 and 1 copy, a .bed file as 0 and 2."""


class Loco(Protocol):
    """Predictions of the phenotype from all chromosomes but one."""

    def arrays(self, chromosome: int) -> Arrays:
        """What a message brings, for the variants of a chromosome."""


def run(hub: Hub, quality: Quality, components: HasArrays | None, loco: Loco | None = None) -> Associations:
    """Test every variant.

    Args:
        hub: The run.
        quality: Which variants passed.
        components: Principal components that are covariates.
        loco: Predictions that are taken off the phenotype first (two-step).

    Raises:
        DesignError: No variant could be tested; see `moments`.
    """
    found, sites = hub.fit(lambda exchange: _all(hub, exchange, quality, (components, loco)))
    return replace(found, sites=sites)


def _all(
    hub: Hub, exchange: GridExchange, quality: Quality, more: tuple[HasArrays | None, Loco | None]
) -> Associations:
    components, loco = more
    null = moments(exchange, hub.settings, components)
    test = LINEAR if loco is None else TWO_STEP
    by_chromosome: dict[int, tuple[Arrays, NullSums]] = {}

    def of(chromosome: int) -> tuple[Arrays, NullSums]:
        if loco is None:
            return null.arrays, null.sums
        if chromosome not in by_chromosome:
            by_chromosome.clear()
            arrays = {**null.arrays, **loco.arrays(chromosome)}
            by_chromosome[chromosome] = arrays, null_sums(exchange, hub.settings, arrays)
        return by_chromosome[chromosome]

    def work(start: int, stop: int) -> Table:
        chromosome = int(hub.panel.chromosome[start])
        arrays, sums = of(chromosome)
        span = {"start": start, "stop": stop}
        answers = exchange("query.gwas_linear", {"span": span, "design": dict(arrays)})
        kind = {"test": test, "haploid": chromosome in (Y, MT)}
        sites = quality.sites[start:stop]
        few = (sites < null.sites) | ((hub.settings.missing == "exclude") & (quality.missing[start:stop] > 0))
        rows = rows_of(answers, sums, null, sites=sites, leaving=few, **kind)
        return chosen(rows, start, quality.passed[start:stop])

    every = {
        "arrays": fingerprint(null.arrays),
        "nodes": list(exchange.sites),
        "passed": fingerprint({"passed": quality.passed}),
    }
    if loco is not None:
        every["loco"] = fingerprint(loco.arrays(int(hub.panel.chromosome[0])))
    found = scan(hub, "associations", every, work, wanted=quality.passed)
    notes = (f"Linear regression on {', '.join(null.terms[1:]) or 'nothing but the variant'}; {null.n} samples.",)
    return replace(found, exchanges=len(exchange.history), notes=notes, samples=null.n)


def rows_of(
    answers: Mapping[str, npt.NDArray[Any]],
    null: NullSums,
    of: Moments,
    *,
    sites: npt.NDArray[Any],
    leaving: npt.NDArray[np.bool_],
    test: int = LINEAR,
    haploid: bool = False,
) -> Table:
    """The tests of a chunk.

    Args:
        answers: Of ``gwas_linear``, summed.
        null: The null model's sums.
        of: Its samples, and the phenotype's unit.
        sites: (m,) how many DIZ have each variant.
        leaving: (m,) whether samples leave the variant's test.
        test: Their code.
        haploid: Whether 2 in the .bed file is one copy.

    Returns:
        All columns of `gwas.results.COLUMNS` but index.
    """
    n = answers["n"]
    tests = linear_tests(null, VariantSums.of(answers))
    nothing = (n == 0) & (answers["g"] == 0)
    status = np.where(tests.fits, OK, CONSTANT)
    status[leaving & (np.rint(answers["mzz"][:, 0]) == 0)] = FEW_MISSING
    status[nothing & ~leaving] = RARE
    good = status == OK
    unit = of.y_scale * (2.0 if haploid else 1.0)
    log10p = np.where(good, -tests.log10_p, np.nan)
    return {
        "n": n,
        "alt_count": answers["copies"] * (HAPLOID if haploid else 1.0),
        "beta": np.where(good, tests.beta * unit, np.nan),
        "se": np.where(good, tests.se * unit, np.nan),
        "stat": np.where(good, tests.t, np.nan),
        "p": 10.0**-log10p,
        "log10p": log10p,
        "status": status,
        "test": np.where(good, test, NO_TEST),
        "sites": sites,
    }


def chosen(rows: Table, start: int, passed: npt.NDArray[np.bool_]) -> Table:
    """The rows of the variants that passed the quality control, with their places in the panel."""
    index = start + np.flatnonzero(passed)
    return {"index": index, **{name: np.asarray(column)[passed] for name, column in rows.items()}}
