"""Alias tables of discrete Gaussians whose probabilities are whole multiples of 2^-160.

A table turns one word of 32 random bits into one draw (Walker, "An efficient method for generating discrete random
variables with general distributions", ACM TOMS 1977; built as in Vose, IEEE TSE 1991). It has N = 2^bits bins, each
with two outcomes and a threshold of 160 - bits bits that says how much of the bin belongs to the first. The leading
bits of the word choose the bin and the others are compared with the threshold's leading bits; only where those are
equal, for N of the 2^32 words, 128 further bits decide. So a draw is exactly a comparison of 160 uniform bits, and
an outcome's probability exactly the integer mass the table was built from. Building and drawing use integers and
decimals of 80 digits: no binary floating point.

How far a draw is from N_Z(0, sigma²), in total variation, at most `TABLE_DISTANCE` = 1e-40:

- Outcomes beyond `reach` are cut off. The discrete Gaussian is sigma²-subgaussian (Canonne, Kamath, Steinke 2020), so
  they weigh at most 2·exp(-(reach + 1)²/(2 sigma²)) ≤ 2·exp(-93) < 8.2e-41.
- Every other mass is rounded down to a multiple of 2^-160 and the rest given to 0: at most 2^13 · 2^-160 < 6e-45.
- The weights' relative error: each is a product of at most 3·2^13 decimals of 80 digits, below 1e-70.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import isqrt

import numpy as np
import numpy.typing as npt

from flame_fl.privacy.randomness import Stream

MASS_BITS = 160
MAX_BITS = 13  # 2^13 thresholds of 32 bits fill a processor's first cache
TABLE_DISTANCE = 1e-40
_WORD_BITS = 32
_REST_BITS = MASS_BITS - _WORD_BITS
_TAIL_NATS = 93
_DECIMALS = Context(prec=80, Emin=MIN_EMIN, Emax=MAX_EMAX)


@dataclass(frozen=True)
class Table:
    """A distribution on {-reach, …, reach}, ready to be drawn from.

    Attributes:
        reach: The largest outcome.
        bits: There are 2^bits bins.
        threshold: Shape (2^bits,): words below it give the bin's first outcome, words above it the second.
        rest: Where a word equals the threshold, 128 further bits below this one give the first outcome.
        outcome: Shape (2 · 2^bits,): the first outcome of every bin, then the second of every bin.
    """

    reach: int
    bits: int
    threshold: npt.NDArray[np.uint32]
    rest: tuple[int, ...]
    outcome: npt.NDArray[np.int64]

    def draw(self, stream: Stream, count: int) -> npt.NDArray[np.int64]:
        """`count` independent draws, shape (count,)."""
        words = stream.words(count)
        where = np.right_shift(words, np.uint32(_WORD_BITS - self.bits)).astype(np.intp)
        threshold = self.threshold.take(where, mode="wrap")  # never wraps: this mode is the one without a check
        second = words > threshold
        for i in np.flatnonzero(words == threshold):
            second[i] = stream.integer(_REST_BITS // 8) >= self.rest[where[i]]
        where += second * np.intp(1 << self.bits)
        return self.outcome.take(where, mode="wrap")


@lru_cache(maxsize=16)
def gaussian_table(numerator: int, denominator: int) -> Table:
    """The table of N_Z(0, sigma²), sigma² = numerator/denominator.

    Raises:
        ValueError: sigma is so large that the outcomes do not fit 2^13 bins.
    """
    reach = isqrt(2 * _TAIL_NATS * numerator // denominator)  # (reach + 1)² > 2 · 93 · sigma²
    bits = max(1, (2 * reach).bit_length())
    if bits > MAX_BITS:
        raise ValueError("sigma is too large for one table")
    half = _masses(Fraction(numerator, denominator), reach)
    mass = [*half[:0:-1], *half, *[0] * ((1 << bits) - 2 * reach - 1)]
    keep, alias = _aliases(mass, 1 << (MASS_BITS - bits))
    whole = [(own << (MASS_BITS - bits)) + kept for own, kept in enumerate(keep)]
    first = np.arange(1 << bits, dtype=np.int64)
    return Table(
        reach=reach,
        bits=bits,
        threshold=np.array([t >> _REST_BITS for t in whole], dtype=np.uint32),
        rest=tuple(t & ((1 << _REST_BITS) - 1) for t in whole),
        outcome=np.concatenate([first, np.array(alias, dtype=np.int64)]) - reach,
    )


def _masses(sigma_squared: Fraction, reach: int) -> list[int]:
    """The masses of 0, 1, …, reach in units of 2^-160; those of 0 and twice the others make exactly 2^160."""
    with localcontext(_DECIMALS):
        ratio = (-Decimal(sigma_squared.denominator) / (2 * Decimal(sigma_squared.numerator))).exp()
        weights, square = [Decimal(1)], ratio * ratio
        for _ in range(reach):  # exp(-(x+1)²/(2 sigma²)) = exp(-x²/(2 sigma²)) · q^(2x+1), q = exp(-1/(2 sigma²))
            weights.append(weights[-1] * ratio)
            ratio *= square
        unit = (1 << MASS_BITS) / (2 * sum(weights, Decimal(0)) - 1)
        others = [int(weight * unit) for weight in weights[1:]]
    return [(1 << MASS_BITS) - 2 * sum(others), *others]


def _aliases(mass: Sequence[int], capacity: int) -> tuple[list[int], list[int]]:
    """How much of each bin its own outcome keeps, and which outcome has the rest. `mass` sums to len(mass)·capacity.

    A bin that is wholly its own outcome's keeps 0 and has itself as alias: so thresholds need no extra bit.
    """
    left = list(mass)
    keep, alias = [0] * len(left), list(range(len(left)))
    small = [i for i, m in enumerate(left) if m < capacity]
    large = [i for i, m in enumerate(left) if m >= capacity]
    while small:  # what small ones lack, large ones have: exactly, these are integers
        poor, rich = small.pop(), large[-1]
        keep[poor], alias[poor] = left[poor], rich
        left[rich] -= capacity - left[poor]
        if left[rich] < capacity:
            small.append(large.pop())
    return keep, alias
