"""An oracle: the discrete Gaussian by exact rejection, slow, with no table and no approximation in it.

Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020), algorithms 1 to 3: from a
discrete Laplace, with every coin exact in rational arithmetic. It shares nothing with the sampler that it judges.
"""

import random
from math import isqrt

import numpy as np
import numpy.typing as npt


def exact_gaussian(numerator: int, denominator: int, count: int) -> npt.NDArray[np.int64]:
    """`count` draws with sigma² = numerator/denominator. The randomness is the operating system's."""
    bits = random.SystemRandom()
    return np.array([_gaussian(bits, numerator, denominator) for _ in range(count)], dtype=np.int64)


def uniform(bits: random.Random, n: int) -> int:
    """Uniform on {0, …, n-1}, by rejection."""
    k = (n - 1).bit_length()
    while True:
        value = bits.getrandbits(k) if k else 0
        if value < n:
            return value


def bernoulli_exp(bits: random.Random, a: int, b: int) -> bool:
    """True with probability exp(-a/b), a ≥ 0 (algorithm 1)."""
    while a > b:  # exp(-a/b) = exp(-1) · exp(-(a-b)/b)
        if not _bernoulli_exp_unit(bits, 1, 1):
            return False
        a -= b
    return _bernoulli_exp_unit(bits, a, b)


def _bernoulli_exp_unit(bits: random.Random, a: int, b: int) -> bool:
    """The same for a/b in [0, 1]: von Neumann's alternating series."""
    k = 1
    while uniform(bits, b * k) < a:
        k += 1
    return k % 2 == 1


def _laplace(bits: random.Random, t: int) -> int:
    """P[X = x] ∝ exp(-|x|/t) (algorithm 2 with s = 1)."""
    while True:
        u = uniform(bits, t)
        if not _bernoulli_exp_unit(bits, u, t):
            continue
        v = 0
        while _bernoulli_exp_unit(bits, 1, 1):
            v += 1
        magnitude, negative = u + t * v, bits.getrandbits(1)
        if negative and magnitude == 0:
            continue  # zero would be counted twice
        return -magnitude if negative else magnitude


def _gaussian(bits: random.Random, numerator: int, denominator: int) -> int:
    """One draw (algorithm 3). t = floor(sigma) + 1 gives constant expected time."""
    t = isqrt(numerator // denominator) + 1
    while True:
        y = _laplace(bits, t)
        # accept with exp(-(|y| - sigma²/t)² / (2 sigma²)); over the common denominator everything is an integer
        difference = abs(y) * t * denominator - numerator
        if bernoulli_exp(bits, difference * difference, 2 * numerator * denominator * t * t):
            return y
