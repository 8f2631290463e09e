"""Two-sided tails of Student's t for many values at once, as logarithms: no p value is too small to be told.

The tail is the incomplete beta function I_x(d/2, 1/2) at x = d / (d + t^2), by its continued fraction (Abramowitz and
Stegun, "Handbook of Mathematical Functions", 1964, 26.5.8 and 26.7.1), evaluated by Lentz's method. The factor before
it has a ratio of Gamma functions; for large d the difference of their logarithms would lose its digits, so the
difference is expanded instead (the series 6.1.40 and its like at a + 1/2, whose leading parts cancel).
"""

import math

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_TINY = 1e-300
_EPS = 2e-15
_MOST = 100_000

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66)
"""B_2, B_4, ..."""


def log10_tails(t: Vector, degrees: npt.ArrayLike) -> Vector:
    """Logarithms of base 10 of the probability that Student's t is at least as far from 0.

    Args:
        t: Shape (G,); NaN stays NaN, infinity gives minus infinity.
        degrees: Above 0, finite; shape (G,), or one number for all.

    Returns:
        Shape (G,), at most 0.
    """
    of = np.asarray(degrees, dtype=np.float64)
    if not (np.isfinite(of) & (of > 0)).all():
        raise ValueError(f"Student's t has {np.min(of)} degrees of freedom; it needs more than 0.")
    a, found = np.broadcast_to(of / 2, t.shape), np.full(t.shape, np.nan)
    half = np.full(t.shape, 0.5)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        square = np.asarray(t, dtype=np.float64) ** 2
        odds = square / of
        log_x = -np.log1p(odds)
        log_rest = np.log(odds) + log_x
    near = odds < 1.5 / (a + 1)  # the continued fraction of 1 - x converges there, that of x elsewhere
    far = ~near & np.isfinite(square)
    front = _log_front(a) + a * log_x + 0.5 * log_rest
    found[far] = front[far] - np.log(a[far]) + np.log(_fraction(np.exp(log_x[far]), a[far], half[far]))
    body = 2 * np.exp(front[near]) * _fraction(np.exp(log_rest[near]), half[near], a[near])
    found[near] = np.log1p(-np.minimum(body, 1.0))
    found[np.isinf(square)] = -np.inf
    return np.asarray(np.minimum(found, 0.0) / math.log(10))


def _log_front(a: Vector) -> Vector:
    """log(Gamma(a + 1/2) / (Gamma(a) Gamma(1/2))), shape (G,)."""
    below = np.zeros_like(a)
    while (small := a < 20).any():  # the ratio at a is that at a + 1, times a / (a + 1/2)
        below = below + np.where(small, np.log(a / (a + 0.5)), 0.0)
        a = np.where(small, a + 1, a)
    series = np.zeros_like(a)
    for k, number in zip(range(2, 12, 2), _BERNOULLI, strict=True):
        series += (2 - 2.0 ** (1 - k)) * number / (k * (k - 1) * a ** (k - 1))
    return np.asarray(0.5 * np.log(a / math.pi) - series + below)


def _fraction(x: Vector, a: Vector, b: Vector) -> Vector:
    """The continued fraction of I_x(a, b), shape (G,)."""
    value, open_ = np.ones_like(x), np.arange(len(x))
    z, f = x, np.ones_like(x)
    c, d = np.ones_like(x), np.zeros_like(x)
    for n in range(1, _MOST):
        if open_.size == 0:
            break
        m = n // 2
        if n % 2:
            above = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1)) * z
        else:
            above = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m)) * z
        d = 1.0 + above * d
        d = 1.0 / np.where(d == 0, _TINY, d)
        c = 1.0 + above / c
        c = np.where(c == 0, _TINY, c)
        f = f * c * d
        going = np.abs(c * d - 1.0) > _EPS
        if not going.all():
            value[open_] = f
            open_ = open_[going]
            z, f, c, d, a, b = (each[going] for each in (z, f, c, d, a, b))
    value[open_] = f
    return np.asarray(1.0 / value)
