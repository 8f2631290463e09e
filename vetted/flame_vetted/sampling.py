"""Poisson sampling of patients: each is in the batch with probability q, independently, exactly.

A uniform real number in [0, 1) is drawn bit by bit from the operating system's randomness, and compared with the finite
binary expansion of q. 64 bits settle nearly everybody; who is equal so far is decided by the next 64.
"""

import os
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_WORD = 1 << 64


def poisson_sample(patients: int, sample_rate: float) -> npt.NDArray[np.int64]:
    """Indices of those in the batch, ascending; there may be none.

    Raises:
        ValueError: sample_rate is not in (0, 1].
    """
    if not 0 < sample_rate <= 1:
        raise ValueError("sample_rate must lie in (0, 1]")
    if sample_rate == 1:
        return np.arange(patients, dtype=np.int64)
    rest = Fraction(sample_rate)
    chosen = np.zeros(patients, dtype=np.bool_)
    undecided = np.arange(patients, dtype=np.int64)
    while len(undecided) and rest > 0:  # nothing left of q: the number drawn is not below it
        digit, rest = divmod(rest * _WORD, 1)
        drawn = _random_words(len(undecided))
        chosen[undecided[drawn < np.uint64(digit)]] = True
        undecided = undecided[drawn == np.uint64(digit)]
    return np.flatnonzero(chosen).astype(np.int64)


def _random_words(count: int) -> npt.NDArray[np.uint64]:
    return np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
