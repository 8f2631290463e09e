"""Synthetic cohorts: everything is made up from start to end, and called synthetic wherever it appears.

Three populations have drifted from common frequencies (Balding and Nichols, Genetica 96, 1995), and each DIZ is another
mixture of them. Along a chromosome each haplotype is a Gaussian chain, begun anew at every block, that carries an
allele where it is below that allele's quantile: frequencies are exact, and neighbours in a block are correlated. Some
samples are siblings. The trait rests on planted variants, age, sex and the population, which differ in their mean: a
scan without principal components finds the populations. The disease is a threshold of a liability of the same kind.

A share of calls is missing; some variants are called badly, some samples too, and of some the sex is wrong: what
quality control is there to find.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from gwas.panel import AUTOSOMES, Panel, X

Float = npt.NDArray[np.float64]
Calls = npt.NDArray[np.int8]

SAMPLES, VARIANTS = 2000, 4000
CAUSAL = 8

_CHROMOSOMES = (*range(1, 11), X)
_DRIFT = (0.01, 0.05, 0.08)
_MEANS = (0.0, 0.7, -0.5)
_BLOCK, _CORRELATION = 8, 0.9
_SIBLINGS = 0.06
_HERITABILITY = 0.2
_MISSING, _BAD_VARIANTS, _BAD_SAMPLES, _WRONG_SEX = 0.005, 0.01, 0.004, 0.003
_CASES = 0.3
_PAIRS = ("AG", "CT", "AC", "GT", "GA", "TC", "CA", "TG", "AT", "CG", "TA", "GC")
_PAIR_SHARES = (0.16, 0.16, 0.06, 0.06, 0.16, 0.16, 0.06, 0.06, 0.03, 0.03, 0.03, 0.03)
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class Cohort:
    """A made-up study.

    Attributes:
        panel: Which variants.
        calls: (n, p) int8 copies of `alt`, -1 missing.
        columns: By name, (n,): sex (1, 2), age, trait, disease (1, 2), NaN where missing.
        patients: (n,) ids.
        site: (n,) the DIZ of each sample, from 0.
        population: (n,) from 0.
        causal: Rows of the panel that the trait rests on.
        effects: (len(causal),) of one copy.
    """

    panel: Panel
    calls: Calls
    columns: dict[str, Float]
    patients: list[str]
    site: npt.NDArray[np.intp]
    population: npt.NDArray[np.intp]
    causal: npt.NDArray[np.intp]
    effects: Float


def make_panel(variants: int = VARIANTS) -> Panel:
    """The panel of the set: always the same for a number of variants."""
    generator = np.random.default_rng([9, variants])
    last = variants // 20
    counts = [(variants - last) // (len(_CHROMOSOMES) - 1)] * (len(_CHROMOSOMES) - 1)
    counts[0] += variants - last - sum(counts)
    counts.append(last)
    chromosome = np.repeat(np.array(_CHROMOSOMES, dtype=np.uint8), counts)
    position = np.concatenate([np.cumsum(generator.integers(500, 60_000, count)) + 10_000 for count in counts])
    pairs = [_PAIRS[at] for at in generator.choice(len(_PAIRS), variants, p=_PAIR_SHARES)]
    ref = np.array([pair[0] for pair in pairs], dtype=object)
    alt = np.array([pair[1] for pair in pairs], dtype=object)
    for row in range(50, variants, 101):  # some insertions
        alt[row] = ref[row] + "TA"
    frequency = np.where(generator.random(variants) < 0.1, generator.uniform(0.002, 0.03, variants), 0)
    frequency = np.where(frequency > 0, frequency, generator.beta(1.2, 1.8, variants) * 0.9 + 0.05)
    ids = np.array([f"syn{row + 1:06d}" for row in range(variants)], dtype=object)
    return Panel(
        "synthetic",
        "Made-up variants of ten autosomes and X",
        "made up by this app",
        "made-up",
        chromosome,
        position.astype(np.int64),
        ref,
        alt,
        np.round(frequency, 3).astype(np.float32),
        ids,
    )


def make(*, nodes: int, seed: int, samples: int = SAMPLES, variants: int = VARIANTS) -> Cohort:
    """Draw one study.

    Args:
        nodes: DIZ; the last one has about twice as many samples as the first.
        seed: Of everything but the panel.
        samples: n, over all DIZ.
        variants: p.
    """
    generator = np.random.default_rng([seed, nodes, samples, variants])
    panel = make_panel(variants)
    shares = np.cumsum(np.linspace(1.0, 2.0, nodes))
    site = np.searchsorted(shares[:-1] / shares[-1] * samples, np.arange(samples), side="right").astype(np.intp)
    mixtures = generator.dirichlet((2.0, 1.2, 0.8), nodes)
    population = np.array([generator.choice(3, p=mixtures[of]) for of in site], dtype=np.intp)
    sibling = _siblings(site, population, generator)
    sex = generator.integers(1, 3, samples)
    base = np.clip(panel.alt_frequency.astype(np.float64), 0.002, 0.998)
    drifted = np.stack([generator.beta(base * (1 / f - 1), (1 - base) * (1 / f - 1)) for f in _DRIFT])
    limits = np.vectorize(_NORMAL.inv_cdf)(np.clip(drifted, 1e-4, 1 - 1e-4))
    calls = np.empty((samples, panel.size), dtype=np.int8, order="F")
    for start, stop in panel.stretches():
        calls[:, start:stop] = _chromosome(limits[:, start:stop], population, sibling, generator)
    of_x = panel.chromosome == X
    male = np.flatnonzero(sex == 1)
    one_copy = generator.random((len(male), int(of_x.sum()))) < drifted[:, of_x][population[male]]
    calls[np.ix_(male, of_x)] = 2 * one_copy  # as files have it: a haploid call is 0 or 2
    columns, causal, effects = _traits(calls, panel, population, sex, generator)
    _damage(calls, panel, generator)
    wrong = generator.random(samples) < _WRONG_SEX
    columns["sex"] = np.where(wrong, 3 - sex, sex).astype(np.float64)
    patients = [f"synthetic-{number:05d}" for number in range(1, samples + 1)]
    return Cohort(panel, calls, columns, patients, site, population, causal, effects)


def _siblings(
    site: npt.NDArray[np.intp], population: npt.NDArray[np.intp], generator: np.random.Generator
) -> npt.NDArray[np.intp]:
    """(n,) an earlier sample of the same DIZ and population, -1 for most."""
    found = np.full(len(site), -1, dtype=np.intp)
    for row in np.flatnonzero(generator.random(len(site)) < _SIBLINGS):
        alike = np.flatnonzero((site[:row] == site[row]) & (population[:row] == population[row]) & (found[:row] < 0))
        if len(alike):
            found[row] = generator.choice(alike)
    return found


def _chromosome(
    limits: Float, population: npt.NDArray[np.intp], sibling: npt.NDArray[np.intp], generator: np.random.Generator
) -> Calls:
    """(n, m) copies; limits (3, m) by population."""
    count = limits.shape[1]
    alleles = np.empty((2, len(population), count), dtype=bool)
    younger = np.flatnonzero(sibling >= 0)
    chain = np.zeros((2, len(population)))
    shared = np.zeros((2, len(younger)), dtype=bool)
    for at in range(count):
        fresh = generator.standard_normal(chain.shape)
        begin = at % _BLOCK == 0
        chain = fresh if begin else _CORRELATION * chain + np.sqrt(1 - _CORRELATION**2) * fresh
        if begin:  # a sibling has each block of each parent in common with probability one half
            shared = generator.random(shared.shape) < 0.5
        chain[:, younger] = np.where(shared, chain[:, sibling[younger]], chain[:, younger])
        alleles[:, :, at] = chain < limits[population, at]
    return np.asarray(alleles.sum(axis=0, dtype=np.int8))


def _traits(
    calls: Calls,
    panel: Panel,
    population: npt.NDArray[np.intp],
    sex: npt.NDArray[np.int64],
    generator: np.random.Generator,
) -> tuple[dict[str, Float], npt.NDArray[np.intp], Float]:
    frequency = calls.mean(axis=0) / 2
    common = np.flatnonzero((np.minimum(frequency, 1 - frequency) > 0.1) & (panel.chromosome <= AUTOSOMES))
    causal = np.sort(generator.choice(common, CAUSAL, replace=False))
    spread = np.sqrt(2 * frequency[causal] * (1 - frequency[causal]))
    signs = generator.choice((-1.0, 1.0), CAUSAL)
    sizes = generator.uniform(0.6, 1.4, CAUSAL)
    effects = signs * sizes / spread * np.sqrt(_HERITABILITY / (sizes**2).sum())
    genetic = calls[:, causal] @ effects
    age = np.clip(generator.normal(52, 13, len(sex)), 18, 90).round()
    shift = np.array(_MEANS)[population] + 0.015 * (age - 52) + 0.25 * (sex == 1)
    trait = genetic + shift + generator.normal(0, np.sqrt(1 - _HERITABILITY), len(sex))
    liability = genetic + 0.7 * shift + generator.normal(0, np.sqrt(1 - _HERITABILITY), len(sex))
    disease = 1.0 + (liability > np.quantile(liability, 1 - _CASES))
    columns = {"age": age, "trait": np.round(trait, 4), "disease": disease}
    shown = {name: np.where(generator.random(len(sex)) < 0.01, np.nan, column) for name, column in columns.items()}
    return shown, causal, effects


def _damage(calls: Calls, panel: Panel, generator: np.random.Generator) -> None:
    """Missing calls; variants whose heterozygotes are taken for homozygotes; samples that were called badly."""
    rate = np.full(panel.size, _MISSING)
    bad = generator.random(panel.size) < _BAD_VARIANTS
    rate[bad] = generator.uniform(0.06, 0.3, int(bad.sum()))
    for row in np.flatnonzero(generator.random(panel.size) < _BAD_VARIANTS):
        seen = np.flatnonzero(calls[:, row] == 1)
        calls[generator.choice(seen, len(seen) // 2, replace=False), row] = 2
    sample_rate = np.where(generator.random(len(calls)) < _BAD_SAMPLES, 0.2, 0.0)
    for start in range(0, panel.size, 500):
        block = calls[:, start : start + 500]
        block[generator.random(block.shape) < rate[start : start + 500] + sample_rate[:, None]] = -1
