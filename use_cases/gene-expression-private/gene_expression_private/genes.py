"""The declared genes, with the public constants that standardise their log2 expression: `genes.json` of the app.

A list of one's own is a CSV with the columns gene, centre and scale. Both numbers are public, from annotation, an
earlier study or other people's arrays, never from the patients of this study; a scale of two standard deviations suits
the noise (see `terms`).
"""

import csv
import json
import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gene_expression_private.errors import InputError

MOST_GENES = 30
LOW, HIGH = 0.0, 24.0
"""Bounds of a log2 expression value; what lies beyond is set to the bound."""


@dataclass(frozen=True)
class Gene:
    """A gene: its column's name, and what standardises it (log2 units)."""

    name: str
    centre: float
    scale: float


def own_genes() -> tuple[Gene, ...]:
    """Those of the app."""
    said = json.loads((files("gene_expression_private") / "genes.json").read_text(encoding="utf-8"))
    return tuple(Gene(str(name), float(centre), float(scale)) for name, centre, scale in said)


def read_genes(file: Path) -> tuple[Gene, ...]:
    """A list of one's own.

    Raises:
        InputError: It cannot be read, or is no such list.
    """
    try:
        return parse(file.read_text(encoding="utf-8-sig"), file.name)
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{file.name} cannot be read as text; give a CSV with gene, centre and scale.") from None


def parse(text: str, name: str) -> tuple[Gene, ...]:
    """Genes from CSV text; `name` is for the errors."""
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"gene", "centre", "scale"} <= set(rows[0]):
        raise InputError(f"{name} needs the columns gene, centre and scale, and a line for each gene.")
    if len(rows) > MOST_GENES:
        raise InputError(f"{name} names {len(rows)} genes; choose at most {MOST_GENES}, noise is shared by all.")
    try:
        found = tuple(Gene(row["gene"].strip(), float(row["centre"]), float(row["scale"])) for row in rows)
    except (TypeError, ValueError, AttributeError):
        raise InputError(f"{name} has a centre or a scale that is no number; fill them in.") from None
    names = [gene.name for gene in found]
    if len(set(names)) < len(names) or not all(names):
        raise InputError(f"{name} names a gene twice or has an empty name; each needs one line.")
    if any('"' in gene or not gene.isprintable() for gene in names):
        raise InputError(f"{name} has a gene name with quotes or control characters; use the columns' plain names.")
    if not all(LOW <= gene.centre <= HIGH and math.isfinite(gene.scale) and gene.scale > 0 for gene in found):
        raise InputError(f"{name} needs centres from {LOW:g} to {HIGH:g} and scales above 0, in log2 units.")
    return found
