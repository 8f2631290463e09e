"""Which variants enter an analysis: rules over the pooled numbers of genotypes, as PLINK 2 has them.

A variant is left out by the first of `REASONS` that holds. The order follows PLINK 2: samples first (at the DIZ, see
`site_quality`), then calls, frequency and Hardy-Weinberg equilibrium, all of them from the same samples, so that their
order does not change which variants pass. On X the test of equilibrium is of both sexes, among controls of females
alone; on Y and in mitochondria there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.hardy_weinberg import exact_test, exact_test_of_x

from gwas.harmonise import AMBIGUOUS
from gwas.panel import MT, X, Y
from gwas.settings import Settings
from gwas.site_design import REASONS as SAMPLES

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]

PASSED, FEW_SITES, HIDDEN, MISSING, MAF, HWE, STRAND = range(7)
REASONS = (
    "passed",
    "at too few DIZ",
    "rare or absent: too few carriers",
    "too many calls missing",
    "the rarer allele is too rare",
    "not in Hardy-Weinberg equilibrium",
    "A/T or C/G, whose strand is unknown: left out at too many DIZ",
)
"""Why a variant enters or does not, by code."""

SEXES = ("unknown", "male", "female")

_SLACK = 1e-12
"""1 less a frequency may round to just below a limit; a variant at it passes, as it does in PLINK 2."""

PRESENT = slice(1, 5)
"""Of `gwas.harmonise`: the codes of a variant that a DIZ has."""


@dataclass(frozen=True, eq=False)
class Quality:
    """What the quality control found.

    Attributes:
        reason: (p,) a place in `REASONS`.
        alt_frequency: (p,) of the effect allele among the analysed samples, NaN where hidden or nobody was called.
        missing: (p,) share of missing calls, at the DIZ that have the variant.
        hwe: (p,) p of the exact test, NaN where it does not apply.
        sites: (p,) DIZ that have the variant.
        rarest: (p,) analysed samples with the rarest genotype that somebody has; 0 where hidden.
        harmony: (8,) by code of `gwas.harmonise`, how often it was found, over variants and DIZ.
        samples: By text, how many samples were analysed or left out.
        sex: (3, 3) samples by the stores' sex and by what X speaks for, both unknown, male, female; without a sex
            check not there.
        nodes: The DIZ that this is of.
    """

    reason: npt.NDArray[np.int8]
    alt_frequency: Float
    missing: Float
    hwe: Float
    sites: npt.NDArray[np.int16]
    rarest: Int
    harmony: Int
    samples: Mapping[str, int]
    sex: Int | None = None
    nodes: tuple[int, ...] = ()

    @property
    def passed(self) -> Bool:
        """(p,) which variants enter."""
        return np.asarray(self.reason == PASSED)

    @property
    def reasons(self) -> dict[str, int]:
        """By text, how many variants."""
        return dict(zip(REASONS, np.bincount(self.reason, minlength=len(REASONS)).tolist(), strict=True))


def judge(found: Arrays, chromosome: int, settings: Settings) -> dict[str, npt.NDArray[Any]]:
    """A chunk's variants under the run config's limits.

    Args:
        found: ``counts`` (m, 4), ``males`` and ``controls`` (m, 3) of ``gwas_counts``, ``harmony`` (m, 8) of
            ``gwas_variants``, all summed over the DIZ.
        chromosome: Of the chunk.
        settings: The limits.

    Returns:
        ``reason``, ``alt_frequency``, ``missing``, ``hwe``, ``sites`` and ``rarest``, (m,) each.
    """
    counts, males = (np.asarray(found[name], dtype=np.int64) for name in ("counts", "males"))
    called = counts[:, :3].sum(axis=1) + males[:, :2].sum(axis=1)
    absent = counts[:, 3] + males[:, 2]
    alleles = 2 * counts[:, :3].sum(axis=1) + males[:, :2].sum(axis=1)
    sites = found["harmony"][:, PRESENT].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = (counts[:, 1] + 2 * counts[:, 2] + males[:, 1]) / alleles
        missing = absent / (called + absent)
    hwe = _equilibrium(found, chromosome, settings)
    rarer = np.minimum(frequency, 1 - frequency)
    reason = np.zeros(len(counts), dtype=np.int8)
    reason[hwe < settings.hwe] = HWE
    reason[rarer < settings.maf * (1 - _SLACK)] = MAF
    reason[missing > settings.geno] = MISSING
    reason[called == 0] = HIDDEN
    reason[sites < settings.min_sites] = FEW_SITES
    without = sites + found["harmony"][:, AMBIGUOUS]
    reason[(sites < settings.min_sites) & (without >= settings.min_sites)] = STRAND
    found = {"reason": reason, "alt_frequency": frequency, "missing": missing, "hwe": hwe, "sites": sites}
    return {**found, "rarest": _rarest(counts, males)}


def _rarest(counts: Int, males: Int) -> Int:
    """(m,) a haploid sample with the allele counts as one with two copies."""
    genotypes = counts[:, :3].copy()
    genotypes[:, [0, 2]] += males[:, :2]
    most = np.iinfo(np.int64).max
    found = np.where(genotypes > 0, genotypes, most).min(axis=1)
    return np.asarray(np.where(found == most, 0, found))


def _equilibrium(found: Arrays, chromosome: int, settings: Settings) -> Float:
    """(m,) p; NaN where everyone is haploid."""
    if chromosome in (Y, MT):
        return np.full(len(found["counts"]), np.nan)
    if settings.hwe_in == "controls":
        return exact_test(*found["controls"].T)
    if chromosome == X:
        return exact_test_of_x(tuple(found["counts"][:, :3].T), tuple(found["males"][:, :2].T))
    return exact_test(*found["counts"][:, :3].T)


def samples_of(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """By text, from the answer of ``gwas_samples``."""
    return dict(zip(SAMPLES, counts.tolist(), strict=True))
