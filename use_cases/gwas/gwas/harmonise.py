"""Which of a file's variants is which of the panel's, and whether its A1 is the panel's effect allele.

Variants are matched by chromosome, position and the pair of alleles, in either order and on either strand:

====  =====================================================================================
code  what it says of a variant of the panel at a DIZ
====  =====================================================================================
0     the DIZ has nothing at this position
1     its A1 is the panel's ``alt``
2     its A1 is the panel's ``ref``: the alleles are swapped
3     as 1, on the other strand (A for T, C for G; longer alleles are turned round as well)
4     as 2, on the other strand
5     A/T or C/G, whose letters do not say the strand, and left out
6     the DIZ has other alleles at this position
7     the DIZ has the variant more than once
====  =====================================================================================

A variant is used at a DIZ with the codes 1 to 4. For A/T and C/G variants ``keep`` believes that all DIZ and the panel
are on one strand; ``drop`` believes nothing; ``frequency`` compares the effect allele's frequency at the DIZ with the
panel's: where both clearly lie on one side of a half the letters stand, where they lie on two sides the strand is the
other one, and where either minor frequency is `NEAR_HALF` or above the variant is left out. A position where PLINK 1
wrote 0 for an allele that nobody carries is matched by the other allele.

What differs between genome builds is the position of a named variant: `check_build` looks at the names that the file
and the panel share.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.panel import Names, Panel

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

ABSENT, AS_IS, SWAPPED, FLIPPED, BOTH, AMBIGUOUS, OTHER_ALLELES, TWICE = range(8)
CODES = 8

NEAR_HALF = 0.4
"""Minor frequencies from here on do not tell a strand."""

FEWEST_NAMES = 20
"""Shared names below which nothing is said of the build."""

_NAMES = 20_000
"""Of the panel, that are looked for in the file."""

_NOBODY = "0"
_TURN = str.maketrans("ACGT", "TGCA")
_OTHER = {"A": "T", "C": "G", "G": "C", "T": "A"}


@dataclass(frozen=True, eq=False)
class Variants:
    """The rows of a .bim.

    Attributes:
        chromosome: (v,) codes, 0 for one that is not known.
        position: (v,) from 1.
        a1: (v,) texts: the allele whose copies the .bed counts.
        a2: (v,) texts.
        id: (v,) texts.
    """

    chromosome: npt.NDArray[np.uint8]
    position: Int
    a1: Names
    a2: Names
    id: Names


@dataclass(frozen=True, eq=False)
class Match:
    """The panel's variants in a file.

    Attributes:
        place: (p,) row of the file, -1 where the DIZ does not have the variant.
        turned: (p,) whether A1 is the panel's reference allele.
        harmony: (p,) int8 codes, see above.
    """

    place: Int
    turned: Bool
    harmony: npt.NDArray[np.int8]


def harmonise(
    panel: Panel, variants: Variants, ambiguous: str, frequency: Callable[[Int], Float] | None = None
) -> Match:
    """Match a file with the panel.

    Args:
        panel: The panel.
        variants: The file's.
        ambiguous: What becomes of A/T and C/G variants: drop, keep or frequency.
        frequency: Of A1 in the rows it is given, NaN without calls; asked where `ambiguous` is "frequency".

    Raises:
        InputError: The file is of another genome build, or its alleles are not letters.
    """
    check_build(panel, variants)
    harmony = np.zeros(panel.size, dtype=np.int8)
    ours, theirs = _place(panel.chromosome, panel.position), _place(variants.chromosome, variants.position)
    harmony[np.isin(ours, theirs)] = OTHER_ALLELES
    mine, other, swapped, flipped = _pairs(panel, variants, ours, theirs)
    often = np.bincount(mine, minlength=panel.size)
    harmony[often > 1] = TWICE
    once = often[mine] == 1
    mine, other, swapped, flipped = mine[once], other[once], swapped[once], flipped[once]
    unclear = np.array(
        [_OTHER.get(ref) == alt for ref, alt in zip(panel.ref[mine].tolist(), panel.alt[mine].tolist(), strict=True)],
        dtype=bool,
    )
    left_out = np.zeros(len(mine), dtype=bool)
    if ambiguous == "drop":
        left_out = unclear
    elif ambiguous == "frequency":
        rows = np.flatnonzero(unclear)
        counted = np.full(len(rows), np.nan) if frequency is None else frequency(other[rows])
        here = np.where(swapped[rows], 1 - counted, counted)
        there = panel.alt_frequency[mine[rows]].astype(np.float64)
        clear = _minor(here) < NEAR_HALF
        clear &= _minor(there) < NEAR_HALF
        left_out[rows] = ~clear
        across = rows[clear & ((here > 0.5) != (there > 0.5))]
        swapped[across], flipped[across] = ~swapped[across], True
    place = np.full(panel.size, -1, dtype=np.int64)
    turned = np.zeros(panel.size, dtype=bool)
    place[mine[~left_out]] = other[~left_out]
    turned[mine] = swapped
    harmony[mine] = np.where(left_out, AMBIGUOUS, AS_IS + swapped + 2 * flipped)
    _check_alleles(panel, harmony)
    return Match(place, turned & (place >= 0), harmony)


def check_build(panel: Panel, variants: Variants) -> None:
    """Variants of one name have one position.

    Raises:
        InputError: Most of them have not.
    """
    chosen = range(0, panel.size, -(-panel.size // _NAMES))
    named = {name: row for row in chosen if (name := panel.stored_ids[row])}
    shared = [(row, named[name]) for row, name in enumerate(variants.id.tolist()) if name in named]
    if len(shared) < FEWEST_NAMES:
        return
    theirs, ours = np.array(shared, dtype=np.int64).T
    known = variants.chromosome[theirs] > 0
    moved = (variants.position[theirs] != panel.position[ours]) & known
    if moved.sum() > known.sum() / 2:
        raise InputError(
            f"{int(moved.sum())} of {int(known.sum())} variants that the file and the panel name alike are at other "
            f"positions: the file is of another genome build than the panel {panel.name!r} ({panel.build}). Lift its "
            "positions over to that build, or choose a panel of the file's."
        )


def _check_alleles(panel: Panel, harmony: npt.NDArray[np.int8]) -> None:
    known, strange = int((harmony > ABSENT).sum()), int((harmony == OTHER_ALLELES).sum())
    if known >= FEWEST_NAMES and strange > known / 2:
        raise InputError(
            f"{strange} of {known} variants at positions of the panel {panel.name!r} have other alleles there: the "
            f"file is of another genome build than {panel.build}, or its alleles are not written as A, C, G and T (but "
            "as 1 and 2, A and B). Lift it over, or export it anew with letters."
        )


def complement(allele: str) -> str:
    """An allele on the other strand; what is not made of A, C, G and T has none, and stays.

    >>> complement("A"), complement("ACC"), complement("<DEL>")
    ('T', 'GGT', '<DEL>')
    """
    if len(allele) == 1:
        return _OTHER.get(allele, allele)
    return allele.translate(_TURN)[::-1] if set(allele) <= set(_OTHER) else allele


def _place(chromosome: npt.NDArray[np.uint8], position: Int) -> Int:
    return chromosome.astype(np.int64) << 40 | position


def _minor(frequency: Float) -> Float:
    return np.where(np.isnan(frequency), 1.0, np.minimum(frequency, 1 - frequency))


def _pairs(panel: Panel, variants: Variants, ours: Int, theirs: Int) -> tuple[Int, Int, Bool, Bool]:
    """Rows of the panel and of the file that are one variant, whether they are swapped, and on another strand."""
    order = np.argsort(ours, kind="stable")
    first = np.searchsorted(ours[order], theirs, side="left")
    count = np.searchsorted(ours[order], theirs, side="right") - first
    count[variants.chromosome == 0] = 0
    other = np.repeat(np.arange(len(theirs)), count)
    step = np.arange(len(other)) - np.repeat(np.cumsum(count) - count, count)
    mine = order[first[other] + step]
    texts: dict[str, int] = {}
    ref, alt, a1, a2 = (
        _coded(column, texts) for column in (panel.ref[mine], panel.alt[mine], variants.a1[other], variants.a2[other])
    )
    opposite = np.array([texts.setdefault(complement(text), len(texts)) for text in list(texts)], dtype=np.int64)
    nobody = texts.get(_NOBODY, -1)
    unknown = (a1 == nobody) & (a2 == nobody)
    same = _alike(a1, alt, nobody) & _alike(a2, ref, nobody)
    swap = _alike(a1, ref, nobody) & _alike(a2, alt, nobody)
    c_alt, c_ref = opposite[alt], opposite[ref]
    flip = _alike(a1, c_alt, nobody) & _alike(a2, c_ref, nobody)
    both = _alike(a1, c_ref, nobody) & _alike(a2, c_alt, nobody)
    straight, known = same | swap, (same | swap | flip | both) & ~unknown
    swapped = np.where(straight, ~same, ~flip)
    return mine[known], other[known], swapped[known], ~straight[known]


def _alike(theirs: Int, ours: Int, nobody: int) -> Bool:
    return np.asarray((theirs == ours) | (theirs == nobody))


def _coded(column: Names, texts: dict[str, int]) -> Int:
    """Texts as numbers; the same text has the same number in all columns."""
    return np.fromiter((texts.setdefault(text, len(texts)) for text in column.tolist()), np.int64, len(column))
