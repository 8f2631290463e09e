"""Clipping into integers: after it, the bound holds exactly, not up to rounding.

A vector is scaled so that `clip_norm` becomes the integer `CLIP_INT`, shrunk onto the ball if it lies outside, and
truncated towards zero. Then Σq² ≤ CLIP_INT² is checked in integer arithmetic; if floating point has cheated, the vector
is shrunk until it is true (decisions: exact integers before noise). What leaves is q plus noise, divided by the scale
afterwards, which is post-processing.

Every finite vector is accepted: nothing here overflows, whatever an app sends.
"""

import math

import numpy as np
import numpy.typing as npt

# One part in a million of the ball: truncation costs at most sqrt(d)/2^20 of clip_norm, far below any useful noise.
CLIP_INT = 1 << 20

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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


def clip_to_integers(vector: Floats, clip_norm: float) -> Integers:
    """q, shape (d,), int64, with Σq² ≤ CLIP_INT² exactly. One unit is `clip_norm / CLIP_INT`.

    Raises:
        ValueError: The vector is not finite: the caller decides what stands in for it.
    """
    if not np.all(np.isfinite(vector)):
        raise ValueError("cannot clip a vector that is not finite")
    scaled = clip(vector, clip_norm) / clip_norm * CLIP_INT
    q = np.trunc(scaled).astype(np.int64)
    # every |q| ≤ 2^20 (or barely above), so the sum of squares fits 64 bits up to d = 2^22 only: use Python integers
    while (total := _sum_of_squares(q)) > CLIP_INT * CLIP_INT:
        scaled *= CLIP_INT / math.sqrt(total) * (1 - 2.0**-40)
        q = np.trunc(scaled).astype(np.int64)
    return q


def _sum_of_squares(q: Integers) -> int:
    """Exact: partial sums over blocks that cannot overflow, added as Python integers."""
    block = 1 << 20
    return sum(int(np.dot(q[i : i + block], q[i : i + block])) for i in range(0, len(q), block))
