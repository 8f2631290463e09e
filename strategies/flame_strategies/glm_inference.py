"""Wald tests and confidence intervals of a fit, and the distributions they need.

NumPy has no distribution functions. The incomplete beta and gamma functions here use the continued fractions and the
series of Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.5.8, 6.5.29 and 6.5.31, evaluated by
Lentz's method (Thompson and Barnett, "Coulomb and Bessel functions of complex arguments and order", J. Comput. Phys.
64, 1986).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_TINY = 1e-300
_EPS = 1e-16


@dataclass(frozen=True)
class Coefficients:
    """Coefficients in own units with their tests.

    Attributes:
        names: q names.
        estimate: Shape (q,).
        covariance: Shape (q, q).
        standard_error: Shape (q,).
        statistic: Estimate over standard error, shape (q,): t if `degrees` is given, else z.
        p_value: Two-sided, shape (q,).
        lower: Lower end of the confidence interval, shape (q,).
        upper: Upper end, shape (q,).
        level: Of the intervals, for instance 0.95.
        degrees: Degrees of freedom of t; None for the normal distribution.
    """

    names: tuple[str, ...]
    estimate: Vector
    covariance: Matrix
    standard_error: Vector
    statistic: Vector
    p_value: Vector
    lower: Vector
    upper: Vector
    level: float
    degrees: int | None


@dataclass(frozen=True)
class LikelihoodRatio:
    """Test of the fit against the model without its columns.

    Attributes:
        statistic: Twice the difference of the log-likelihoods.
        degrees: How many coefficients the fit has more.
        p_value: Of the chi-square distribution.
    """

    statistic: float
    degrees: int
    p_value: float


def wald(
    names: tuple[str, ...], estimate: Vector, covariance: Matrix, *, level: float = 0.95, degrees: int | None = None
) -> Coefficients:
    """Test each coefficient against 0."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1.")
    error = np.sqrt(covariance.diagonal())
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / error
    if degrees is None:
        p_value = np.array([math.erfc(abs(z) / math.sqrt(2)) for z in statistic])
        half = NormalDist().inv_cdf(0.5 + level / 2)
    else:
        p_value = np.array([t_two_sided(t, degrees) for t in statistic])
        half = t_quantile(level, degrees)
    return Coefficients(
        names,
        estimate,
        covariance,
        error,
        statistic,
        p_value,
        estimate - half * error,
        estimate + half * error,
        level,
        degrees,
    )


def likelihood_ratio(full: float, null: float, degrees: int) -> LikelihoodRatio:
    """From the two log-likelihoods."""
    statistic = max(2.0 * (full - null), 0.0)
    return LikelihoodRatio(statistic, degrees, chi2_upper(statistic, degrees))


def t_two_sided(t: float, degrees: float) -> float:
    """Probability that Student's t is at least as far from 0 as `t`."""
    if math.isnan(t):
        return math.nan
    near = t * t / (degrees + t * t)
    if near < 3 / (5 + degrees):  # near 0, where 1 - near would have no digits of t left
        return 1.0 - beta_share(near, 0.5, degrees / 2)
    return beta_share(degrees / (degrees + t * t), degrees / 2, 0.5)


def t_quantile(level: float, degrees: float) -> float:
    """The t within which a share `level` of Student's distribution lies, by bisection."""
    low, high = 0.0, 2.0
    while t_two_sided(high, degrees) > 1 - level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_two_sided(middle, degrees) > 1 - level else (low, middle)
    return high


def chi2_upper(x: float, degrees: int) -> float:
    """Probability that chi-square exceeds `x`."""
    if degrees == 0:
        return 1.0
    return gamma_upper(degrees / 2, x / 2)


def beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - math.exp(log_front) / b * _lentz(_beta_terms(1 - x, b, a))
    return math.exp(log_front) / a * _lentz(_beta_terms(x, a, b))


def gamma_upper(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(a, x)."""
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x >= a + 1:
        return front * _lentz(lambda m: (1.0, x + 1 - a) if m == 0 else (-m * (m - a), x + 2 * m + 1 - a))
    term = total = 1 / a
    n = a
    while term > total * _EPS:
        n += 1
        term *= x / n
        total += term
    return 1.0 - front * total


def _beta_terms(x: float, a: float, b: float) -> Callable[[int], tuple[float, float]]:
    """Numerators and denominators of the continued fraction of I_x(a, b)."""

    def term(n: int) -> tuple[float, float]:
        m = n // 2
        if n == 0:
            return 1.0, 1.0
        if n % 2:
            return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), 1.0
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), 1.0

    return term


def _lentz(term: Callable[[int], tuple[float, float]]) -> float:
    """The continued fraction a_0 / (b_0 + a_1 / (b_1 + ...)) of `term(n)` = (a_n, b_n)."""
    value, c, d = _TINY, _TINY, 0.0
    for n in range(100_000):
        above, below = term(n)
        d = 1.0 / ((below + above * d) or _TINY)
        c = (below + above / c) or _TINY
        value *= c * d
        if n and abs(c * d - 1.0) < 4 * _EPS:
            break
    return value
