"""One vector per patient, into integers whose norm is at most `CLIP_INT`: exactly, and each row by itself.

The rule of `flame_fl.privacy.clipping`, for many rows at once. Every step is elementwise or exact, so a row's
integers do not depend on which other rows come with it:

    s = row · M / max(C, |row|∞)       M = CLIP_INT, C = clip_norm
    q = trunc(s)                       kept if Σq² ≤ M², in 64-bit integers
    B = Σq² + 2 Σ|q| + d ≥ Σs²         else s is shortened by M/sqrt(B), so Σs² ≤ M² up to float64, and truncated again

The last line costs at most 2 sqrt(d)/M of the norm, about as much as truncation. The condition on the integers is
checked again after it.
"""

import numpy as np
import numpy.typing as npt

from flame_fl.privacy.clipping import CLIP_INT

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_SQUARE = CLIP_INT * CLIP_INT
_BLOCK = 1 << 20  # as many squares, each below 2^42, as fit 62 bits


def rows_to_integers(rows: Floats, clip_norm: float) -> Integers:
    """(n, d) -> (n, d) with Σq² ≤ CLIP_INT² in every row. One unit is clip_norm / CLIP_INT.

    A row that is not finite becomes zero: it is what the data, or a message, made of one patient, and must not stop the
    others.
    """
    with np.errstate(all="ignore"):
        largest = np.abs(rows).max(axis=1, initial=0.0)
        s = rows / (np.maximum(largest, clip_norm) / CLIP_INT)[:, None]  # M is a power of two: as exact as row / C · M
    s[~np.isfinite(largest)] = 0.0
    q: Integers = s.astype(np.int64)
    squares = _sums_of_squares(q)
    while len(over := np.flatnonzero(squares > _SQUARE)):
        bound = squares[over] + 2 * np.abs(q[over]).sum(axis=1) + q.shape[1]
        s[over] *= (CLIP_INT / np.sqrt(bound.astype(np.float64)) * (1 - 2.0**-40))[:, None]
        q[over] = s[over].astype(np.int64)
        squares[over] = _sums_of_squares(q[over])
    return q


def _sums_of_squares(q: Integers) -> Integers:
    """Per row, exact; a sum that would not fit is cut at 2^62, far above what is compared with."""
    total = np.zeros(len(q), dtype=np.int64)
    for start in range(0, q.shape[1], _BLOCK):
        part = q[:, start : start + _BLOCK]
        total += np.minimum(np.einsum("ij,ij->i", part, part), (1 << 62) - total)
    return total
