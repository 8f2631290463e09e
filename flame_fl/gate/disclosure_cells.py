"""Counts of patients: small cells do not leave as they are. Pure: counts in, counts out.

Four policies (`Disclosure.counts`), after Hundepool et al., Statistical Disclosure Control (Wiley, 2012), chapter 5:

suppress   A cell c with 0 < c < min_cell leaves as 0. Where it is the only hidden one of a row, column or layer of its
           array, or all hidden ones there are fewer than min_cell patients, the next smallest of that line is hidden
           too: whoever knows the line's sum knows the sum of what is hidden. That is a heuristic, not the optimal
           suppression of that book; ranges can still be worked out.
round      Every cell to the nearest multiple of `round_to`.
noise      Every cell moves by a random whole number; what is then below min_cell leaves as 0.
refuse     Nothing leaves where a cell is small. The refusal tells that there is one.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from flame_fl.contract.content import Array
from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.gate.allow_list import rejected

Counts = npt.NDArray[np.int64]

MOST_COUNT = 1 << 53  # beyond it a float64 holds no odd number
_BYTES_PER_DRAW = 16


@dataclass(frozen=True)
class CellNoise:
    """Noise that is the same whenever the question is, in two layers of equal size.

    Each is the difference of two uniform draws: symmetric and bounded. The first is drawn for the cohort and the true
    count, the second for the message and the cell's place. Repeating a question brings nothing new. Changing it in
    nothing that matters brings a new second layer, and averaging over many of these leaves the first. Whether two
    questions have the same answer shows only after many of them.

    The layers follow Francis, Probst Eide and Munz, "Diffix" (2017); Gadotti et al. (USENIX Security 2019) show what
    such noise does not hold. It is no privacy claim.

    Args:
        key: The node's, for this purpose alone.
        cohort: Fingerprint of whose records are counted.
        message: Hash of the message that is answered.
    """

    key: bytes
    cohort: str
    message: str

    def draw(self, place: str, counts: Counts, most: int) -> Counts:
        """Noise for each count, from -most to most; `most` is even. `place` says which array or metric they are."""
        values, where = np.unique(counts, return_inverse=True)
        by_value = b"".join(self._mac("value", self.cohort, str(value))[:_BYTES_PER_DRAW] for value in values)
        stream = Cipher(
            algorithms.AES(self._mac("place", self.cohort, self.message, place)), modes.CTR(bytes(16))
        ).encryptor()
        by_place = stream.update(bytes(_BYTES_PER_DRAW * counts.size))
        first = _triangular(by_value, most // 2)[where.reshape(-1)]
        return (first + _triangular(by_place, most // 2)).reshape(counts.shape)

    def _mac(self, *words: str) -> bytes:
        """Of words without a zero character: hexadecimal digits, and names that can be printed."""
        return hmac.new(self.key, "\0".join(words).encode(), sha256).digest()


def _triangular(raw: bytes, most: int) -> Counts:
    """From -most to most. The bias of taking 64 bits modulo `most + 1` is below 2^-50."""
    pairs = (np.frombuffer(raw, "<u8").reshape(-1, 2) % np.uint64(most + 1)).astype(np.int64)
    return pairs[:, 0] - pairs[:, 1]


@dataclass(frozen=True)
class Cells:
    """Counts as they may leave; how many were small, and how many more were hidden for their sake."""

    values: Counts
    small: int
    complementary: int = 0


def as_counts(array: Array, label: str) -> Counts:
    """The array as whole numbers.

    Raises:
        RefusedError: 904, it does not hold counts.
    """
    counts = array.astype(np.int64) if array.dtype.kind in "biu" else np.rint(array.astype(np.float64))
    if array.dtype.kind == "f" and not np.array_equal(counts, array):
        raise rejected(f"{label} is no count")
    if counts.size and (counts.min() < 0 or counts.max() > MOST_COUNT):
        raise rejected(f"{label} is no count")
    return counts.astype(np.int64)


def protect(counts: Counts, place: str, terms: Disclosure, noise: CellNoise) -> Cells:
    """Counts as the policy lets them leave.

    Args:
        counts: Of patients, in any shape.
        place: Which array or metric they are.
        terms: The rules.
        noise: For the policy "noise".

    Raises:
        RefusedError: 904, the policy is "refuse" and there is a small one.
    """
    hidden = (counts > 0) & (counts < terms.min_cell)
    small = int(hidden.sum())
    if terms.counts == "refuse":
        if small:
            raise rejected(f"{place} has {small} cells of fewer than {terms.min_cell} patients")
        return Cells(counts, 0)
    if terms.counts == "round":
        return Cells((counts + terms.round_to // 2) // terms.round_to * terms.round_to, small)
    if terms.counts == "noise":
        moved = counts + noise.draw(place, counts, terms.most_noise)
        return Cells(np.where(moved < terms.min_cell, 0, moved), small)
    if terms.complementary and small:
        hidden = _with_complements(counts, hidden, terms.min_cell)
    return Cells(np.where(hidden, 0, counts), small, int(hidden.sum()) - small)


def _with_complements(counts: Counts, hidden: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """`hidden`, and what must be hidden beside it so that no line's sum tells fewer than `least` patients."""
    before = -1
    while (now := int(hidden.sum())) != before:
        before = now
        for axis in range(counts.ndim):
            lines = np.moveaxis(counts, axis, -1).reshape(-1, counts.shape[axis])
            veiled = np.moveaxis(hidden, axis, -1).reshape(lines.shape).copy()
            sums = np.where(veiled, lines, 0).sum(axis=1)
            told = (sums > 0) & ((sums < least) | (veiled.sum(axis=1) == 1))
            rest = np.where(veiled | (lines == 0), MOST_COUNT + 1, lines)
            told &= rest.min(axis=1) <= MOST_COUNT  # else all others are 0, and look like hidden ones
            veiled[np.flatnonzero(told), rest.argmin(axis=1)[told]] = True
            hidden = np.moveaxis(veiled.reshape(np.moveaxis(hidden, axis, -1).shape), -1, axis)
    return hidden
