"""`prepare`: patients with age and a coarse volume to one data store per virtual DIZ.

    OUT/DIZ-1/scans/patients.parquet     patient_id, age
    OUT/DIZ-1/scans/voxels.parquet       patient_id and 2,016 intensities
    OUT/held-out.parquet                 patients that no DIZ is given, with age and intensities
    OUT/prepared.json                    what was written

**The packaged volumes are synthetic** (`volumes` says how they are drawn), anew for each seed; ages are uniform from 20
to 90.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multimodal_imaging_private.errors import InputError
from multimodal_imaging_private.volumes import Float, names, read_volume, synthetic

HELD_OUT, STAMP = "held-out.parquet", "prepared.json"
TEST_SHARE = 0.2
_GAIN = 0.05  # spread of the DIZ's brightness


def packaged(patients: int, nodes: int, seed: int) -> tuple[pd.DataFrame, Float]:
    """Synthetic patients (patient_id, age, node) and their volumes (n, voxels)."""
    rng = np.random.default_rng(seed)
    node, age = rng.integers(nodes, size=patients), rng.uniform(20.0, 90.0, patients)
    volume = synthetic(age, _GAIN * rng.normal(size=nodes)[node], rng)
    ids = [f"SYNTHETIC{row:06d}" for row in range(patients)]
    return pd.DataFrame({"patient_id": ids, "age": age, "node": node}), volume


def own(file: Path, nodes: int, seed: int) -> tuple[pd.DataFrame, Float]:
    """Patients of one's own, dealt out at random: a CSV of patient_id, age and path (of a NIfTI file, from the CSV).

    Raises:
        InputError: It cannot be read, lacks a column, or holds what cannot be right.
    """
    try:
        table = pd.read_csv(file, dtype={"patient_id": str, "path": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as CSV ({type(error).__name__}).") from None
    if missing := [name for name in ("patient_id", "age", "path") if name not in table]:
        raise InputError(f"{file.name} lacks the columns {', '.join(missing)}; add them.")
    if table[["patient_id", "path"]].isna().to_numpy().any() or table["patient_id"].duplicated().any():
        raise InputError(f"{file.name} needs a patient_id and a path in each row, and one row for each patient.")
    age = pd.to_numeric(table["age"], errors="coerce")
    if not age.between(0, 120).all():
        raise InputError(f"{file.name} has ages that are missing or not between 0 and 120; leave these rows out.")
    volumes = []
    for row, name in enumerate(table["path"], start=1):
        try:
            volumes.append(read_volume(file.parent / name))
        except InputError as error:
            raise InputError(f"{file.name}, row {row}: {error} Leave the row out or mend the file.") from None
    node = np.random.default_rng(seed).integers(nodes, size=len(table))
    return pd.DataFrame({"patient_id": table["patient_id"], "age": age, "node": node}), np.array(volumes)


def write(table: pd.DataFrame, volumes: Float, out: Path, *, nodes: int, seed: int, made_up: bool) -> dict[str, Any]:
    """Hold one patient in five out, and write the stores.

    Args:
        table: patient_id, age, node.
        volumes: (n, voxels).
        out: The folder to write.
        nodes: Number of DIZ.
        seed: Of who is held out.
        made_up: The patients are synthetic.

    Raises:
        InputError: `out` holds something else, or a DIZ would be without patients.
    """
    if out.exists() and any(out.iterdir()) and not (out / STAMP).is_file():
        raise InputError(f"{out} holds something that this command did not write; name another folder.")
    test = np.random.default_rng([seed, 1]).random(len(table)) < TEST_SHARE
    node = table["node"].to_numpy()
    sizes = {f"DIZ-{n + 1}": int((~test & (node == n)).sum()) for n in range(max(nodes, 0))}
    if not sizes or min(sizes.values()) < 1 or test.sum() < 2:
        raise InputError(
            f"{len(table)} patients are too few for {nodes} DIZ and a fifth held out; choose fewer --nodes."
        )
    voxels = pd.DataFrame(volumes.astype(np.float32), columns=names())
    for index in range(nodes):
        folder, rows = out / f"DIZ-{index + 1}" / "scans", ~test & (node == index)
        folder.mkdir(parents=True, exist_ok=True)
        table.loc[rows, ["patient_id", "age"]].to_parquet(folder / "patients.parquet", index=False)
        own_voxels = voxels[rows].copy()
        own_voxels.insert(0, "patient_id", table.loc[rows, "patient_id"])
        own_voxels.to_parquet(folder / "voxels.parquet", index=False)
    held = pd.concat([table.loc[test, ["patient_id", "age"]], voxels[test]], axis=1)
    held.to_parquet(out / HELD_OUT, index=False)
    stamp = {"synthetic": made_up, "patients": sizes, "held_out": int(test.sum())}
    (out / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    return stamp
