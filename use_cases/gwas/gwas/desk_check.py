"""`check`: how a DIZ's files fit a panel, before it offers them. What is printed stays at the DIZ.

The same steps as at a run: the variants are matched (`harmonise`), and files of another genome build are refused.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gwas.errors import InputError
from gwas.harmonise import (
    ABSENT,
    AMBIGUOUS,
    AS_IS,
    BOTH,
    FLIPPED,
    OTHER_ALLELES,
    SWAPPED,
    TWICE,
    Match,
)
from gwas.panel import Panel, chromosome_name, load_panel
from gwas.prepare import STORE
from gwas.store import BED_FILE, check_bed, matched, read_bim, read_fam

TEXTS = {
    AS_IS: "as the panel has them",
    SWAPPED: "with swapped alleles, turned round",
    FLIPPED: "on the other strand, turned round",
    BOTH: "swapped and on the other strand, turned round",
    ABSENT: "not there",
    AMBIGUOUS: "A/T or C/G, left out",
    OTHER_ALLELES: "with other alleles, left out",
    TWICE: "there more than once, left out",
}

_MANY = 0.1
_GAP = 0.5


def check_files(source: Path, panel_name: str, ambiguous: str) -> Iterator[str]:
    """Lines for a person, of one .bed, one store, or all stores of a folder that `prepare` wrote.

    Raises:
        InputError: A file cannot be used.
    """
    panel = load_panel(panel_name)
    if not source.exists():
        raise InputError(f"{source} is not there; check the path. Give a .bed, a data store, or a folder of prepare.")
    if source.is_file() and source.suffix != ".bed":
        raise InputError(
            f"check reads .bed files and data stores; prepare {source.name} first (python -m gwas prepare --own), and "
            "give the folder that it wrote."
        )
    beds = [source] if source.suffix == ".bed" else sorted(source.glob(f"*/{STORE}/{BED_FILE}"))
    if not beds and (source / BED_FILE).is_file():
        beds = [source / BED_FILE]
    if not beds:
        raise InputError(f"{source} is no .bed, no data store and no folder that prepare wrote.")
    for bed in beds:
        yield from _check_one(bed, panel, ambiguous)


def _check_one(bed: Path, panel: Panel, ambiguous: str) -> Iterator[str]:
    people, variants = read_fam(bed.with_suffix(".fam")), read_bim(bed.with_suffix(".bim"))
    check_bed(bed, len(people), len(variants.position))
    yield f"{bed}: {len(people)} samples, {len(variants.position)} variants"
    match = matched(panel, variants, ambiguous, (bed, len(people), np.arange(len(people))))
    used = int((match.place >= 0).sum())
    yield f"  of the panel's {panel.size} variants {used} are used"
    for code, text in TEXTS.items():
        if count := int((match.harmony == code).sum()):
            yield f"  {count:>9} {text}"
    extra = len(variants.position) - len(np.unique(match.place[match.place >= 0]))
    yield f"  {extra:>9} variants of the file are not used"
    yield from _hints(match, panel, ambiguous)


def _hints(match: Match, panel: Panel, ambiguous: str) -> Iterator[str]:
    """What a person should look at."""
    missing = [
        chromosome_name(int(panel.chromosome[start]))
        for start, stop in panel.stretches()
        if (match.place[start:stop] < 0).mean() > _GAP
    ]
    if missing:
        yield f"  LOOK: most variants of chromosome {', '.join(missing)} are not there."
    known = max(1, int((match.harmony > ABSENT).sum()))
    flipped = int(np.isin(match.harmony, (FLIPPED, BOTH)).sum())
    if flipped and ambiguous == "keep":
        yield (
            f"  LOOK: {flipped} variants are on the other strand, so A/T and C/G ones cannot be trusted: state "
            'ambiguous = "drop" or "frequency".'
        )
    if int((match.harmony == OTHER_ALLELES).sum()) > _MANY * known:
        yield "  LOOK: many variants have other alleles; compare the genome build and how alleles are written."
    if not (match.place >= 0).any():
        yield "  LOOK: no variant can be used: another genome build, another panel, or chromosomes with other names."
