"""Panels: the agreed list of variants, in the agreed order, with the agreed alleles.

Names cannot leave a DIZ through a release contract, and DIZ need not have genotyped the same variants. The list is
therefore part of the app: every DIZ approves it with the code, lays its genotypes out in this order, counts the allele
that the panel calls ``alt`` (`harmonise` says how), and the hub knows which variant row j is.

A further panel is a file ``panels/NAME.json`` (`panel_file` says what is in it), chosen by the run config ``panel``;
`python -m gwas panel` writes one, and prints one with ``--show``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError

BUILDS = ("NCBI36", "GRCh37", "GRCh38", "made-up")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

AUTOSOMES = 22
X, Y, PAR, MT = 23, 24, 25, 26
_WORDS = {str(code): code for code in range(1, 27)}
_WORDS |= {"X": X, "Y": Y, "XY": PAR, "PAR": PAR, "PAR1": PAR, "PAR2": PAR, "M": MT, "MT": MT}
_NAMES = {X: "X", Y: "Y", PAR: "XY", MT: "MT"}

Names = npt.NDArray[np.object_]
"""Texts; a fixed width would make each as long as the longest insertion."""


@dataclass(frozen=True, eq=False)
class Panel:
    """The variants of one study, by chromosome and position.

    Attributes:
        name: The name of its file.
        title: What the variants are.
        origin: Where the list comes from.
        build: One of `BUILDS`.
        chromosome: (p,) 1 to 22, `X`, `Y`, `PAR` (both pseudo-autosomal regions) and `MT`.
        position: (p,) from 1.
        ref: (p,) texts: the reference allele.
        alt: (p,) texts: the effect allele, which is counted.
        alt_frequency: (p,) of a reference population, NaN where unknown; nobody's at a DIZ.
        stored_ids: (p,) texts; empty where the variant has no name but chromosome:position:ref:alt.
    """

    name: str
    title: str
    origin: str
    build: str
    chromosome: npt.NDArray[np.uint8]
    position: npt.NDArray[np.int64]
    ref: Names
    alt: Names
    alt_frequency: npt.NDArray[np.float32]
    stored_ids: Names

    @property
    def size(self) -> int:
        """Number of variants, p."""
        return len(self.position)

    @cached_property
    def id(self) -> Names:
        """(p,) texts: what each variant is called."""
        found = self.stored_ids.copy()
        for row in np.flatnonzero(found == ""):
            found[row] = self.key(int(row))
        return found

    def key(self, row: int) -> str:
        """A variant as chromosome:position:ref:alt."""
        name = chromosome_name(int(self.chromosome[row]))
        return f"{name}:{self.position[row]}:{self.ref[row]}:{self.alt[row]}"

    def chunks(self, width: int) -> Iterator[tuple[int, int]]:
        """Ranges of at most `width` rows, in order, none of them over two chromosomes."""
        for first, end in self.stretches():
            for start in range(first, end, width):
                yield start, min(start + width, end)

    def stretches(self) -> list[tuple[int, int]]:
        """The rows of each chromosome that the panel has, in order."""
        if not self.size:
            return []
        edges = [0, *(np.flatnonzero(np.diff(self.chromosome)) + 1).tolist(), self.size]
        return list(pairwise(edges))


def chromosome_code(word: str) -> int:
    """The code of a chromosome as files write it, 0 for none that is known.

    >>> chromosome_code("chr7"), chromosome_code("X"), chromosome_code("MT"), chromosome_code("HSCHR1_CTG1")
    (7, 23, 26, 0)
    """
    return _WORDS.get(re.sub(r"^chr", "", word.strip(), flags=re.IGNORECASE).upper(), 0)


def chromosome_name(code: int) -> str:
    """The usual name of a code."""
    return _NAMES.get(code, str(code))


@lru_cache(maxsize=4)
def load_panel(name: str) -> Panel:
    """The panel of this name.

    Raises:
        InputError: There is no such panel, or its file is not one.
    """
    from gwas.panel_file import decode  # noqa: PLC0415 -- that module needs this one

    folder = files("gwas") / "panels"
    file = folder / f"{name}.json"
    if not NAME.fullmatch(name) or not file.is_file():
        known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
        raise InputError(
            f"There is no panel {name!r}; choose one of {', '.join(known)}, or write one with `python -m gwas panel`."
        )
    return decode(name, file.read_text(encoding="utf-8"))
