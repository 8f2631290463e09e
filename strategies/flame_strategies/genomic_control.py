"""Genomic control: how much larger the tests of a genome-wide scan are than chance makes them.

lambda is the median of the tests' chi-squared statistics (one degree of freedom) over that of chance, 0.4549 (Devlin
and Roeder, "Genomic control for association studies", Biometrics 55, 1999). Statistics of other kinds count by their
p value: the statistic is a falling function of it, so the median statistic belongs to the median p value, whatever the
test's degrees of freedom. lambda of cases and controls grows with their numbers; lambda_1000 is what it would be with
1,000 of each (Freedman et al., "Assessing the impact of population stratification on genetic association studies",
Nature Genetics 36, 2004; de Bakker et al., Human Molecular Genetics 17, 2008).

Millions of tests come in parts that are read twice and never held together. The median is exact: the first reading
counts by the leading bits of the numbers, the second one keeps the few that share those of the median.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError
from flame_strategies.tails import log10_normal

Vector = npt.NDArray[np.float64]
Parts = Callable[[], Iterable[Vector]]
"""Begins a reading: vectors of -log10 p, each of its own length, the same ones each time."""

MEDIAN_CHI2 = 0.45493642311957283
"""Of one degree of freedom."""

_KEPT_BITS = 20
"""Of 64: sign, exponent and 8 bits of the fraction, so that a bin is 0.4 % of its numbers wide."""


@dataclass(frozen=True)
class Inflation:
    """How inflated the tests are.

    Attributes:
        tests: How many have a p value.
        median: Their median -log10 p.
        largest: Their largest -log10 p, infinity if one p value is 0.
        inflation: lambda, NaN without tests.
    """

    tests: int
    median: float
    largest: float
    inflation: float


def inflation(parts: Parts) -> Inflation:
    """The inflation lambda of the tests in `parts`; NaN among them counts as no test.

    Raises:
        StrategyError: A value is negative.
    """
    shift = np.uint64(64 - _KEPT_BITS)
    counts = np.zeros(1 << (_KEPT_BITS - 1), dtype=np.int64)  # of numbers that are not negative
    largest = 0.0
    for values in map(_valid, parts()):
        bins, found = np.unique(values.view(np.uint64) >> shift, return_counts=True)
        counts[bins.astype(np.int64)] += found
        largest = max(largest, float(values.max(initial=0.0)))
    tests = int(counts.sum())
    if tests == 0:
        return Inflation(0, math.nan, math.nan, math.nan)
    below = np.cumsum(counts)
    middle = sorted({(tests - 1) // 2, tests // 2})
    bins = sorted({int(np.searchsorted(below, place, side="right")) for place in middle})
    kept = [
        values[np.isin((values.view(np.uint64) >> shift).astype(np.int64), bins)] for values in map(_valid, parts())
    ]
    near = np.sort(np.concatenate(kept))
    before = int(below[bins[0]] - counts[bins[0]])
    medians = [float(near[place - before]) for place in middle]
    statistic = sum(map(chi2_of, medians)) / len(medians)
    return Inflation(tests, sum(medians) / len(medians), largest, statistic / MEDIAN_CHI2)


def lambda_1000(value: float, cases: float, controls: float) -> float:
    """The inflation as it would be with 1,000 cases and 1,000 controls; NaN where there are none."""
    if not (cases > 0 and controls > 0):
        return math.nan
    return 1 + (value - 1) * (1 / cases + 1 / controls) / (2 / 1000)


def chi2_of(log10p: float) -> float:
    """The statistic of one degree of freedom whose p value is 10 to the power of -`log10p`.

    Found by halving intervals of z in the normal distribution's tail.
    """
    if math.isinf(log10p):
        return math.inf
    low, high = 0.0, math.sqrt(2 * math.log(10) * log10p) + 1  # P <= exp(-z^2 / 2)
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if -log10_normal(middle) < log10p:
            low = middle
        else:
            high = middle
    return float(high**2)


def _valid(values: Vector) -> Vector:
    """The values that are there, each 0 as +0."""
    found = np.ascontiguousarray(values[~np.isnan(values)], dtype=np.float64) + 0.0
    if (found < 0).any():
        raise StrategyError("-log10 p is negative: a p value is above 1.")
    return found
