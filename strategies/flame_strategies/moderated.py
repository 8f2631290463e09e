"""Moderated t tests: each gene's residual variance is drawn towards what all genes have in common.

Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray experiments",
Stat. Appl. Genet. Mol. Biol. 3(1), 2004: residual variances s^2 with d degrees of freedom follow s0^2 F(d, d0), where
d0 and s0^2 are found from mean and variance of log s^2 (section 6.2). The posterior variance is (d0 s0^2 + d s^2) / (d0
+ d), and t has d0 + d degrees of freedom, but never more than all genes have together. With a trend, log s0^2 is a
natural cubic spline of the gene's mean expression instead of a constant (Sartor et al., BMC Bioinformatics 7:538, 2006;
Law et al., Genome Biology 15:R29, 2014).

All of it follows from the genes' variances alone, so it runs at the hub. Variances of 0 would have a logarithm without
end; they are raised to 1e-5 of the median.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError

Vector = npt.NDArray[np.float64]

_LEAST_SHARE = 1e-5
"""Variances are raised to this share of their median before logarithms are taken."""

_LEAST_DEGREES = 1e-15


@dataclass(frozen=True, eq=False)
class Moderation:
    """What all genes have in common.

    Attributes:
        prior_df: d0; infinite if the variances differ no more than chance makes them, 0 for a gene alone.
        prior_variance: s0^2, shape (1,) or with a trend (G,).
        variance: Posterior variances, shape (G,).
        total_df: Degrees of freedom of the tests.
    """

    prior_df: float
    prior_variance: Vector
    variance: Vector
    total_df: float


def moderate(variance: Vector, degrees: int, mean: Vector | None = None) -> Moderation:
    """Moderate residual variances.

    Args:
        variance: Shape (G,), with `degrees` degrees of freedom each.
        degrees: At least 1.
        mean: Mean expression, shape (G,): the prior variance follows it. Without it, it is one number.

    Raises:
        StrategyError: There are no variances, or most are 0.
    """
    if variance.size == 0 or degrees < 1:
        raise StrategyError("There is no gene with residual degrees of freedom; ask for more samples or fewer columns.")
    middle = float(np.median(variance))
    if middle <= 0:
        raise StrategyError(
            "More than half of the genes do not vary beyond the design, so no common variance can be found. Look at "
            "the values (constants, too few samples), or leave such genes out."
        )
    raised = np.maximum(variance, _LEAST_SHARE * middle)
    if variance.size == 1:  # a gene alone has nothing in common with others
        return Moderation(0.0, variance.copy(), variance.copy(), float(degrees))
    half = degrees / 2
    logs = np.log(raised) - digamma(half) + math.log(half)
    if mean is None:
        centre, free = np.full(1, logs.mean()), len(logs) - 1
    else:
        centre, free = _trend(mean, logs)
    spread = float(((logs - centre) ** 2).sum()) / free if free else 0.0
    excess = spread - trigamma(half)
    if excess > 0:
        prior_df = 2.0 * trigamma_inverse(excess)
        prior = np.exp(centre + digamma(prior_df / 2) - math.log(prior_df / 2))
        posterior = (prior_df * prior + degrees * variance) / (prior_df + degrees)
    else:
        prior_df = math.inf
        prior = np.full(1, raised.mean()) if mean is None else np.exp(centre)
        posterior = np.broadcast_to(prior, variance.shape).copy()
    total = min(prior_df + degrees, float(degrees * variance.size))
    return Moderation(prior_df, prior, posterior, total)


def benjamini_hochberg(p_value: Vector) -> Vector:
    """Adjusted p values, shape (G,), that control the false discovery rate (J. R. Stat. Soc. B 57, 1995)."""
    order = np.argsort(-p_value, kind="stable")
    share = len(p_value) / np.arange(len(p_value), 0, -1) * p_value[order]
    adjusted = np.empty_like(p_value)
    adjusted[order] = np.minimum(np.minimum.accumulate(share), 1.0)
    return adjusted


def _trend(mean: Vector, logs: Vector) -> tuple[Vector, int]:
    """Natural cubic spline of `logs` over `mean`, (G,), and what degrees of freedom it leaves.

    Up to four basis functions, with knots at the quantiles and ends of `mean`; the fit depends on the space that they
    span only. The basis is that of Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed.
    2009, (5.4) and (5.5).
    """
    count = 1 + sum(len(logs) >= least for least in (3, 6, 30))
    count = min(count, len(np.unique(mean)))
    if count < 2:
        return np.full(len(logs), logs.mean()), len(logs) - 1
    low, high = float(mean.min()), float(mean.max())
    x = (mean - low) / (high - low)
    knots = np.concatenate([[0.0], np.quantile(x, np.arange(1, count - 1) / (count - 1)), [1.0]])

    def bend(k: int) -> Vector:
        cubes = np.maximum(x - knots[k], 0.0) ** 3 - np.maximum(x - knots[-1], 0.0) ** 3
        return np.asarray(cubes / (knots[-1] - knots[k]))

    basis = np.column_stack([np.ones_like(x), x, *(bend(k) - bend(count - 2) for k in range(count - 2))])
    q, r = np.linalg.qr(basis)
    rank = int((np.abs(r.diagonal()) > 1e-7 * np.abs(r.diagonal()).max()).sum())
    if rank < count:
        q = np.linalg.svd(basis, full_matrices=False)[0][:, :rank]
    return np.asarray(q @ (q.T @ logs)), len(logs) - rank


def digamma(x: float) -> float:
    """The derivative of log Gamma at x > 0 (Abramowitz and Stegun, 6.3.5 and 6.3.18)."""
    below = 0.0
    while x < 20:
        below += 1 / x
        x += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return math.log(x) - 0.5 / x - series - below


def trigamma(x: float) -> float:
    """The second derivative of log Gamma at x > 0 (6.4.6 and 6.4.12)."""
    below = 0.0
    while x < 20:
        below += 1 / (x * x)
        x += 1
    y = 1 / (x * x)
    series = y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * (5 / 66 - y * 691 / 2730)))))
    return 1 / x + y / 2 + series + below


def _tetragamma(x: float) -> float:
    """The third derivative of log Gamma at x > 0 (6.4.6 and 6.4.13)."""
    below = 0.0
    while x < 20:
        below += 2 / x**3
        x += 1
    y = 1 / (x * x)
    series = y * y * (1 / 2 - y * (1 / 6 - y * (1 / 6 - y * (3 / 10 - y * 5 / 6))))
    return -y - y / x - series - below


def trigamma_inverse(x: float) -> float:
    """The y > 0 with trigamma(y) = x > 0, by the Newton iteration of Smyth (2004), appendix, which rises to it."""
    if x > 1e7:
        return 1 / math.sqrt(x)
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        value = trigamma(y)
        step = value * (1 - value / x) / _tetragamma(y)
        y += step
        if -step / y < 1e-8:
            break
    return y
