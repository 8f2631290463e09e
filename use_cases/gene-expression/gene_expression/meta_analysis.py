"""What a comparison of the DIZ's own results would give: the usual way without pooled samples, as a comparator.

Each DIZ tests each gene alone, and the results are combined: weighted Stouffer (Stouffer et al., "The American
Soldier", 1949; weights by Lipták, 1958), Fisher ("Statistical Methods for Research Workers", 1932) or a random-effects
model (DerSimonian and Laird, Controlled Clinical Trials 7, 1986). Where groups lie unevenly over the DIZ these lose
much of what the pooled samples say, and DIZ with one group say nothing at all.

Everything is computed in logarithms, so that no p value is too small to be told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from gene_expression.table import Float

_LOG_10 = math.log(10.0)
_FAR = 30.0
"""Beyond this the normal tail is taken from its asymptotic series."""


@dataclass(frozen=True, eq=False)
class SiteResult:
    """One DIZ's tests of one contrast, gene by gene.

    Attributes:
        log_fc: Estimates, shape (G,).
        standard_error: Shape (G,).
        log10_p: Logarithms of base 10 of the two-sided p values, shape (G,).
        n: Samples.
    """

    log_fc: Float
    standard_error: Float
    log10_p: Float
    n: int


def stouffer(results: Sequence[SiteResult]) -> Float:
    """Log10 p of the sum of the DIZ's z, weighted by the roots of their samples; shape (G,)."""
    weights = np.sqrt([float(result.n) for result in results])
    z = sum(
        weight * np.sign(result.log_fc) * _normal_size(result.log10_p)
        for weight, result in zip(weights.tolist(), results, strict=True)
    )
    return _two_sided(np.asarray(z / math.sqrt(float(weights @ weights))))


def fisher(results: Sequence[SiteResult]) -> Float:
    """Log10 p of the product of the DIZ's p values, whatever their signs; shape (G,)."""
    half = -np.sum([result.log10_p * _LOG_10 for result in results], axis=0)
    # chi-square with 2 k degrees of freedom exceeds 2 h with probability e^-h (1 + h + ... + h^(k-1) / (k-1)!)
    powers = np.stack([half**power / math.factorial(power) for power in range(len(results))])
    return np.asarray((np.log(powers.sum(axis=0)) - half) / _LOG_10)


def random_effects(results: Sequence[SiteResult]) -> Float:
    """Log10 p of the mean effect, with the variance between DIZ added to each; shape (G,).

    A DIZ with an infinite standard error says nothing about a gene; if all have one, p is 1.
    """
    effects = np.stack([result.log_fc for result in results])
    variances = np.stack([result.standard_error for result in results]) ** 2
    weights = 1.0 / variances
    more = np.isfinite(variances).sum(axis=0) - 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=0)
        spread = (weights * (effects - (weights * effects).sum(axis=0) / total) ** 2).sum(axis=0)
        between = (spread - more) / (total - (weights**2).sum(axis=0) / total)
        weights = 1.0 / (variances + np.where(more > 0, np.maximum(between, 0.0), 0.0))
        z = (weights * effects).sum(axis=0) / np.sqrt(weights.sum(axis=0))
    return _two_sided(np.where(more >= 0, z, 0.0))


METHODS = {"Stouffer": stouffer, "Fisher": fisher, "random effects": random_effects}
"""By the name that a report shows."""


def _two_sided(z: Float) -> Float:
    """Log10 of the probability that a normal value is at least as far from 0."""
    return np.array([_log_tail(abs(value)) / _LOG_10 for value in z.tolist()])


def _log_tail(z: float) -> float:
    """Log of the two-sided tail at z >= 0."""
    if z < _FAR:
        return math.log(math.erfc(z / math.sqrt(2.0)))
    series = 1 - 1 / z**2 + 3 / z**4 - 15 / z**6
    return math.log(2.0) - z * z / 2 - math.log(z * math.sqrt(2.0 * math.pi)) + math.log(series)


def _normal_size(log10_p: Float) -> Float:
    """The z >= 0 whose two-sided tail has these logarithms; shape (G,)."""
    return np.array([_size(value * _LOG_10) for value in log10_p.tolist()])


def _size(log_p: float) -> float:
    if log_p >= 0:
        return 0.0
    if log_p > -600:
        return -NormalDist().inv_cdf(math.exp(log_p) / 2)
    z = math.sqrt(-2 * log_p)
    for _ in range(20):  # Newton on the logarithm, whose slope is about -z
        z += (_log_tail(z) - log_p) / z
    return z
