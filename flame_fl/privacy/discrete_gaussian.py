"""Exact sampling of the discrete Gaussian from the operating system's randomness.

The discrete Gaussian N_Z(0, sigma²) has P[X = x] ∝ exp(-x²/(2 sigma²)) on the integers. The sampler is that of
Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020, arXiv 2004.00010),
algorithms 1 to 3: rejection from a discrete Laplace, with every coin exact in rational arithmetic. No floating point
is involved, so there is no rounding for an attacker to read (Mironov, CCS 2012), and its statistical distance from
the stated distribution is zero.

Invariants: sigma² is a fraction of integers; randomness comes from `secrets` unless a test hands in a seeded source,
in which case `seeded` is true and the fact travels into every report.
"""

import random
import secrets
from fractions import Fraction
from math import isqrt
from typing import Protocol


class Randomness(Protocol):
    """A source of uniform bits."""

    def getrandbits(self, k: int, /) -> int:
        """A uniform integer in [0, 2^k)."""


class ExactNoise:
    """Discrete Gaussian noise. The default source is the operating system's, asked anew for every bit."""

    def __init__(self, seed_for_tests: int | None = None) -> None:
        self.seeded = seed_for_tests is not None
        self._bits: Randomness = random.Random(seed_for_tests) if self.seeded else secrets.SystemRandom()  # noqa: S311

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> list[int]:
        """`count` independent draws of N_Z(0, numerator/denominator).

        Raises:
            ValueError: sigma² is not positive.
        """
        numerator, denominator = sigma_squared
        if numerator <= 0 or denominator <= 0:
            raise ValueError("sigma squared must be positive")
        return [_discrete_gaussian(self._bits, numerator, denominator) for _ in range(count)]


def _uniform(bits: Randomness, n: int) -> int:
    """Uniform on {0, …, n-1}, by rejection."""
    k = (n - 1).bit_length()
    while True:
        value = bits.getrandbits(k) if k else 0
        if value < n:
            return value


def _bernoulli(bits: Randomness, a: int, b: int) -> bool:
    """True with probability a/b."""
    return _uniform(bits, b) < a


def _bernoulli_exp(bits: Randomness, a: int, b: int) -> bool:
    """True with probability exp(-a/b), a ≥ 0 (algorithm 1)."""
    while a > b:  # exp(-a/b) = exp(-1) · exp(-(a-b)/b)
        if not _bernoulli_exp_unit(bits, 1, 1):
            return False
        a -= b
    return _bernoulli_exp_unit(bits, a, b)


def _bernoulli_exp_unit(bits: Randomness, a: int, b: int) -> bool:
    """The same for a/b in [0, 1]: von Neumann's alternating series."""
    k = 1
    while _bernoulli(bits, a, b * k):
        k += 1
    return k % 2 == 1


def _discrete_laplace(bits: Randomness, t: int) -> int:
    """P[X = x] ∝ exp(-|x|/t) (algorithm 2 with s = 1)."""
    while True:
        u = _uniform(bits, t)
        if not _bernoulli_exp_unit(bits, u, t):
            continue
        v = 0
        while _bernoulli_exp_unit(bits, 1, 1):
            v += 1
        magnitude = u + t * v
        negative = bits.getrandbits(1)
        if negative and magnitude == 0:
            continue  # zero would be counted twice
        return -magnitude if negative else magnitude


def _discrete_gaussian(bits: Randomness, numerator: int, denominator: int) -> int:
    """One draw (algorithm 3). t = floor(sigma) + 1 gives constant expected time."""
    t = _floor_sqrt(numerator, denominator) + 1
    while True:
        y = _discrete_laplace(bits, t)
        # accept with exp(-(|y| - sigma²/t)² / (2 sigma²)); over the common denominator everything is an integer
        difference = abs(y) * t * denominator - numerator
        if _bernoulli_exp(bits, difference * difference, 2 * numerator * denominator * t * t):
            return y


def _floor_sqrt(numerator: int, denominator: int) -> int:
    """floor(sqrt(numerator/denominator)): the floor of the root of the floor is the floor of the root."""
    return isqrt(numerator // denominator)


def sigma_squared(noise_multiplier: float, clip_int: int) -> tuple[int, int]:
    """(noise_multiplier · clip_int)² as a fraction; the float is taken by its exact binary value."""
    value = (Fraction(noise_multiplier) * clip_int) ** 2
    return value.numerator, value.denominator
