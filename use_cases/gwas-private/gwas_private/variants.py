"""The declared variants and the trait, with the public constants that standardise them: `variants.json` of the app.

A list of one's own is a CSV with the columns variant, chromosome, position, effect_allele, other_allele and frequency:
the effect allele's in a public reference panel. From it follow, under Hardy-Weinberg, the centre 2 f and the scale, two
standard deviations of a dosage (see `terms` for why two). The trait's centre and scale (two standard deviations) are
public too: from the literature or an earlier study, never from the patients of this one.
"""

import csv
import json
import math
import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from gwas_private.errors import InputError

MOST_VARIANTS = 50
LEAST_FREQUENCY = 0.05
"""Of the rarer allele: a rarer one stands out less from the noise, and its carriers stand out more."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}")
_ALLELE = re.compile(r"[ACGT]{1,50}")
_COLUMNS = ("variant", "chromosome", "position", "effect_allele", "other_allele", "frequency")


@dataclass(frozen=True)
class Variant:
    """A variant.

    Attributes:
        name: Its column's name.
        chromosome: "1" to "22".
        position: Of the genome build that the study declares, from 1.
        effect_allele: Dosages count it.
        other_allele: The other one.
        frequency: Of the effect allele, public.
    """

    name: str
    chromosome: str
    position: int
    effect_allele: str
    other_allele: str
    frequency: float

    @property
    def centre(self) -> float:
        """The mean dosage in the reference panel."""
        return 2 * self.frequency

    @property
    def scale(self) -> float:
        """Two standard deviations of a dosage under Hardy-Weinberg."""
        return 2 * math.sqrt(2 * self.frequency * (1 - self.frequency))


@dataclass(frozen=True)
class Trait:
    """A quantitative trait: its column, bounds, and what standardises it, in its own unit."""

    name: str
    low: float
    high: float
    centre: float
    scale: float


@dataclass(frozen=True)
class Study:
    """What a release is about."""

    trait: Trait
    variants: tuple[Variant, ...]


def own_study() -> Study:
    """That of the app."""
    said = json.loads((files("gwas_private") / "variants.json").read_text(encoding="utf-8"))
    return Study(Trait(**said["trait"]), tuple(Variant(*row) for row in said["variants"]))


def parse_trait(text: str) -> Trait:
    """A trait of one's own, "NAME:LOW:HIGH:CENTRE:SCALE".

    Raises:
        InputError: It is none.
    """
    name, *numbers = text.split(":")
    try:
        low, high, centre, scale = map(float, numbers)
    except ValueError:
        raise InputError("Write the trait as NAME:LOW:HIGH:CENTRE:SCALE with four numbers in its own unit.") from None
    fits = _NAME.fullmatch(name) and low <= centre <= high and scale > 0 and all(map(math.isfinite, (low, high, scale)))
    if not fits:
        raise InputError("A trait needs a plain name, a centre between its bounds, and a scale above 0.")
    return Trait(name, low, high, centre, scale)


def as_json(study: Study) -> str:
    """`variants.json`."""
    rows = [[v.name, v.chromosome, v.position, v.effect_allele, v.other_allele, v.frequency] for v in study.variants]
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    return f'{{\n "trait": {json.dumps(asdict(study.trait))},\n "variants": [\n  {lines}\n ]\n}}\n'


def read_variants(file: Path) -> tuple[Variant, ...]:
    """A list of one's own.

    Raises:
        InputError: It cannot be read, or is no such list.
    """
    try:
        return parse(file.read_text(encoding="utf-8-sig"), file.name)
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{file.name} cannot be read as text; give a CSV with {', '.join(_COLUMNS)}.") from None


def parse(text: str, name: str) -> tuple[Variant, ...]:
    """Variants from CSV text; `name` is for the errors.

    Raises:
        InputError: It is no such list.
    """
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not set(_COLUMNS) <= set(rows[0]):
        raise InputError(f"{name} needs the columns {', '.join(_COLUMNS)}, and a line for each variant.")
    if len(rows) > MOST_VARIANTS:
        raise InputError(f"{name} names {len(rows)} variants; choose at most {MOST_VARIANTS}, noise is shared by all.")
    found = tuple(_variant(row, name) for row in rows)
    if len({variant.name for variant in found}) < len(found):
        raise InputError(f"{name} names a variant twice; each needs one line.")
    return found


def _variant(row: dict[str, str | None], name: str) -> Variant:
    words = [(row[column] or "").strip() for column in _COLUMNS]
    try:
        variant = Variant(words[0], words[1], int(words[2]), words[3].upper(), words[4].upper(), float(words[5]))
    except ValueError:
        raise InputError(f"{name} has a position or a frequency that is no number; fill them in.") from None
    alleles = (variant.effect_allele, variant.other_allele)
    if not _NAME.fullmatch(variant.name) or not all(_ALLELE.fullmatch(a) for a in alleles) or len(set(alleles)) < 2:
        raise InputError(f"{name} has a variant without a plain name, or without two different alleles of A, C, G, T.")
    if variant.chromosome not in {str(number) for number in range(1, 23)} or variant.position < 1:
        raise InputError(f"{name} has a chromosome other than 1 to 22, or no position; leave that variant out.")
    if not LEAST_FREQUENCY <= variant.frequency <= 1 - LEAST_FREQUENCY:
        raise InputError(
            f"{name} has a frequency outside {LEAST_FREQUENCY:g} to {1 - LEAST_FREQUENCY:g}; rarer variants drown in "
            "the noise. Leave that variant out."
        )
    return variant
