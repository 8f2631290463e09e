"""`prepare`: tables to one folder per DIZ, in the form that `cohort` reads.

    OUT/DIZ-1/methylation/{samples.parquet, betas.parquet}
    OUT/DIZ-2/...
    OUT/prepared.json        what was written, from what

Invariants: OUT appears complete or not at all (it is written beside and renamed); a second call with the same arguments
and the same sources does nothing; a folder that this command did not write is never touched.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from methylation_age import packaged, quality, shift
from methylation_age.cohort import BETAS_FILE, SAMPLES_FILE
from methylation_age.errors import InputError
from methylation_age.panel import load_panel
from methylation_age.split import split_by_age

STAMP = "prepared.json"
STORE = "methylation"
LAYOUT = 1
"""Version of what is written; raise it when the files change."""

SAMPLE_COLUMNS = ("sample_id", "patient_id", "age", "sex", "tissue", "batch", "split")

SETS = ("gse74193", "blood")
PAIRS = ("blood-brain", "brain-blood", "adult-foetal")
"""Source and target of real tissue pairs; the first two share the 19 CpGs of the panel ``blood-brain``, the third is
within GSE74193."""

_ADULT = 18.0
_HELD_OUT = 5
"""Where nothing says which samples are for testing, one patient in so many is."""


@dataclass(frozen=True, eq=False)
class Source:
    """What to deal out.

    Attributes:
        description: Goes into the stamp; equal descriptions mean equal data.
        samples: One row per sample, the columns `SAMPLE_COLUMNS`.
        betas: Samples x CpGs, index = sample ids, same order as `samples`.
        quality: Counts of what the checks dropped; empty for packaged sets.
    """

    description: Mapping[str, Any]
    samples: pd.DataFrame
    betas: pd.DataFrame
    quality: Mapping[str, Any] = field(default_factory=dict)


def prepare_packaged(out: Path, name: str, nodes: int, seed: int) -> dict[str, Any]:
    """Deal a packaged set out to virtual DIZ by age (see `split`).

    Args:
        out: The folder to write.
        name: One of `SETS`.
        nodes: Number of DIZ.
        seed: Of the split.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: The package is missing, or `out` holds something else.
    """
    description = _packaged(name, nodes, seed)
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    source = _gse74193(description) if name == "gse74193" else _blood(description)
    assigned = split_by_age(source.samples["age"], source.samples["patient_id"], nodes, seed)
    return _write(out, source, {f"DIZ-{node + 1}": np.flatnonzero(assigned == node) for node in range(nodes)})


def prepare_shifted(out: Path, name: str, nodes: int, seed: int, *, kind: str, shift_seed: int) -> dict[str, Any]:
    """Deal a packaged set out with its test samples as a target tissue, corrupted: a SEMI-REAL shift (see `shift`).

    The stores' split "target" keeps the true ages, which only score.

    Args:
        out: The folder to write.
        name: One of `SETS`.
        nodes: Number of DIZ.
        seed: Of the split.
        kind: One of `shift.KINDS`.
        shift_seed: Of the corruption.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: The package is missing, or `out` holds something else.
    """
    made_up = {"shift": kind, "shift_seed": shift_seed, "semi_real": "the shift is synthetic, the samples are real"}
    return _prepare_target(out, {**_packaged(name, nodes, seed), **made_up})


def prepare_pair(out: Path, pair: str, nodes: int, seed: int) -> dict[str, Any]:
    """Deal a real pair of tissues out: the source's samples train and test, the target's are split "target".

    Both tissues are dealt out to all DIZ by age, each on its own; the target's true ages only score.

    Args:
        out: The folder to write.
        pair: One of `PAIRS`.
        nodes: Number of DIZ.
        seed: Of the split.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: A package is missing, or `out` holds something else.
    """
    return _prepare_target(out, {**_packaged("gse74193", nodes, seed), "pair": pair, "set": pair})


def prepare_own(
    out: Path, betas_file: Path, samples_file: Path, *, site_column: str | None, nodes: int, seed: int
) -> dict[str, Any]:
    """Check own tables and write them, one folder per site.

    Args:
        out: The folder to write.
        betas_file: Beta matrix (see `quality`).
        samples_file: Sample sheet.
        site_column: Column of the sample sheet that names the site; without it the samples are dealt out by age.
        nodes: Number of DIZ, where there is no `site_column`.
        seed: Of that split.

    Returns:
        The stamp; its ``quality`` says what was dropped.

    Raises:
        InputError: The tables cannot be used, or `out` holds something else.
    """
    description = {
        "betas": _sha256(betas_file),
        "samples": _sha256(samples_file),
        "site_column": site_column,
        "nodes": nodes,
        "seed": seed,
    }
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    extra = (site_column,) if site_column else ()
    checked = quality.check(quality.read_betas(betas_file), quality.read_samples(samples_file, extra))
    samples = checked.samples.reindex(columns=[*SAMPLE_COLUMNS, *extra])
    if samples["split"].isna().all():
        samples["split"] = hold_out(samples["patient_id"])
    source = Source(description, samples, checked.betas, checked.report)
    if site_column is None:
        assigned = split_by_age(samples["age"], samples["patient_id"], nodes, seed)
        return _write(out, source, {f"DIZ-{node + 1}": np.flatnonzero(assigned == node) for node in range(nodes)})
    if unnamed := int(samples[site_column].isna().sum()):
        raise InputError(f"{unnamed} samples have no value in {site_column!r}; fill the column or leave them out.")
    sites = sorted(samples[site_column].astype(str).unique())
    rows = {
        f"DIZ-{number}": np.flatnonzero(samples[site_column].astype(str) == site)
        for number, site in enumerate(sites, start=1)
    }
    return _write(out, source, rows, names=dict(zip(rows, sites, strict=True)))


def hold_out(patients: "pd.Series[str]") -> list[str]:
    """For each sample, "train" or "test": one patient in five tests, by a hash of the patient id."""
    digests = [hashlib.sha256(b"hold out " + str(patient).encode()).digest() for patient in patients]
    return ["test" if int.from_bytes(digest, "big") % _HELD_OUT == 0 else "train" for digest in digests]


def _packaged(name: str, nodes: int, seed: int) -> dict[str, Any]:
    """The description of a packaged set."""
    if nodes < 1:
        raise InputError(f"{nodes} DIZ cannot hold data; give --nodes of at least 1.")
    versions = {"gse74193": packaged.PACEMAKER, "blood": packaged.BIOLEARN}
    return {"set": name, "package": "==".join(versions[name]), "nodes": nodes, "seed": seed}


def _prepare_target(out: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Source and target samples, each dealt out by age."""
    if (stamp := _stamp(out)) and stamp["source"] == description and _complete(out, stamp):
        return stamp
    source = _pair(description) if "pair" in description else _shifted(description)
    nodes, assigned = description["nodes"], np.empty(len(source.samples), dtype=np.intp)
    target = (source.samples["split"] == "target").to_numpy()
    for part in (target, ~target):
        samples = source.samples[part]
        assigned[part] = split_by_age(samples["age"], samples["patient_id"], nodes, description["seed"])
    return _write(out, source, {f"DIZ-{node + 1}": np.flatnonzero(assigned == node) for node in range(nodes)})


def _shifted(description: Mapping[str, Any]) -> Source:
    whole = _gse74193(description) if description["set"] == "gse74193" else _blood(description)
    samples, betas = whole.samples.copy(), whole.betas.copy()
    target = (samples["split"] == "test").to_numpy()
    rows, age = betas.to_numpy(), samples["age"].to_numpy(dtype=np.float64)
    kind, seed = description["shift"], description["shift_seed"]
    betas.loc[target] = shift.corrupt(rows[~target], age[~target], rows[target], kind, seed).betas
    samples.loc[target, "split"] = "target"
    samples.loc[target, "tissue"] += " with a synthetic shift"
    return Source(description, samples, betas)


def _pair(description: Mapping[str, Any]) -> Source:
    brain = _gse74193(description)
    if description["pair"] == "adult-foetal":
        age = brain.samples["age"]
        samples = brain.samples.copy()
        samples.loc[age < 0, "split"] = "target"
        samples.loc[age < 0, "tissue"] += ", foetal"
        chosen = ((age < 0) | (age >= _ADULT)).to_numpy()
        return Source(description, samples[chosen], brain.betas[chosen])
    blood = _blood(description)
    source, target = (blood, brain) if description["pair"] == "blood-brain" else (brain, blood)
    samples = pd.concat([source.samples, target.samples.assign(split="target")], ignore_index=True)
    shared = list(load_panel("blood-brain").cpgs)
    return Source(description, samples, pd.concat([source.betas[shared], target.betas[shared]]))


def _gse74193(description: Mapping[str, Any]) -> Source:
    parts = dict(zip(("train", "test"), packaged.gse74193(), strict=True))
    betas = pd.concat([part.betas for part in parts.values()])
    age = pd.concat([part.age for part in parts.values()])
    split = [name for name, part in parts.items() for _ in range(len(part.age))]
    return Source(description, _sheet(age, split, "dorsolateral prefrontal cortex"), betas)


def _blood(description: Mapping[str, Any]) -> Source:
    table = packaged.gp_age_blood()
    split = hold_out(table.age.index.to_series())
    return Source(description, _sheet(table.age, split, "whole blood"), table.betas)


def _sheet(age: "pd.Series[float]", split: list[str], tissue: str) -> pd.DataFrame:
    """A sample sheet for a set that names no patient: every sample counts as one."""
    sheet = pd.DataFrame({"sample_id": age.index, "patient_id": age.index, "age": age.to_numpy(), "split": split})
    sheet["tissue"] = tissue
    return sheet.reindex(columns=list(SAMPLE_COLUMNS))


def _write(
    out: Path, source: Source, rows: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write all stores beside `out`, then put them in its place."""
    _stamp(out)  # refuses a folder that is not ours before any work
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        nodes = {}
        for node, chosen in rows.items():
            samples = source.samples.iloc[chosen]
            if samples.empty:
                raise InputError(f"{node} would get no sample; use fewer nodes.")
            folder = temporary / node / STORE
            folder.mkdir(parents=True)
            _write_parquet(samples, folder / SAMPLES_FILE)
            _write_parquet(source.betas.iloc[chosen].rename_axis("sample_id").reset_index(), folder / BETAS_FILE)
            counts = samples["split"].value_counts()
            nodes[node] = {
                "site": names[node] if names else node,
                **{name: int(counts.get(name, 0)) for name in ("train", "test", "target")},
                "patients": int(samples["patient_id"].nunique()),
                "median_age": round(float(samples["age"].median()), 1),
            }
        stamp = {
            "layout": LAYOUT,
            "source": dict(source.description),
            "quality": dict(source.quality),
            "nodes": nodes,
        }
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


def _write_parquet(table: pd.DataFrame, file: Path) -> None:
    """Parquet that thousands of columns of unlike numbers read fast from: no dictionary, no statistics."""
    table.to_parquet(file, index=False, use_dictionary=False, write_statistics=False)


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
    return all((out / node / STORE / name).is_file() for node in stamp["nodes"] for name in (SAMPLES_FILE, BETAS_FILE))


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        raise InputError(f"{file} cannot be read; check the path.") from None
