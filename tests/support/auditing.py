"""Auditing a mechanism: from releases about two neighbouring inputs to a lower bound of what they give away.

Whoever wants to tell D from D' projects each release on the direction in which the two differ, and compares. If a
mechanism is mu-Gaussian-DP (Dong, Roth, Su 2022), every such test has Φ⁻¹(TPR) - Φ⁻¹(FPR) ≤ mu; releases that show
more, beyond what chance explains, refute the claim. Two estimators, and neither needs to trust the code under test:

- `gaussian_bounds`: projections that are Gaussian with one standard deviation, as the gate's are. Exact intervals of
  the mean difference (z) and the standard deviation (chi-square), joined by the union bound. Two-sided: it also finds a
  mechanism with more noise than its claim says.
- `trade_off_bound`: nothing is assumed. A threshold is chosen on the first fifth of the releases, both error rates are
  bounded on the others (Clopper and Pearson 1934). One-sided.

Each is wrong with probability at most `ALPHA` for a right mechanism and fresh randomness.
"""

import math
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

ALPHA = 1e-6
Floats = npt.NDArray[np.float64]


class Finding(AssertionError):
    """An audit has refuted a claim. Anything else that a broken gate raises is no finding."""


def found(what: str) -> NoReturn:
    """Raise a finding."""
    raise Finding(what)


def gaussian_bounds(one: Floats, other: Floats, alpha: float = ALPHA) -> tuple[float, float]:
    """An interval for mu = |difference of means| / standard deviation; it misses with probability at most alpha.

    Args:
        one: Shape (n,), n ≥ 2, projections of releases about one input.
        other: Shape (m,), of releases about its neighbour.
    """
    freedom = len(one) + len(other) - 2
    gap = abs(float(one.mean() - other.mean()))
    squares = float(((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum())
    if squares <= 1e-18 * (1.0 + gap) ** 2 * freedom:  # no noise at all, up to rounding
        return (math.inf, math.inf) if gap > 1e-9 else (0.0, math.inf)
    tails = stats.chi2(freedom)
    least, most = (math.sqrt(squares / tails.ppf(p)) for p in (1 - alpha / 4, alpha / 4))
    error = stats.norm.isf(alpha / 4) * math.sqrt(1 / len(one) + 1 / len(other)) * most
    return max(0.0, gap - error) / most, (gap + error) / least


def trade_off_bound(one: Floats, other: Floats, alpha: float = ALPHA) -> float:
    """A lower bound of mu that assumes nothing of the projections; too large with probability at most alpha."""
    if one.mean() < other.mean():
        one, other = other, one
    first, second = len(one) // 5, len(other) // 5
    tried = np.quantile(np.concatenate([one[:first], other[:second]]), np.linspace(0.02, 0.98, 49))
    # as many releases as will judge, at the rates of the few that choose
    threshold = tried[np.argmax(_shown(one[:first], other[:second], tried, alpha, weight=4))]
    return max(0.0, float(_shown(one[first:], other[second:], np.array([threshold]), alpha)[0]))


def _shown(one: Floats, other: Floats, thresholds: Floats, alpha: float, weight: int = 1) -> Floats:
    """Φ⁻¹(TPR) - Φ⁻¹(FPR) at each threshold, with both rates at the bad end of their intervals."""
    errors = np.array([(other[:, None] >= thresholds).sum(axis=0), (one[:, None] < thresholds).sum(axis=0)]) * weight
    sizes = np.array([[len(other)], [len(one)]]) * weight
    with np.errstate(invalid="ignore"):
        most = np.where(errors < sizes, special.betaincinv(errors + 1.0, sizes - errors, 1 - alpha / 2), 1.0)
    shown: Floats = -special.ndtri(most[0]) - special.ndtri(most[1])
    return shown


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The epsilon of a mu-Gaussian-DP mechanism at delta (Balle and Wang 2018; Dong, Roth, Su 2022, corollary 2.13)."""
    if math.isinf(mu):
        return math.inf
    if mu == 0:
        return 0.0

    def excess(epsilon: float) -> float:
        late = math.exp(epsilon + float(stats.norm.logcdf(-epsilon / mu - mu / 2)))
        return float(stats.norm.cdf(-epsilon / mu + mu / 2)) - late - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-9))


def require_claim(
    one: Floats, other: Floats, *, mu: float, epsilon: float, delta: float, tight: bool, alpha: float = ALPHA
) -> tuple[float, float]:
    """Compare releases with a claim; returns the two lower bounds of epsilon.

    Args:
        one: Projections of releases about one input.
        other: Of releases about its neighbour.
        mu: The Gaussian-DP parameter that was paid for.
        epsilon: What the ledger says that is, at delta.
        delta: The claim's.
        tight: The inputs reach mu exactly, so that a mechanism with more noise than claimed is found as well.
        alpha: False alarms, of both estimators together.

    Raises:
        Finding: More leaves than was paid for, or (if tight) less than the mechanism has to say.
    """
    low, high = gaussian_bounds(one, other, alpha / 2)
    free = trade_off_bound(one, other, alpha / 2)
    bounds = gaussian_epsilon(low, delta), gaussian_epsilon(free, delta)
    if max(low, free) > mu:
        found(f"mu is at least {max(low, free):.4g}, and {mu:.4g} was paid for")
    if max(bounds) > epsilon:
        found(f"epsilon is at least {max(bounds):.4g}, and {epsilon:.4g} was paid for")
    if tight and high < mu:
        found(f"mu is at most {high:.4g}; the inputs would show {mu:.4g} under the noise that was promised")
    return bounds


def one_run_p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """How likely so many right guesses are at most, of so many made about so many canaries, under (epsilon, delta)-DP.

    Each canary was in or out by a fair coin of its own. Steinke, Nasr, Jagielski, "Privacy Auditing with One (1)
    Training Run" (NeurIPS 2023), theorem 5.2.
    """
    chance = stats.binom(guesses, 1.0 / (1.0 + math.exp(-epsilon)))
    exactly = chance.pmf(np.arange(right - 1, -1, -1))  # right-1, right-2, …, 0
    lost = float(np.max(np.cumsum(exactly) / np.arange(1, right + 1), initial=0.0))
    return min(1.0, float(chance.sf(right - 1)) + 2.0 * canaries * delta * lost)


def one_run_epsilon(canaries: int, guesses: int, right: int, delta: float, alpha: float = ALPHA) -> float:
    """A lower bound of epsilon from one run; too large with probability at most alpha."""
    low, high = 0.0, 50.0
    if one_run_p_value(canaries, guesses, right, low, delta) > alpha:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (
            (middle, high) if one_run_p_value(canaries, guesses, right, middle, delta) <= alpha else (low, middle)
        )
    return low
