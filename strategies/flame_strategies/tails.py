"""Two-sided tails of the normal distribution and of Student's t, as logarithms of base 10: no p is too small to tell.

A chi-squared statistic of one degree of freedom has the tail of its square root under the normal distribution. Far out
the normal tail is its continued fraction (Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.2.14).

Student's t is as in `student`, but with degrees of freedom of its own for each value: the incomplete beta function by
its continued fraction (26.5.8), all values side by side.
"""

import math

import numpy as np
import numpy.typing as npt

from flame_strategies.student import log10_tails

Vector = npt.NDArray[np.float64]

_FAR = 5.0
_LEVELS = 60
_LOG_10 = math.log(10)

_TINY = 1e-300
_EPS = 2e-15
_MOST = 20_000


def log10_normal(z: npt.ArrayLike) -> Vector:
    """Logarithms of the probability that a standard normal variable is at least as far from 0.

    Args:
        z: Any shape; NaN stays NaN, infinity gives minus infinity.

    Returns:
        The same shape, at most 0.
    """
    size = np.abs(np.asarray(z, dtype=np.float64))
    found = np.where(np.isinf(size), -np.inf, np.nan)
    near = size < _FAR
    found[near] = [math.log10(math.erfc(value / math.sqrt(2))) for value in size[near].tolist()]
    far = np.isfinite(size) & ~near
    x = size[far]
    below = x.copy()
    for level in range(_LEVELS, 0, -1):
        below = x + level / below
    found[far] = (0.5 * math.log(2 / math.pi) - 0.5 * x**2 - np.log(below)) / _LOG_10
    return np.asarray(found)


def log10_chi_squared(statistic: npt.ArrayLike) -> Vector:
    """The same for a chi-squared variable of one degree of freedom, to be at least as large; any shape."""
    return log10_normal(np.sqrt(np.asarray(statistic, dtype=np.float64)))


def log10_student(t: npt.ArrayLike, degrees: npt.ArrayLike) -> Vector:
    """The same for Student's t.

    Args:
        t: Shape (m,); NaN stays NaN, infinity gives minus infinity.
        degrees: Of freedom, shape (m,) or one for all; the result is NaN where they are not above 0.

    Returns:
        Shape (m,), at most 0.
    """
    values = np.asarray(t, dtype=np.float64)
    of = np.broadcast_to(np.asarray(degrees, dtype=np.float64), values.shape)
    there = np.isfinite(of) & (of > 0)
    found = np.full(values.shape, np.nan)
    if not there.any():
        return found
    if (of[there] == of[there][0]).all():
        found[there] = log10_tails(values[there], float(of[there][0]))
        return found
    found[there & np.isinf(values)] = -np.inf
    there &= np.isfinite(values)
    found[there] = _student(values[there], of[there])
    return found


def _student(t: Vector, degrees: Vector) -> Vector:
    a = degrees / 2
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        odds = t**2 / degrees
        log_x = -np.log1p(odds)
        log_rest = np.log(odds) + log_x
    front = _log_front(a) + a * log_x + 0.5 * log_rest
    near = odds < 1.5 / (a + 1)  # the continued fraction of 1 - x converges there, that of x elsewhere
    x = np.exp(np.where(near, log_rest, log_x))
    fraction = _fraction(x, np.where(near, 0.5, a), np.where(near, a, 0.5))
    with np.errstate(divide="ignore"):
        body = np.log1p(-np.minimum(2 * np.exp(np.where(near, front, -np.inf)) / fraction, 1.0))
    found = np.where(near, body, front - np.log(a) - np.log(fraction))
    return np.asarray(np.minimum(found, 0.0) / _LOG_10)


def _log_front(a: Vector) -> Vector:
    """log(Gamma(a + 1/2) / (Gamma(a) Gamma(1/2))), by its series at a + 10 and the ratios down to a; (m,)."""
    below = np.zeros_like(a)
    for step in range(10):
        below += np.log1p(-0.5 / (a + step + 0.5))
    a = a + 10
    # the logarithm of Gamma(a + 1/2) / (Gamma(a) sqrt(a)) in powers of 1 / a
    series = -1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5) + 17 / (14336 * a**7) - 31 / (18432 * a**9)
    return np.asarray(0.5 * np.log(a / math.pi) + series + below)


def _fraction(x: Vector, a: Vector, b: Vector) -> Vector:
    """1 over the continued fraction of I_x(a, b), by Lentz's method; (m,)."""
    f, c, d = np.ones_like(x), np.ones_like(x), np.zeros_like(x)
    for n in range(1, _MOST):
        m = n // 2
        if n % 2:
            above = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1)) * x
        else:
            above = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m)) * x
        d = 1.0 + above * d
        d = 1.0 / np.where(d == 0, _TINY, d)
        c = 1.0 + above / c
        c = np.where(c == 0, _TINY, c)
        f = f * c * d
        if (np.abs(c * d - 1.0) <= _EPS).all():
            break
    return np.asarray(f)
