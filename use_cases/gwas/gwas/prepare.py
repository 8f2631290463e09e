"""`prepare`: a packaged set or own files to one folder per DIZ, in the form that `store` reads.

    OUT/DIZ-1/genotypes/{samples.parquet, genotypes.bed, genotypes.bim, genotypes.fam}
    OUT/DIZ-2/...
    OUT/prepared.json        what was written, from what

Genotypes are read and written in blocks of variants: what is in memory does not grow with their number. One patient in
five is marked "test": a polygenic score is evaluated on them, and every other analysis takes all samples.

Invariants: OUT appears complete or not at all (it is written beside and renamed); a second call with the same arguments
does nothing; a folder that this command did not write is never touched.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwas import packaged
from gwas.errors import InputError
from gwas.genotypes import HEADER
from gwas.harmonise import Variants, complement
from gwas.own import Own, read_own
from gwas.packaged import Delivery
from gwas.presets import PRESETS
from gwas.readers import Source, packed
from gwas.settings import PATIENT_ID, SAMPLE_ID, SPLIT
from gwas.store import BED_FILE, BIM_FILE, FAM_FILE, SAMPLES_FILE
from gwas.tables import numbers

STAMP = "prepared.json"
STORE = "genotypes"
LAYOUT = 1
"""Version of what is written; raise it when the files change."""

_HELD_OUT = 5
"""Where nothing says which samples are for testing, one patient in so many is."""

Columns = dict[str, list[Any]]


def prepare_packaged(out: Path, name: str, nodes: int, seed: int, *, uneven: bool = False) -> dict[str, Any]:
    """Deal a packaged set out to virtual DIZ.

    Args:
        out: The folder to write.
        name: One of `packaged.SETS`.
        nodes: Number of DIZ.
        seed: Of the split, and of what is made up.
        uneven: The second DIZ has some variants with swapped alleles and some on the other strand, the fourth one lacks
            a chromosome.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: The set is not installed or cannot be dealt out so, or `out` holds something else.
    """
    if nodes < 1:
        raise InputError(f"{nodes} DIZ cannot hold data; give --nodes of at least 1.")
    description = {"set": name, "nodes": nodes, "seed": seed, "uneven": uneven}
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    found = packaged.load(name, nodes, seed)
    columns: Columns = {PATIENT_ID: found.source.people, **found.columns}
    rows = {f"DIZ-{node + 1}": np.flatnonzero(found.site == node) for node in range(nodes)}
    deliveries = packaged.uneven(found.source.variants, nodes, seed) if uneven else {}
    report = {"synthetic": PRESETS[name].synthetic, "variants": len(found.source.words)}
    return _write(out, description, found.source, columns, rows=rows, report=report, deliveries=deliveries)


def prepare_own(out: Path, own: Own) -> dict[str, Any]:
    """Check own files and write them, one folder per site.

    Raises:
        InputError: The files cannot be used, or `out` holds something else.
    """
    description = own.describe()
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    found = read_own(own)
    rows = {"DIZ-1": np.arange(len(found.source.people))}
    names: dict[str, str] = {}
    if found.sites:
        names = {f"DIZ-{number}": name for number, name in enumerate(sorted(set(found.sites)), start=1)}
        of = np.array(found.sites, dtype=object)
        rows = {node: np.flatnonzero(of == name) for node, name in names.items()}
    return _write(out, description, found.source, found.columns, rows=rows, report=found.report, names=names)


def read_stamp(data: Path) -> dict[str, Any]:
    """What `prepare` wrote into a folder.

    Raises:
        InputError: `data` was not written by this command.
    """
    stamp = _stamp(data)
    if stamp is None or stamp["source"] is None or not _complete(data, stamp):
        raise InputError(f"{data} was not written by prepare; give the folder the run was simulated on.")
    return stamp


def hold_out(patients: list[str]) -> list[str]:
    """For each sample, "train" or "test": one patient in five tests, by a hash of the patient id."""
    digests = [hashlib.sha256(f"hold out {patient}".encode()).digest() for patient in patients]
    return ["test" if int.from_bytes(digest, "big") % _HELD_OUT == 0 else "train" for digest in digests]


def _write(
    out: Path,
    description: Mapping[str, Any],
    source: Source,
    columns: Columns,
    *,
    rows: Mapping[str, npt.NDArray[np.intp]],
    report: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    deliveries: Mapping[str, Delivery] | None = None,
) -> dict[str, Any]:
    """Write all stores beside `out`, then put them in its place."""
    _stamp(out)  # refuses a folder that is not ours before any work
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    columns = {SAMPLE_ID: source.people, **columns}
    columns.setdefault(SPLIT, hold_out(columns[PATIENT_ID]))
    try:
        plain = Delivery.plain(len(source.words))
        given = {node: (deliveries or {}).get(node, plain) for node in rows}
        folders = {node: temporary / node / STORE for node in rows}
        nodes = {}
        for node, chosen in rows.items():
            folders[node].mkdir(parents=True)
            sheet = {name: [column[row] for row in chosen] for name, column in columns.items()}
            _write_sheet(sheet, folders[node] / SAMPLES_FILE)
            _write_bim(source.variants, source.words, given[node], folders[node] / BIM_FILE)
            _write_fam(sheet, folders[node] / FAM_FILE)
            nodes[node] = {
                "site": (names or {}).get(node, node),
                "samples": len(chosen),
                "patients": len(set(sheet[PATIENT_ID])),
                "variants": int(given[node].keep.sum()),
            }
        _write_beds(source, rows, given, {node: folder / BED_FILE for node, folder in folders.items()})
        stamp = {"layout": LAYOUT, "source": dict(description), "quality": dict(report), "nodes": nodes}
        (temporary / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        temporary.chmod(0o755)  # mkdtemp makes it the owner's alone
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
            out.replace(old)
            temporary.replace(out)
            shutil.rmtree(old)
        else:
            temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return stamp


def _write_beds(
    source: Source,
    rows: Mapping[str, npt.NDArray[np.intp]],
    given: Mapping[str, Delivery],
    files: Mapping[str, Path],
) -> None:
    """All DIZ's .bed files in one pass over the source."""
    with ExitStack() as stack:
        outs = {node: stack.enter_context(file.open("wb")) for node, file in files.items()}
        for out in outs.values():
            out.write(HEADER)
        start = 0
        for calls in source.blocks():
            stop = start + calls.shape[1]
            for node, out in outs.items():
                delivery = given[node]
                mine = calls[rows[node]][:, delivery.keep[start:stop]]
                turned = delivery.turned[start:stop][delivery.keep[start:stop]]
                out.write(packed(np.where(turned & (mine >= 0), 2 - mine, mine)).tobytes())
            start = stop
        if start != len(source.words):
            raise InputError(f"The genotypes are of {start} variants, and their list names {len(source.words)}.")


def _write_sheet(sheet: Columns, file: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 -- only for this
    import pyarrow.parquet as pq  # noqa: PLC0415

    arrays = {}
    for name, cells in sheet.items():
        found = numbers(["NA" if cell is None else str(cell) for cell in cells]) if name not in _TEXT else None
        arrays[name] = (
            pa.array([str(cell) for cell in cells])
            if name in _TEXT
            else pa.array([None if cell is None else str(cell) for cell in cells] if found is None else found)
        )
    pq.write_table(pa.table(arrays), file, write_statistics=False)


_TEXT = frozenset({SAMPLE_ID, PATIENT_ID, SPLIT})


def _write_bim(variants: Variants, words: list[str], given: Delivery, file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for row in np.flatnonzero(given.keep).tolist():
            a1, a2 = variants.a1[row], variants.a2[row]
            if given.flipped[row]:
                a1, a2 = complement(a1), complement(a2)
            if given.turned[row]:
                a1, a2 = a2, a1
            out.write(f"{words[row]}\t{variants.id[row]}\t0\t{variants.position[row]}\t{a1}\t{a2}\n")


def _write_fam(sheet: Columns, file: Path) -> None:
    sex = sheet.get("sex", ["0"] * len(sheet[SAMPLE_ID]))
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for person, code in zip(sheet[SAMPLE_ID], sex, strict=True):
            out.write(f"{person}\t{person}\t0\t0\t{int(code or 0)}\t-9\n")


def _stamp(out: Path) -> dict[str, Any] | None:
    """The stamp of an earlier call, None if `out` is new or empty.

    Raises:
        InputError: `out` holds something that `prepare` did not write.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        stamp: dict[str, Any] = json.loads((out / STAMP).read_text(encoding="utf-8"))
        return stamp if stamp["layout"] == LAYOUT else {"source": None}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{out} exists and was not written by prepare; give --out another folder.") from None


def _complete(out: Path, stamp: Mapping[str, Any]) -> bool:
    wanted = (SAMPLES_FILE, BED_FILE, BIM_FILE, FAM_FILE)
    return all((out / node / STORE / name).is_file() for node in stamp["nodes"] for name in wanted)
