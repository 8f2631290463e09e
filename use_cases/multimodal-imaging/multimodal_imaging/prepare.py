"""`prepare`: a packaged set or own files to one folder per DIZ, in the form that `store` reads.

    OUT/DIZ-1/patients/{patients.parquet, features.parquet}
    OUT/DIZ-1/images/{manifest.parquet, images/...}      where the DIZ has images
    OUT/DIZ-2/...
    OUT/prepared.json                                    what was written, from what

Invariants: OUT appears complete or not at all (it is written beside and renamed); a second call for a packaged set with
the same arguments does nothing; a folder that this command did not write is never touched.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from multimodal_imaging import linkage, packaged, quality
from multimodal_imaging.errors import InputError, many
from multimodal_imaging.image_store import MANIFEST_FILE
from multimodal_imaging.images import suffix
from multimodal_imaging.own import OwnFiles, read_own
from multimodal_imaging.packaged import Centre
from multimodal_imaging.store import FEATURES_FILE, IMAGES_STORE, PATIENT_ID, PATIENTS_FILE, PATIENTS_STORE, SPLIT

STAMP = "prepared.json"
SITE = "(site)"
LAYOUT = 1
"""Version of what is written; raise it when the files change."""

TEST_SHARE = 0.25
"""Of each DIZ's patients, where nothing says which are for testing."""


def prepare_packaged(
    out: Path, name: str, nodes: int, seed: int, *, complete: bool, missing: bool, voxel: float, scale: float
) -> dict[str, Any]:
    """A packaged set, dealt out to virtual DIZ.

    Args:
        out: The folder to write.
        name: "brain" or "brca".
        nodes: Number of DIZ of brain; brca has six.
        seed: Of the cohort and of who tests.
        complete: Of brain: whether every DIZ has images and genomes.
        missing: Of brca: whether four of six regions lack a block.
        voxel: Of brain: mm of the volumes.
        scale: Of brain: factor on the number of patients.

    Returns:
        The stamp: what was written.

    Raises:
        InputError: What the set needs is not installed, or `out` holds something else.
    """
    if nodes < 1 or not 0.5 <= voxel <= 16 or not 0 < scale <= 20:
        raise InputError("Give --nodes of at least 1, --voxel between 0.5 and 16 mm and --scale up to 20.")
    source: dict[str, Any] = {"set": name, "seed": seed}
    names: Mapping[str, Any] = {}
    if name == "brain":
        source |= {"nodes": nodes, "complete": complete, "voxel": voxel, "scale": scale}
    else:
        source |= {"missing": missing}
    if (stamp := _stamp(out)) and stamp["source"] == source and _complete(out, stamp):
        return stamp
    if name == "brain":
        centres = packaged.brain_centres(nodes, seed, complete=complete, voxel=voxel, scale=scale)
    else:
        centres, names = packaged.brca_centres(missing=missing)
    return _write(out, source, [_with_split(centre, seed) for centre in centres], {"names": names})


def prepare_own(out: Path, files: OwnFiles, *, site_column: str, leave_out: bool, seed: int) -> dict[str, Any]:
    """Check own files and write them, one folder per site.

    Args:
        out: The folder to write.
        files: The files.
        site_column: The patients' column that names the site, not written into the stores; empty for a single DIZ.
        leave_out: Whether images that cannot be used are left out; otherwise they are an error.
        seed: Of who tests, where no column ``split`` says it.

    Raises:
        InputError: The files cannot be used, or `out` holds something else.
    """
    _stamp(out)
    centres, reports = check_own(files, site_column=site_column, leave_out=leave_out, seed=seed)
    return _write(out, {"own": True, "site_column": site_column, "seed": seed}, centres, {"quality": reports})


def check_own(
    files: OwnFiles, *, site_column: str, leave_out: bool, seed: int
) -> tuple[list[Centre], dict[str, quality.Report]]:
    """What `prepare_own` would write, and the quality report by site.

    Raises:
        InputError: The files cannot be used.
    """
    patients, features, manifest = read_own(files)
    sites = {"DIZ-1": patients}
    if site_column:
        if site_column not in patients:
            raise InputError(f"The patients' table has no column {site_column!r}; name the one that says the site.")
        if unnamed := int(patients[site_column].isna().sum()):
            who = many(unnamed, "patient has", "patients have")
            raise InputError(f"{who} no value in {site_column!r}; fill the column.")
        groups = patients.groupby(patients[site_column].astype(str), sort=True)
        sites = {str(name): group.drop(columns=site_column).reset_index(drop=True) for name, group in groups}
        linkage.check_sites({name: group[PATIENT_ID] for name, group in sites.items()})
    linkage.check_rows(features[PATIENT_ID], patients[PATIENT_ID], "the tables of features")
    if unknown := len(set(manifest[PATIENT_ID]) - set(patients[PATIENT_ID])):
        who = many(unknown, "patient who is", "patients who are")
        raise InputError(
            f"The manifest has images of {who} not in the patients' table; add them, or take the images out."
        )
    centres, reports = [], {}
    for name, own in sites.items():
        ids = set(own[PATIENT_ID])
        centre = Centre(name, own, features[features[PATIENT_ID].isin(ids)], manifest[manifest[PATIENT_ID].isin(ids)])
        centre = _with_split(centre, seed)
        report = quality.check_tables(centre.patients, centre.features)
        if len(centre.manifest):
            more, used = quality.check_images(
                files.folder,
                _rows(centre.manifest),
                list(own[PATIENT_ID]),
                files.pictures,
                [
                    int(row) + 2 for row in centre.manifest.index
                ],  # as a spreadsheet counts, whose first row is the header
            )
            report |= more
            if report["problems"] and not leave_out:
                raise InputError(
                    "\n  ".join(
                        ["Some images cannot be used (--leave-out goes on without):", *quality.problem_lines(report)]
                    )
                )
            kept = {str(file.relative_to(files.folder)) for entry in used for file in entry.files}
            rows = centre.manifest[[str(Path(path)) in kept for path in centre.manifest["path"]]]
            centre = _copying(centre, rows.reset_index(drop=True), files.folder)
        centres.append(centre)
        reports[name] = report
    return centres, reports


def read_prepared(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Patients and features of all DIZ in one table each, the patients with a column `SITE`, and the stamp.

    Raises:
        InputError: `data` was not written by this command.
    """
    stamp = _stamp(data)
    if stamp is None or stamp["source"] is None or not _complete(data, stamp):
        raise InputError(f"{data} was not written by prepare; give the folder the run was simulated on.")
    folders = {node: data / node / PATIENTS_STORE for node in stamp["nodes"]}
    patients = pd.concat(
        [pd.read_parquet(folder / PATIENTS_FILE).assign(**{SITE: node}) for node, folder in folders.items()],
        ignore_index=True,
    )
    features = pd.concat([pd.read_parquet(folder / FEATURES_FILE) for folder in folders.values()], ignore_index=True)
    return patients, features, stamp


def hold_out(patients: Sequence[str], seed: int) -> list[str]:
    """For each patient "train" or "test": a quarter tests, those with the smallest hashes, at every DIZ as many."""
    order = sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}/hold out/{patient}".encode()).digest())
    testing = set(order[: round(TEST_SHARE * len(order))])
    return ["test" if patient in testing else "train" for patient in patients]


def _with_split(centre: Centre, seed: int) -> Centre:
    patients = centre.patients.copy()
    if SPLIT not in patients:
        patients[SPLIT] = hold_out(list(patients[PATIENT_ID]), seed)
    return Centre(centre.site, patients, centre.features, centre.manifest, centre.write)


def _copying(centre: Centre, rows: pd.DataFrame, source: Path) -> Centre:
    """The images under new names: own ones often are patients' names."""
    names = [f"images/{row:06d}{_ending(source / path)}" for row, path in enumerate(rows["path"], 1)]

    def copy(folder: Path) -> None:
        for path, name in zip(rows["path"], names, strict=True):
            shutil.copyfile(source / path, folder / name)

    return Centre(centre.site, centre.patients, centre.features, rows.assign(path=names), copy)


def _ending(file: Path) -> str:
    found = suffix(file)
    return found if found in {".nii.gz", ".nii", ".png"} else ".dcm"


def _rows(manifest: pd.DataFrame) -> list[tuple[str, str, str]]:
    return [tuple(map(str, row)) for row in manifest[[PATIENT_ID, "modality", "path"]].itertuples(index=False)]  # type: ignore[misc]


def _write(out: Path, source: Mapping[str, Any], centres: Sequence[Centre], more: Mapping[str, Any]) -> dict[str, Any]:
    """Write all stores beside `out`, then put them in its place."""
    _stamp(out)  # refuses a folder that is not ours before any work
    linkage.check_sites({centre.site: centre.patients[PATIENT_ID] for centre in centres})
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        nodes = {}
        for number, centre in enumerate(centres, start=1):
            node = f"DIZ-{number}"
            folder = temporary / node / PATIENTS_STORE
            folder.mkdir(parents=True)
            centre.patients.to_parquet(folder / PATIENTS_FILE, index=False)
            _write_features(centre.features, folder / FEATURES_FILE)
            if len(centre.manifest):
                images = temporary / node / IMAGES_STORE
                (images / "images").mkdir(parents=True)
                centre.write(images)
                centre.manifest.to_parquet(images / MANIFEST_FILE, index=False)
            nodes[node] = {
                "site": centre.site,
                "patients": len(centre.patients),
                "test": int((centre.patients[SPLIT] == "test").sum()),
                "features": sorted({c.partition(":")[0] for c in centre.features.columns if c != PATIENT_ID}),
                "images": len(centre.manifest),
            }
        stamp = {"layout": LAYOUT, "source": dict(source), "nodes": nodes, **more}
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


def _write_features(features: pd.DataFrame, file: Path) -> None:
    """Parquet that hundreds of columns read fast from: no dictionary, no statistics, no notes of pandas."""
    import pyarrow as pa  # noqa: PLC0415 -- only for this
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = [pa.array(features[PATIENT_ID].astype(str), pa.string())]
    others = [column for column in features.columns if column != PATIENT_ID]
    columns += [pa.array(features[column].to_numpy(dtype="float64"), pa.float64()) for column in others]
    table = pa.Table.from_arrays(columns, names=[PATIENT_ID, *others])
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
    def whole(node: str, facts: Mapping[str, Any]) -> bool:
        tables = [out / node / PATIENTS_STORE / name for name in (PATIENTS_FILE, FEATURES_FILE)]
        images = out / node / IMAGES_STORE
        return all(file.is_file() for file in tables) and (not facts["images"] or (images / MANIFEST_FILE).is_file())

    return all(whole(node, facts) for node, facts in stamp["nodes"].items())
