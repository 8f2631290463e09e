"""Two-sided tests of noise, with the error of each kind stated.

Every test here has a false-alarm probability of about `ALPHA`, below 1e-8, for a right sampler with fresh randomness:
a failure is a finding and not bad luck. The sample sizes are chosen for a power of at least 0.999 against the wrong
samplers that the tests name; those are run, and must be rejected.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

ALPHA = 1e-9  # of the reference distribution; Pearson's, with its smallest cells, is off by a factor below 5 there


def discrete_gaussian_pmf(sigma: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Support and probabilities, to float64's last digits: the tail beyond 40 sigma weighs less than 1e-300."""
    reach = math.ceil(40 * sigma) + 1
    support = np.arange(-reach, reach + 1)
    weights = np.exp(-(support.astype(float) ** 2) / (2 * sigma**2))
    return support, weights / weights.sum()


def standard_deviation_is(draws: Sequence[float] | npt.NDArray[np.float64], sigma: float) -> bool:
    """Whether Gaussian draws of mean 0 may have this standard deviation: two-sided chi-square test of Σx²/sigma².

    With n = 10,000 draws the acceptance region is sigma·(1 ± 4.4 %): draws from sigma·1.1 and sigma/1.1 lie more than
    7 standard errors outside of it, so the power is above 1 - 1e-11.
    """
    statistic = float(np.sum((np.asarray(draws, dtype=float) / sigma) ** 2))
    tails = stats.chi2(len(draws))
    return bool(min(tails.cdf(statistic), tails.sf(statistic)) > ALPHA / 2)


def distribution_is_discrete_gaussian(draws: Sequence[int] | npt.NDArray[np.int64], sigma: float) -> bool:
    """Pearson's chi-square test against the probabilities themselves; cells expecting fewer than 25 are pooled."""
    support, probabilities = discrete_gaussian_pmf(sigma)
    expected = len(draws) * probabilities
    inner = expected >= 25
    counts = np.array([np.count_nonzero(np.asarray(draws) == x) for x in support[inner]])
    observed = np.append(counts, len(draws) - counts.sum())
    wanted = np.append(expected[inner], len(draws) - expected[inner].sum())
    if wanted[-1] < 25:  # the tails together are one more small cell: judged with the outermost one
        observed, wanted = _merged(observed), _merged(wanted)
    statistic = float(np.sum((observed - wanted) ** 2 / wanted))
    return bool(stats.chi2(len(wanted) - 1).sf(statistic) > ALPHA)


def _merged(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.append(cells[1:-1], cells[0] + cells[-1])


def mean_is(draws: Sequence[float] | npt.NDArray[np.float64], mean: float, sigma: float) -> bool:
    """Whether the mean of draws with a known standard deviation may be this one: two-sided z-test."""
    z = (float(np.mean(draws)) - mean) / (sigma / math.sqrt(len(draws)))
    return bool(2 * stats.norm.sf(abs(z)) > ALPHA)
