"""Two-sided tails of the normal distribution and of Student's t, as logarithms of base 10: no p is too small to tell.

A chi-squared statistic of one degree of freedom has the tail of its square root under the normal distribution. Far out
the normal tail is its continued fraction (Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.2.14).

Student's t is that of `student`, and not a number where there are no degrees of freedom.
"""

import math

import numpy as np
import numpy.typing as npt

from flame_strategies.student import log10_tails

Vector = npt.NDArray[np.float64]

_FAR = 5.0
_LEVELS = 60
_LOG_10 = math.log(10)


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
    found[there] = log10_tails(values[there], of[there])
    return found
