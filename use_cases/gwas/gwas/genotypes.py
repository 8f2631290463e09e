"""Genotypes of a DIZ by the panel's variants, read from a PLINK 1 .bed where it lies.

A .bed holds, variant after variant, two bits per sample: 0 copies of allele A1 are 11, one is 10, two are 00, and 01 is
a missing call (Purcell et al., American Journal of Human Genetics 81, 2007). What leaves this module counts the
panel's effect allele instead, whatever is A1 in the file: `harmonise` has said which variants are turned round.

Nothing is kept in memory but a few indices per variant: a chunk is read when it is asked for.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError

Calls = npt.NDArray[np.int8]
Int = npt.NDArray[np.int64]

HEADER = b"\x6c\x1b\x01"
_COPIES = np.array([2, -1, 1, 0], dtype=np.int8)
"""Of A1, by the two bits of a call."""

_TURNED = np.array([0, -1, 1, 2], dtype=np.int8)
_GAP = 8
"""A stretch of variants with fewer unwanted ones between two wanted ones is read at once."""


def _by_byte(copies: Calls) -> npt.NDArray[np.uint32]:
    """(256,) the four calls of a byte, as the bytes of one number."""
    byte = np.arange(256)
    table = np.stack([copies[(byte >> (2 * place)) & 3] for place in range(4)], axis=1)
    return np.ascontiguousarray(table).view(np.uint32).ravel()


_STRAIGHT, _ROUND = _by_byte(_COPIES), _by_byte(_TURNED)


@dataclass(frozen=True, eq=False)
class Genotypes:
    """Calls of one DIZ.

    Attributes:
        bed: The .bed file.
        people: Samples in the file.
        rows: (n,) which of them are those of the sample sheet, in its order.
        place: (p,) the file's variant for each of the panel's, -1 where there is none.
        turned: (p,) whether A1 is the panel's reference allele, so that copies are counted of A2.
        harmony: (p,) int8, codes of `harmonise`.
    """

    bed: Path
    people: int
    rows: Int
    place: Int
    turned: npt.NDArray[np.bool_]
    harmony: npt.NDArray[np.int8]

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(p,) whether this DIZ has the variant."""
        return self.place >= 0

    @property
    def samples(self) -> int:
        """How many samples, n."""
        return len(self.rows)

    def without(self, absent: npt.NDArray[np.bool_]) -> "Genotypes":
        """The same, as if the file had not these variants (p,)."""
        return replace(
            self,
            place=np.where(absent, -1, self.place),
            turned=self.turned & ~absent,
            harmony=np.where(absent, 0, self.harmony).astype(np.int8),
        )

    def read(self, start: int, stop: int) -> Calls:
        """(n, stop - start) copies of the effect allele, -1 missing, in Fortran's order.

        Variants that this DIZ lacks are missing throughout.

        Raises:
            InputError: The .bed became shorter.
        """
        return self.pick(np.arange(start, stop, dtype=np.int64))

    def pick(self, indices: Int) -> Calls:
        """(n, len(indices)) the same for scattered variants of the panel."""
        place = self.place[indices]
        there = np.flatnonzero(place >= 0)
        if len(there) == len(indices):
            return self._calls(place, self.turned[indices]).T
        calls = np.full((len(indices), len(self.rows)), -1, dtype=np.int8)
        if len(there):
            calls[there] = self._calls(place[there], self.turned[indices[there]])
        return calls.T

    @cached_property
    def _everyone(self) -> bool:
        """Whether the samples are those of the file, in its order."""
        return len(self.rows) == self.people and bool((self.rows == np.arange(self.people)).all())

    def _calls(self, place: Int, turned: npt.NDArray[np.bool_]) -> Calls:
        """(k, n) calls of variants of the file."""
        raw = self._raw(place)
        fours = _STRAIGHT.take(raw)
        if len(round_ := np.flatnonzero(turned)):
            fours[round_] = _ROUND.take(raw[round_])
        calls = fours.view(np.int8)
        return calls[:, : self.people] if self._everyone else calls.take(self.rows, axis=1)

    def _raw(self, place: Int) -> npt.NDArray[np.uint8]:
        """(k, bytes) as they are in the file: stretches of neighbours are read at once."""
        width = -(-self.people // 4)
        with self.bed.open("rb") as file:
            if len(place) and bool((np.diff(place) == 1).all()):
                return _read(file, int(place[0]), int(place[-1]) + 1, width)
            wanted, back = np.unique(place, return_inverse=True)
            raw = np.empty((len(wanted), width), dtype=np.uint8)
            edges = [0, *(np.flatnonzero(np.diff(wanted) > _GAP) + 1).tolist(), len(wanted)]
            for start, stop in pairwise(edges):
                first = int(wanted[start])
                block = _read(file, first, int(wanted[stop - 1]) + 1, width)
                raw[start:stop] = block[wanted[start:stop] - first]
        return raw[back]


def _read(file: BinaryIO, first: int, end: int, width: int) -> npt.NDArray[np.uint8]:
    file.seek(len(HEADER) + first * width)
    block = file.read((end - first) * width)
    if len(block) != (end - first) * width:
        raise InputError("The .bed file became shorter while it was read; leave the store's files alone.")
    return np.frombuffer(block, dtype=np.uint8).reshape(end - first, width)
