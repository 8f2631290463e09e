"""Clipping: after it, the bound holds exactly, not up to rounding.

`clip_to_integers` scales a vector v so that `clip_norm` C becomes the integer R = `CLIP_INT`, shrinks it onto the ball
if it lies outside, and truncates towards zero: q = trunc(v · R / max(C, ‖v‖)). Then Σq² ≤ R² is checked exactly; where
floating point has cheated, the vector is shrunk until it is true. What leaves is q plus integer noise, divided by R/C
afterwards, which is post-processing.

Why rounding costs no privacy: q is a function of v alone, without randomness, and ‖q‖ ≤ R holds for every v. So for any
two vectors, near or far, ‖q - q'‖ ≤ ‖q‖ + ‖q'‖ ≤ 2R, the sensitivity that is accounted for (and R against the zero
vector). How q was rounded does not enter. Truncation costs accuracy: less than C/R per coordinate.

A vector may be clipped in parts, each to its own share of the ball: in part i Σq² ≤ ⌊share_i² · R²⌋. With
Σ share_i² ≤ 1 the whole stays in the same ball, and its sensitivity is the same.

Every finite vector is accepted: nothing here overflows, whatever an app sends.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# One part in a million of the ball: truncation costs at most sqrt(d)/2^20 of clip_norm, far below any useful noise.
CLIP_INT = 1 << 20

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]

# Coordinates at a time: they stay in a processor's cache, the sum of their squares (at most 2^13 · 2^40) fits 64 bits,
# and dot products are too short for a BLAS to start threads, which would fight with those of the apps.
_CHUNK = 1 << 13
_ROUNDING = Fraction(1, 10**6)
_SAFE_EXPONENT = 400  # squares of numbers between 2^-400 and 2^400 neither vanish nor overflow


def clip(vector: Floats, clip_norm: float) -> Floats:
    """Scale onto the ball of radius `clip_norm` if outside, else return it unchanged. `vector` is finite, shape (d,).

    The norm of the result exceeds `clip_norm` by float64 rounding at most.
    """
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0.0:
        return vector
    direction = vector / largest  # in [-1, 1]: its squares cannot overflow, and its norm is at least 1
    length = float(np.linalg.norm(direction))
    return vector if length <= clip_norm / largest else direction * (clip_norm / length)


def clip_to_integers(vector: AnyFloats, clip_norm: float, parts: Sequence[tuple[int, float]] = ()) -> Integers:
    """q, shape (d,), int64, with Σq² ≤ CLIP_INT² exactly. One unit is `clip_norm / CLIP_INT`.

    Args:
        vector: Shape (d,), float32 or float64.
        clip_norm: Radius of the ball, positive.
        parts: (length, share) of consecutive parts that make up the vector: each is clipped by itself to
            share · clip_norm. The shares' squares sum to 1 at most. Without parts the whole vector is one.

    Raises:
        ValueError: The vector is not finite (the caller decides what stands in for it), or the parts do not fit.
    """
    q = np.empty(len(vector), dtype=np.int64)
    lengths, limits = [n for n, _ in parts] or [len(q)], _squared_limits(tuple(share for _, share in parts) or (1.0,))
    if sum(lengths) != len(q) or min(lengths) < 0:
        raise ValueError("the parts do not make up the vector")
    start = 0
    for length, limit in zip(lengths, limits, strict=True):
        end = start + length
        _fill(q[start:end], vector[start:end], clip_norm, limit)
        start = end
    return q


@lru_cache(maxsize=16)
def _squared_limits(shares: tuple[float, ...]) -> tuple[int, ...]:
    """What Σq² may be in each part, in integers whose sum is at most CLIP_INT².

    Shares are written as decimals: where their squares' sum is above 1 by rounding, all are scaled down.
    """
    squares = [Fraction(share) ** 2 for share in shares]
    whole = max(Fraction(1), sum(squares, Fraction(0)))
    if min(shares) < 0 or whole > 1 + _ROUNDING:
        raise ValueError("the parts' shares do not fit the ball")
    return tuple(math.floor(square / whole * CLIP_INT**2) for square in squares)


def _fill(q: Integers, vector: AnyFloats, clip_norm: float, limit: int) -> None:
    """Write the integers of one part into q, with Σq² ≤ limit exactly."""
    low, high = (float(f(vector, initial=0.0)) for f in (np.min, np.max))
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN is both the least and the largest
        raise ValueError("cannot clip a vector that is not finite")
    largest = max(-low, high)
    _, exponent = math.frexp(largest)
    if abs(exponent) > _SAFE_EXPONENT:  # the same vector and ball, with the largest coordinate between 1/2 and 1
        with np.errstate(over="ignore", under="ignore"):
            vector = np.ldexp(vector.astype(np.float64), -exponent)
            clip_norm, largest = (float(np.ldexp(x, -exponent)) for x in (clip_norm, largest))
    radius, divisor = math.sqrt(limit), math.inf
    if largest and radius:
        divisor = max(_norm(vector), clip_norm * (radius / CLIP_INT), largest) / radius
    while (total := _truncate(q, vector, divisor)) > limit:  # float64 rounding was in the way: once is enough
        divisor *= math.sqrt(total / limit) * (1 + 2.0**-40)


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))


def _norm(vector: AnyFloats) -> float:
    """The length of a vector whose coordinates are of a safe size."""
    parts = (vector[chunk].astype(np.float64, copy=False) for chunk in _chunks(len(vector)))
    return math.sqrt(math.fsum(float(np.dot(part, part)) for part in parts))


def _truncate(q: Integers, vector: AnyFloats, divisor: float) -> int:
    """Write trunc(vector / divisor) into q, and return Σq² exactly. No |vector / divisor| is above CLIP_INT."""
    total = 0
    for chunk in _chunks(len(vector)):
        part = q[chunk]
        part[:] = np.divide(vector[chunk], divisor, dtype=np.float64)  # a cast to integers truncates
        total += int(np.dot(part, part))
    return total
