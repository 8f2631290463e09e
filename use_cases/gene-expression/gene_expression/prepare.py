"""`prepare`: a packaged set or own tables to one folder per DIZ, in the form that `store` reads.

    OUT/DIZ-1/expression/{samples.parquet, expression.parquet}
    OUT/DIZ-2/...
    OUT/prepared.json        what was written, from what

A set that names its sites is cut by them: the batches of bladderbatch are five DIZ of 4 to 19 samples. Others are dealt
out unevenly on purpose: sorted by a column with noise added and cut into stretches, so that DIZ differ in size and in
how many of them have the disease. One patient in five is held out to test models.

Invariants: OUT appears complete or not at all (it is written beside and renamed); a second call with the same arguments
does nothing; a folder that this command did not write is never touched.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gene_expression import packaged, quality
from gene_expression.errors import InputError
from gene_expression.presets import PRESETS
from gene_expression.readers import PATIENT_ID, SAMPLE_ID, read_own
from gene_expression.store import EXPRESSION_FILE, SAMPLES_FILE, SPLIT, Levels

STAMP = "prepared.json"
STORE = "expression"
SITE = "(site)"
LAYOUT = 1
"""Version of what is written; raise it when the files change."""

SMALLEST = 5
"""Samples of a DIZ that a set is dealt out to."""

_NOISE = 0.7
"""Of the sort, in standard deviations of the column: the DIZ differ and overlap."""

_HELD_OUT = 5
"""Where nothing says which samples are for testing, one patient in so many is."""


def prepare_packaged(out: Path, name: str, nodes: int, seed: int) -> dict[str, Any]:
    """Deal a packaged set out to virtual DIZ.

    Args:
        out: The folder to write.
        name: One of `packaged.SETS`.
        nodes: Number of DIZ.
        seed: Of the split, and of a synthetic set.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: The set is not installed or cannot be dealt out so, or `out` holds something else.
    """
    if nodes < 1:
        raise InputError(f"{nodes} DIZ cannot hold data; give --nodes of at least 1.")
    description = {"set": name, "nodes": nodes, "seed": seed}
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    found = packaged.load(name, nodes, seed)
    of = found.site
    if of is None:
        of = deal(found.samples[found.spread_by], nodes, seed)
    elif (sites := int(of.max()) + 1) != nodes:
        raise InputError(f"The set {name} has {sites} batches, and each is a DIZ; give --nodes {sites}.")
    samples = found.samples.assign(**{SPLIT: hold_out(found.samples[PATIENT_ID])})
    quality_report = {"scale": PRESETS[name].scale, "synthetic": PRESETS[name].synthetic}
    rows = {f"DIZ-{node + 1}": of == node for node in range(nodes)}
    return _write(out, description, found.values, samples, of=rows, report=quality_report)


def prepare_own(
    out: Path,
    expression: Path,
    samples: Path | None,
    *,
    site_column: str,
    layer: str = "",
    scale: str = "",
    design: tuple[str, ...] = (),
    levels: Levels | None = None,
) -> dict[str, Any]:
    """Check own tables and write them, one folder per site.

    Args:
        out: The folder to write.
        expression: See `readers`.
        samples: The sample sheet; None for ``obs`` of an .h5ad file.
        site_column: Its column that names the site, not written into the stores; empty for a single DIZ.
        layer: Of an .h5ad file.
        scale: What the values are said to be; empty to find out.
        design: Columns to check as a design.
        levels: Declared levels.

    Raises:
        InputError: The tables cannot be used, or `out` holds something else.
    """
    description = {
        "expression": _sha256(expression),
        "samples": _sha256(samples) if samples else "",
        "site_column": site_column,
        "layer": layer,
        "scale": scale,
        "design": list(design),
        "levels": {name: list(found) for name, found in (levels or {}).items()},
    }
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    values, sheet = read_own(expression, samples, layer)
    if site_column and site_column not in sheet:
        raise InputError(f"The sample sheet has no column {site_column!r}; name the one that says the site.")
    checked = quality.check(values, sheet, scale=scale, design=design, levels=levels or {})
    sheet = checked.samples
    if SPLIT not in sheet:
        sheet[SPLIT] = hold_out(sheet[PATIENT_ID])
    names: Mapping[str, str] | None = None
    rows = {"DIZ-1": np.ones(len(sheet), dtype=bool)}
    if site_column:
        site = sheet.pop(site_column)
        if unnamed := int(site.isna().sum()):
            raise InputError(f"{unnamed} samples have no value in {site_column!r}; fill the column or leave them out.")
        site = site.astype(str)
        names = {f"DIZ-{number}": name for number, name in enumerate(sorted(site.unique()), start=1)}
        rows = {node: (site == name).to_numpy() for node, name in names.items()}
    return _write(out, description, checked.values, sheet, of=rows, report=checked.report, names=names)


def read_prepared(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Values and sheet of all DIZ in one table each, the sheet with a column `SITE`, and the stamp.

    Raises:
        InputError: `data` was not written by this command.
    """
    stamp = _stamp(data)
    if stamp is None or stamp["source"] is None or not _complete(data, stamp):
        raise InputError(f"{data} was not written by prepare; give the folder the run was simulated on.")
    folders = {node: data / node / STORE for node in stamp["nodes"]}
    values = pd.concat([pd.read_parquet(folder / EXPRESSION_FILE) for folder in folders.values()], ignore_index=True)
    sheet = pd.concat(
        [pd.read_parquet(folder / SAMPLES_FILE).assign(**{SITE: node}) for node, folder in folders.items()],
        ignore_index=True,
    )
    return values.set_index(SAMPLE_ID), sheet, stamp


def hold_out(patients: "pd.Series[str]") -> list[str]:
    """For each sample, "train" or "test": one patient in five tests, by a hash of the patient id."""
    digests = [hashlib.sha256(b"hold out " + str(patient).encode()).digest() for patient in patients]
    return ["test" if int.from_bytes(digest, "big") % _HELD_OUT == 0 else "train" for digest in digests]


def deal(column: "pd.Series[Any]", nodes: int, seed: int) -> npt.NDArray[np.intp]:
    """(n,) the DIZ of each sample: a noisy sort by the column, cut into parts of unequal size.

    Raises:
        InputError: There are too few samples.
    """
    if len(column) < SMALLEST * nodes * 1.5:
        raise InputError(f"{len(column)} samples cannot be dealt out to {nodes} DIZ; give fewer --nodes.")
    generator = np.random.default_rng(seed)
    codes = column.to_numpy(dtype=np.float64) if column.dtype.kind in "iuf" else pd.factorize(column, sort=True)[0]
    codes = np.asarray(codes, dtype=np.float64)
    order = np.argsort(codes + generator.normal(0, _NOISE * codes.std(), len(codes)), kind="stable")
    shares = np.cumsum(np.linspace(1.0, 2.0, nodes))  # the largest has about twice as many as the smallest
    of = np.empty(len(codes), dtype=np.intp)
    of[order] = np.searchsorted(shares[:-1] / shares[-1] * len(codes), np.arange(len(codes)), side="right")
    return of


def _write(
    out: Path,
    description: Mapping[str, Any],
    values: pd.DataFrame,
    samples: pd.DataFrame,
    *,
    of: Mapping[str, npt.NDArray[np.bool_]],
    report: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write all stores beside `out`, then put them in its place."""
    _stamp(out)  # refuses a folder that is not ours before any work
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        nodes = {}
        for node, chosen in of.items():
            folder = temporary / node / STORE
            folder.mkdir(parents=True)
            sheet = samples[chosen]
            sheet.to_parquet(folder / SAMPLES_FILE, index=False)
            _write_values(values[chosen], folder / EXPRESSION_FILE)
            nodes[node] = {
                "site": names[node] if names else node,
                "samples": int(chosen.sum()),
                "patients": int(sheet[PATIENT_ID].nunique()),
                "test": int((sheet[SPLIT] == "test").sum()),
            }
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


def _write_values(values: pd.DataFrame, file: Path) -> None:
    """Parquet that thousands of columns read fast from: no dictionary, no statistics, no notes of pandas."""
    import pyarrow as pa  # noqa: PLC0415 -- only for this
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = [pa.array(values.index.astype(str)), *(pa.array(column) for column in values.to_numpy().T)]
    table = pa.Table.from_arrays(columns, names=[SAMPLE_ID, *map(str, values.columns)])
    pq.write_table(table, file, use_dictionary=False, write_statistics=False)


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
    return all(
        (out / node / STORE / name).is_file() for node in stamp["nodes"] for name in (SAMPLES_FILE, EXPRESSION_FILE)
    )


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        raise InputError(f"{file} cannot be read; check the path.") from None
