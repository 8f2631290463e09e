"""`prepare`: a packaged set or an own table to one folder per DIZ, in the form that `store` reads.

    OUT/DIZ-1/cohort/table.parquet
    OUT/DIZ-2/...
    OUT/prepared.json        what was written, from what

Virtual DIZ are of unequal size and differ in their patients: rows are sorted by a column with noise added and cut into
stretches. A set that names institutions is cut by them. The values are the measured ones; which DIZ has them is made
up.

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

from federated_statistics import packaged
from federated_statistics.errors import InputError
from federated_statistics.store import PATIENT_ID, TABLE_FILE

STAMP = "prepared.json"
STORE = "cohort"
SITE = "(site)"
LAYOUT = 1
"""Version of what is written; raise it when the files change."""

_NOISE = 1.0
"""Of the sort, in standard deviations of the column: the DIZ differ and overlap."""


def prepare_packaged(out: Path, name: str, nodes: int, seed: int) -> dict[str, Any]:
    """Deal a packaged set out to virtual DIZ.

    Args:
        out: The folder to write.
        name: One of `packaged.SETS`.
        nodes: Number of DIZ.
        seed: Of the split.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: The package is missing, there are too many DIZ, or `out` holds something else.
    """
    description = {"set": name, "nodes": nodes, "seed": seed}
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    frame = packaged.load(name)
    frame.insert(0, PATIENT_ID, [f"{name}-{row:05d}" for row in range(len(frame))])
    site = frame.pop(packaged.INSTITUTION) if packaged.INSTITUTION in frame else None
    of = _by_institution(site, nodes) if site is not None else _by_value(frame, nodes, seed)
    return _write(out, description, frame, {f"DIZ-{node + 1}": of == node for node in range(nodes)})


def prepare_own(out: Path, file: Path, site_column: str) -> dict[str, Any]:
    """Write an own table, one folder per site.

    Args:
        out: The folder to write.
        file: CSV or Parquet with a column ``patient_id``.
        site_column: The column that names the site; not written into the stores.

    Raises:
        InputError: The table cannot be used, or `out` holds something else.
    """
    try:
        description = {"table": hashlib.sha256(file.read_bytes()).hexdigest(), "site_column": site_column}
        if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
            return stamp
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (OSError, ValueError):
        raise InputError(f"{file} cannot be read as CSV or Parquet; check the path and the format.") from None
    for column in (PATIENT_ID, site_column):
        if column not in frame:
            raise InputError(f"{file} has no column {column!r}; add it, or name the right one.")
    if empty := int(frame[[PATIENT_ID, site_column]].isna().any(axis=1).sum()):
        raise InputError(f"{empty} rows of {file} name no patient or no site; fill them or leave them out.")
    site = frame.pop(site_column).astype(str)
    of = {f"DIZ-{number}": (site == name).to_numpy() for number, name in enumerate(sorted(site.unique()), start=1)}
    return _write(out, description, frame, of)


def read_prepared(data: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of all DIZ in one table, with a column `SITE` that says whose they are, and the stamp.

    Raises:
        InputError: `data` was not written by this command.
    """
    stamp = _stamp(data)
    if stamp is None or stamp["source"] is None or not _complete(data, stamp):
        raise InputError(f"{data} was not written by prepare; give the folder the run was simulated on.")
    parts = [pd.read_parquet(data / node / STORE / TABLE_FILE).assign(**{SITE: node}) for node in stamp["nodes"]]
    return pd.concat(parts, ignore_index=True), stamp


def _by_value(frame: pd.DataFrame, nodes: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,) the DIZ of each row: a noisy sort by the first numeric column, cut into parts of unequal size."""
    if not 1 <= nodes <= len(frame) // 20:
        raise InputError(f"{len(frame)} rows cannot be dealt out to {nodes} DIZ; give each 20 or more.")
    generator = np.random.default_rng(seed)
    column = frame.select_dtypes("number").iloc[:, 0].to_numpy(dtype=np.float64)
    order = np.argsort(column + generator.normal(0, _NOISE * column.std(), len(column)), kind="stable")
    shares = np.cumsum(np.linspace(1.0, 2.0, nodes))  # the largest has about twice as many as the smallest
    of = np.empty(len(frame), dtype=np.int64)
    of[order] = np.searchsorted(shares[:-1] / shares[-1] * len(frame), np.arange(len(frame)), side="right")
    return of


def _by_institution(site: "pd.Series[Any]", nodes: int) -> npt.NDArray[np.int64]:
    """(n,) the DIZ of each row: institutions, the largest first, each to the DIZ with fewest rows so far."""
    named = site.fillna(-1)
    sizes = named.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if not 1 <= nodes <= len(sizes):
        raise InputError(f"The set has {len(sizes)} institutions; give --nodes of 1 to {len(sizes)}.")
    load, of = np.zeros(nodes), {}
    for name, size in sizes.items():
        of[name] = int(load.argmin())
        load[of[name]] += size
    return np.asarray(named.map(of), dtype=np.int64)


def _write(
    out: Path, description: Mapping[str, Any], frame: pd.DataFrame, of: Mapping[str, npt.NDArray[np.bool_]]
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
            frame[chosen].to_parquet(folder / TABLE_FILE, index=False)
            nodes[node] = {"rows": int(chosen.sum()), "patients": int(frame.loc[chosen, PATIENT_ID].nunique())}
        stamp = {"layout": LAYOUT, "source": dict(description), "nodes": nodes}
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
    return all((out / node / STORE / TABLE_FILE).is_file() for node in stamp["nodes"])
