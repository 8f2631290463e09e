"""Summary statistics as the GWAS Catalog takes them, GWAS-SSF v1.0, and the file that describes them.

After the standard's text (Hayhurst et al., "A community driven GWAS summary statistics standard", 2022): a table with
tabs, compressed; the mandatory columns first and in their order; X, Y and the mitochondria as 23, 24 and 25; sorted;
``#NA`` where something is unknown. Where a p value is too small for floating point, the whole table has
``neg_log_10_p_value`` in place of ``p_value``. ``panel_id`` is a column more: what the panel calls the variant, so that
``plink --clump`` finds it again.

Variants without a result are not in the table, and neither are those with alleles that are no sequence of A, C, G and
T, which the standard does not know; these are counted.
"""

import gzip
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from flame_strategies.output import write_atomically

from gwas.panel import MT, PAR, Panel, X
from gwas.results import Associations, Table

NAME = "summary-statistics.tsv.gz"
MISSING = "#NA"

UNDERFLOW = 300.0
"""A largest -log10 p above this is written as logarithms."""

_SEQUENCE = re.compile(r"[ACGT]+")
_RS = re.compile(r"rs[0-9]+")
_READ = ("index", "n", "alt_count", "beta", "se", "p", "log10p")


@dataclass(frozen=True)
class Written:
    """What is in the file.

    Attributes:
        rows: Variants.
        other_alleles: Variants that have a result and are not in it.
        least_frequency: Smallest frequency of a rarer allele, NaN without rows.
        md5: Of the compressed file.
    """

    rows: int
    other_alleles: int
    least_frequency: float
    md5: str


def write(folder: Path, associations: Associations, panel: Panel, largest: float) -> Written:
    """Write the table; in constant memory, but for the pseudo-autosomal regions, which are sorted into X.

    Args:
        folder: The run's folder.
        associations: The tests.
        panel: Whose variants they are of.
        largest: The largest -log10 p.
    """
    import pyarrow as pa  # noqa: PLC0415 -- only for this
    from pyarrow import csv  # noqa: PLC0415

    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    names = columns(largest)
    rows, other, least = 0, 0, np.inf
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{NAME}.")
    try:
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as file:
            out = cast("BinaryIO", file)
            out.write("\t".join(names).encode() + b"\n")
            for part in _in_order(associations, panel):
                table, left_out = _rows(part, panel, names)
                other += left_out
                if len(table["n"]):
                    csv.write_csv(pa.table(table), out, options)
                    rows += len(table["n"])
                    frequency = table["effect_allele_frequency"]
                    least = min(least, float(np.minimum(frequency, 1 - frequency).min()))
        path = Path(temporary)
        path.chmod(0o644)
        path.replace(folder / NAME)
    finally:
        Path(temporary).unlink(missing_ok=True)
    with (folder / NAME).open("rb") as finished:
        md5 = hashlib.file_digest(finished, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return Written(rows, other, float(least) if rows else float("nan"), md5)


def columns(largest: float) -> tuple[str, ...]:
    """The table's columns, those that the standard demands first."""
    p = "neg_log_10_p_value" if largest > UNDERFLOW else "p_value"
    return (
        *("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error"),
        *("effect_allele_frequency", p, "variant_id", "rsid", "n", "panel_id"),
    )


def write_meta(folder: Path, written: Written, about: Mapping[str, Any], today: datetime | None = None) -> None:
    """Write the description beside the table, as YAML whose values are JSON.

    Args:
        folder: The run's folder.
        written: What the table holds.
        about: Of the standard's keys: ``genome_assembly``, ``trait_description``, ``samples`` ...
        today: When; now by default.
    """
    stamp = {
        "date_metadata_last_modified": (today or datetime.now(UTC)).date().isoformat(),
        **about,
        "coordinate_system": "1-based",
        "data_file_name": NAME,
        "file_type": "GWAS-SSF v1.0",
        "data_file_md5sum": written.md5,
        "is_harmonised": False,
        "is_sorted": True,
    }
    if np.isfinite(written.least_frequency):
        stamp["minor_allele_freq_lower_limit"] = round(written.least_frequency, 6)
    lines = []
    for key, value in stamp.items():
        # a date is one only without quotation marks
        text = value if key == "date_metadata_last_modified" else json.dumps(value, ensure_ascii=False)
        lines.append(f"{key}: {text}\n")
    write_atomically(folder / f"{NAME}-meta.yaml", "".join(lines).encode())


def code(chromosome: int) -> int:
    """The standard's number of a chromosome."""
    return {PAR: X, MT: 25}.get(chromosome, chromosome)


def _in_order(associations: Associations, panel: Panel) -> Iterator[Table]:
    """The tests by the standard's chromosome and position."""
    shared = [part for part, chromosome in _parts(associations, panel) if chromosome == PAR]
    waiting = {name: np.concatenate([np.empty(0), *(part[name] for part in shared)]) for name in _READ}
    for part, chromosome in _parts(associations, panel):
        if chromosome == PAR:
            continue
        if chromosome >= X and len(waiting["index"]):
            end = panel.position[part["index"][-1]] if chromosome == X else np.iinfo(np.int64).max
            now = panel.position[waiting["index"].astype(np.int64)] <= end
            yield _sorted({name: np.concatenate([waiting[name][now], part[name]]) for name in _READ}, panel)
            waiting = {name: waiting[name][~now] for name in _READ}
        else:
            yield part
    if len(waiting["index"]):
        yield waiting


def _parts(associations: Associations, panel: Panel) -> Iterator[tuple[Table, int]]:
    """What was tested, and of which chromosome."""
    for part in associations.tested(_READ):
        if len(part["index"]):
            yield part, int(panel.chromosome[part["index"][0]])


def _sorted(part: Table, panel: Panel) -> Table:
    index = part["index"].astype(np.int64)
    order = np.lexsort([panel.position[index], np.array([code(int(c)) for c in panel.chromosome[index]])])
    return {name: part[name][order] for name in part}


def _rows(part: Table, panel: Panel, names: tuple[str, ...]) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """The table's columns of one part, and how many variants have other alleles."""
    index = part["index"].astype(np.int64)
    plain = [
        bool(_SEQUENCE.fullmatch(a) and _SEQUENCE.fullmatch(b))
        for a, b in zip(panel.alt[index], panel.ref[index], strict=True)
    ]
    kept = np.array(plain, dtype=np.bool_)
    index = index[kept]
    chromosome = np.array([code(int(c)) for c in panel.chromosome[index]], dtype=np.int64)
    position, alt, ref = panel.position[index], panel.alt[index], panel.ref[index]
    ids = panel.id[index]
    n = part["n"][kept].astype(np.int64)
    found: dict[str, npt.NDArray[Any]] = {
        "chromosome": chromosome,
        "base_pair_location": position,
        "effect_allele": alt,
        "other_allele": ref,
        "beta": part["beta"][kept],
        "standard_error": part["se"][kept],
        "effect_allele_frequency": np.clip(part["alt_count"][kept] / np.maximum(2 * n, 1), 0.0, 1.0),
        "p_value": part["p"][kept],
        "neg_log_10_p_value": part["log10p"][kept],
        "variant_id": np.array(
            [f"{c}_{b}_{r}_{a}" for c, b, r, a in zip(chromosome, position, ref, alt, strict=True)], dtype=object
        ),
        "rsid": np.array([name if _RS.fullmatch(name) else MISSING for name in ids], dtype=object),
        "n": n,
        "panel_id": ids,
    }
    return {name: found[name] for name in names}, int((~kept).sum())
