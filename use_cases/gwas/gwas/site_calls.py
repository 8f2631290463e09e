"""The calls of a block of variants among chosen samples, haploid where the chromosome is.

Males have one copy of X, only males have Y, and everyone has one kind of mitochondria. A haploid call is 0 or 2 copies,
as a .bed file holds it; 1 is an error of the array and counts as missing. A variant lies on one chromosome, a chunk as
well.

Sums go through small blocks of floating-point numbers that stay in the processor's cache, with 0 for a missing call;
sums of copies and of their squares are whole numbers far below 2^53, and therefore exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.panel import MT, PAR, X, Y
from gwas.site import MALE, Bool, Float, Int, Site

Calls = npt.NDArray[np.int8]

_BLOCK = 200_000
"""Calls in one block of floating-point numbers."""


@dataclass(frozen=True, eq=False)
class Tally:
    """Of m variants among r samples.

    Attributes:
        missing: (m,) samples without a call.
        copies: (m,) of `alt`.
        squares: (m,) sum of squares of the copies.
        places: (k,) of the calls that are missing, as variant times r plus sample, rising.
    """

    missing: Int
    copies: Int
    squares: Int
    places: Int

    def genotypes(self, samples: int) -> tuple[Int, Int, Int]:
        """(m,) samples with no copy, one, and two."""
        two = (self.squares - self.copies) // 2
        one = self.copies - 2 * two
        return samples - self.missing - one - two, one, two


def autosomal(chromosome: npt.NDArray[np.uint8]) -> Bool:
    """(p,) whether everyone has two copies."""
    return np.asarray((chromosome < X) | (chromosome == PAR))


def chromosome_of(site: Site, start: int, stop: int) -> int:
    """The chromosome of a chunk.

    Raises:
        InputError: It does not lie within the panel, or spans two chromosomes.
    """
    if not 0 <= start < stop <= site.panel.size:
        raise InputError(f"The message asks for variants {start} to {stop}; the panel has {site.panel.size}.")
    first, last = (int(site.panel.chromosome[place]) for place in (start, stop - 1))
    if first != last:
        raise InputError("The message asks for variants of two chromosomes at once.")
    return first


def read_calls(site: Site, start: int, stop: int, keep: Bool) -> Calls:
    """Copies of `alt` among the samples of `keep`.

    Args:
        site: The DIZ's data.
        start: First place in the panel.
        stop: Place after the last.
        keep: (n,) which samples.

    Returns:
        (kept, stop - start) int8, -1 where there is no call; its columns lie together.
    """
    chromosome = chromosome_of(site, start, stop)
    calls = site.genotypes.read(start, stop)
    if not keep.all():
        calls = np.ascontiguousarray(calls.T[:, keep]).T
    if chromosome in (X, Y, MT):
        sex = site.sex[keep]
        haploid = np.ones(len(sex), dtype=np.bool_) if chromosome == MT else sex == MALE
        calls[haploid[:, None] & (calls == 1)] = -1
        if chromosome == Y:
            calls[sex != MALE] = -1
    return calls


def tally(calls: Calls) -> Tally:
    """Whole numbers alone; see `blocks`.

    Args:
        calls: (r, m) as `read_calls` gives them; missing ones are set to 0 in it.
    """
    places = take_missing(calls)
    copies, squares = np.empty((2, calls.shape[1]))
    ones = np.ones(len(calls))
    for of, block in blocks(calls):
        copies[of] = block @ ones
        squares[of] = np.einsum("ij,ij->i", block, block)
    return tallied(calls, places, copies, squares)


def take_missing(calls: Calls) -> Int:
    """(k,) places of the missing calls, see `Tally`; they are 0 in `calls` afterwards.

    Args:
        calls: (r, m) in Fortran's order.
    """
    samples = max(len(calls), 1)
    places = np.flatnonzero(calls.T < 0)
    variant = places // samples
    calls.T[variant, places - variant * samples] = 0
    return places


def tallied(calls: Calls, places: Int, copies: Float, squares: Float) -> Tally:
    """A `Tally` from sums in floating point."""
    samples, width = calls.shape
    missing = np.bincount(places // max(samples, 1), minlength=width)
    return Tally(missing, *(np.rint(sums).astype(np.int64) for sums in (copies, squares)), places)


def most_frequent(calls: Calls) -> Calls:
    """(m,) what a missing call counts as with ``missing = "impute"``: the DIZ's most frequent one, the lowest of a tie.

    A mean would be a number of its own: beside the called ones it shows the DIZ's frequency, and in sums that are not
    linear in the copies it makes those without a call a group of their own.

    Args:
        calls: (n, m) of the analysed samples, -1 missing.

    Returns:
        int8, 0 where nobody is called.
    """
    by_variant = calls.T
    often = np.stack([(by_variant == copies).sum(axis=1) for copies in range(3)])
    return often.argmax(axis=0).astype(np.int8)


def blocks(calls: Calls) -> Iterator[tuple[slice, Float]]:
    """Variants block by block, (width, r) float64; each overwrites the one before."""
    samples, width = calls.shape
    step = max(1, min(width, _BLOCK // max(samples, 1)))
    buffer = np.empty((step, samples))
    for start in range(0, width, step):
        of = slice(start, min(start + step, width))
        block = buffer[: of.stop - start]
        np.copyto(block, calls.T[of])
        yield of, block
