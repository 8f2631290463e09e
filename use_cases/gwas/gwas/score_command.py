"""`score`: a DIZ applies a trained score to its own genotypes, at its desk; nothing leaves.

The table has a row per sample of the .fam: the score (the sum of weight times copies of the effect allele less their
mean; a missing call counts as the mean) and how many of the score's variants were called. Alleles are matched with the
model's as at a run. The score is the genetic part alone, in the phenotype's unit, with mean 0 among those it was
trained on: a difference between people, not a prediction by itself.
"""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.output import load_model, write_atomically

from gwas.errors import InputError
from gwas.genotypes import Genotypes
from gwas.harmonise import Match
from gwas.panel import Panel
from gwas.settings import AMBIGUOUS
from gwas.store import BED_FILE, check_bed, matched, read_bim, read_fam

KIND, SCHEMA = "polygenic score", 1


def register(commands: Any) -> None:
    """Add the command to `python -m gwas`."""
    command = commands.add_parser("score", help="apply a trained score to own genotypes; nothing leaves")
    command.add_argument("model", type=Path, metavar="MODEL", help="a run's folder, or its model.json")
    command.add_argument("--genotypes", type=Path, required=True, help="a .bed, or a data store")
    command.add_argument("--out", type=Path, required=True, help="table to write (.tsv)")
    command.add_argument("--ambiguous", choices=AMBIGUOUS[:2], default="drop", help="A/T and C/G variants")
    command.set_defaults(run=_main)


def apply(model: Path, genotypes: Path, out: Path, ambiguous: str = "drop") -> dict[str, int]:
    """Score the samples of a .bed.

    Args:
        model: A run's folder, or its ``model.json``.
        genotypes: A .bed, or the folder of a data store.
        out: The table.
        ambiguous: What becomes of A/T and C/G variants: "drop", or "keep" where all files are on one strand.

    Returns:
        Counts for a person: samples, variants of the score, and those that the file has.

    Raises:
        InputError: A file cannot be used, or has none of the score's variants.
    """
    arrays, metadata = _model(model)
    panel = panel_of(metadata)
    bed = genotypes if genotypes.suffix == ".bed" else genotypes / BED_FILE
    for file in (bed, bed.with_suffix(".bim"), bed.with_suffix(".fam")):
        if not file.is_file():
            raise InputError(f"{file} is not there; give a .bed with its .bim and .fam, or a data store.")
    people, variants = read_fam(bed.with_suffix(".fam")), read_bim(bed.with_suffix(".bim"))
    check_bed(bed, len(people), len(variants.position))
    rows = np.arange(len(people), dtype=np.int64)
    match = matched(panel, variants, ambiguous, (bed, len(people), rows))
    present = int((match.place >= 0).sum())
    if not present:
        raise InputError("The file has none of the score's variants; check the genome build, and the alleles' letters.")
    score, called = scores(arrays, bed, people, match)
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerow(["sample_id", "score", "variants"])
    writer.writerows(zip(people, map(repr, score.tolist()), called.tolist(), strict=True))
    write_atomically(out, lines.getvalue().encode())
    return {"samples": len(people), "variants of the score": panel.size, "of these in the file": present}


def scores(
    arrays: dict[str, npt.NDArray[Any]], bed: Path, people: list[str], match: Match
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(n,) scores, and (n,) how many variants were called."""
    rows = np.arange(len(people), dtype=np.int64)
    file = Genotypes(bed, len(people), rows, match.place, match.turned, match.harmony)
    calls = file.read(0, len(match.place))
    copies = np.where(calls < 0, 0.0, calls - arrays["mean"])
    return copies @ arrays["weights"], (calls >= 0).sum(axis=1)


def panel_of(metadata: dict[str, Any]) -> Panel:
    """The score's variants as a panel."""
    of = metadata["variants"]
    texts = {name: np.array(of[name], dtype=object) for name in ("id", "effect_allele", "other_allele")}
    return Panel(
        name=metadata["panel"],
        title="Variants of a score",
        origin="a run",
        build=metadata["build"],
        chromosome=np.array(of["chromosome"], dtype=np.uint8),
        position=np.array(of["position"], dtype=np.int64),
        ref=texts["other_allele"],
        alt=texts["effect_allele"],
        alt_frequency=np.full(len(of["position"]), np.nan, dtype=np.float32),
        stored_ids=texts["id"],
    )


def _model(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    try:
        arrays, metadata = load_model(path)
    except (OSError, ValueError):
        raise InputError(f"{path} holds no model; give the folder of a run with analysis = score.") from None
    if metadata.get("kind") != KIND or metadata.get("schema") != SCHEMA:
        raise InputError(f"{path} holds no polygenic score of this version.")
    return arrays, metadata


def _main(options: argparse.Namespace) -> None:
    for what, count in apply(options.model, options.genotypes, options.out, options.ambiguous).items():
        sys.stdout.write(f"{what}: {count}\n")
