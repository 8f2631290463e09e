"""Discrete Gaussian noise: integers, from the operating system's randomness, with a stated distance from ideal.

The discrete Gaussian N_Z(0, sigma²) has P[X = x] ∝ exp(-x²/(2 sigma²)) on the integers (Canonne, Kamath, Steinke, "The
Discrete Gaussian for Differential Privacy", NeurIPS 2020, arXiv 2004.00010). No binary floating point is involved, so
there is no rounding for an attacker to read (Mironov, CCS 2012).

Up to sigma = 300 a draw is one look into an exact table (`tables`). A larger one is a sum: X = x1 + k·x2 with x1 from
the table of B = 300 and x2 drawn in the same way with sigma2² = (sigma² - B²)/k², a fraction of integers. Summing
smaller discrete Gaussians goes back to Peikert (CRYPTO 2010) and Micciancio and Walter (CRYPTO 2017); what it costs
follows by completing the square. With s² = B²·sigma2²/sigma² and c = s²·k·z/B²,

    P[X = z] ∝ Σ_j exp(-(z - k·j)²/(2 B²) - j²/(2 sigma2²)) = exp(-z²/(2 sigma²)) · Σ_j exp(-(j - c)²/(2 s²)),

and by Poisson summation the last sum lies within s·sqrt(2 pi)·(1 ± e), e = 2·Σ_{m≥1} exp(-2 pi² s² m²), for every c.
So P[X = z] is between (1 - e)/(1 + e) and (1 + e)/(1 - e) times N_Z(0, sigma²) at every z, and the total variation
distance of the two is at most e/(1 - e). k is the largest integer that leaves s² ≥ 4.8: then that is below 1.5e-41.

Invariants: sigma² is a fraction of integers; every call has a key of its own (`randomness`); with a test's seed
`seeded` is true, and the fact travels into every report.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import count as numbers
from math import isqrt

import numpy as np
import numpy.typing as npt

from flame_fl.privacy.randomness import Stream, fresh_key, seeded_key
from flame_fl.privacy.tables import TABLE_DISTANCE, Table, gaussian_table

BASE_SQUARED = 300 * 300  # B²: the largest whose outcomes fit a table
SMOOTH_SQUARED = Fraction(24, 5)  # the least s²
SUM_DISTANCE = 1.5e-41
_CHUNK = 1 << 14  # draws at a time: what they need stays in a processor's cache, and in memory that is used again
_LARGEST = 1 << 62  # a draw plus a clipped value fits 64 bits


@dataclass(frozen=True)
class Plan:
    """A draw is y_0 + k_1·(y_1 + k_2·(y_2 + … k_n·y_n)): y_n from `last`, the others from the table of B."""

    last: Table
    steps: tuple[int, ...] = ()

    @property
    def reach(self) -> int:
        """The largest draw."""
        reach = self.last.reach
        for step in reversed(self.steps):
            reach = step * reach + _base().reach
        return reach

    @property
    def distance(self) -> float:
        """Of one draw from the ideal, in total variation: the triangle inequality over tables and sums."""
        return (len(self.steps) + 1) * TABLE_DISTANCE + len(self.steps) * SUM_DISTANCE

    def draw(self, stream: Stream, count: int) -> npt.NDArray[np.int64]:
        """`count` independent draws, shape (count,)."""
        total = self.last.draw(stream, count)
        for step in reversed(self.steps):
            total *= step
            total += _base().draw(stream, count)
        return total


class ExactNoise:
    """Discrete Gaussian noise. Every call asks the operating system for a new key, and keeps nothing.

    Args:
        seed_for_tests: Makes this object's calls repeatable, and its noise worthless as protection.
    """

    def __init__(self, seed_for_tests: int | None = None) -> None:
        self.seeded = seed_for_tests is not None
        self._key: Callable[[], bytes] = fresh_key
        if seed_for_tests is not None:
            calls = numbers()
            self._key = lambda: seeded_key(seed_for_tests, next(calls))

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        """`count` independent draws of N_Z(0, numerator/denominator), shape (count,).

        Raises:
            ValueError: sigma² is not positive, or so large that a draw may not fit 62 bits.
        """
        plan, stream = _plan(*sigma_squared), Stream(self._key())
        draws = np.empty(count, dtype=np.int64)
        for start in range(0, count, _CHUNK):
            part = draws[start : start + _CHUNK]
            part[:] = plan.draw(stream, len(part))
        return draws

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        """An upper bound of the total variation distance of such `count` draws from ideal ones.

        It is what arithmetic costs. That the key stream passes for uniform bits is an assumption and has no number.

        Raises:
            ValueError: As above.
        """
        return min(1.0, count * _plan(*sigma_squared).distance)


@lru_cache(maxsize=64)
def _plan(numerator: int, denominator: int) -> Plan:
    """How to draw N_Z(0, numerator/denominator)."""
    if numerator <= 0 or denominator <= 0:
        raise ValueError("sigma squared must be positive")
    steps, rest = [], Fraction(numerator, denominator)
    while step := _largest_step(rest):
        steps.append(step)
        rest = (rest - BASE_SQUARED) / step**2
    plan = Plan(gaussian_table(rest.numerator, rest.denominator), tuple(steps))
    if plan.reach >= _LARGEST:
        raise ValueError("sigma is so large that a draw may not fit 62 bits")
    return plan


def _largest_step(sigma_squared: Fraction) -> int:
    """The largest k with s² = B²·(sigma² - B²)/(k²·sigma²) ≥ 4.8; 0 where sigma is small enough for one table."""
    if sigma_squared <= BASE_SQUARED:
        return 0
    most = BASE_SQUARED * (sigma_squared - BASE_SQUARED) / (sigma_squared * SMOOTH_SQUARED)
    return isqrt(most.numerator // most.denominator)


def _base() -> Table:
    return gaussian_table(BASE_SQUARED, 1)


def sigma_squared(noise_multiplier: float, clip_int: int) -> tuple[int, int]:
    """(noise_multiplier · clip_int)² as a fraction; the float is taken by its exact binary value."""
    value = (Fraction(noise_multiplier) * clip_int) ** 2
    return value.numerator, value.denominator
