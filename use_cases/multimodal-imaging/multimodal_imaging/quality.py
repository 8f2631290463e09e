"""What is wrong with own data, as counts and reasons, which `prepare` and `check` print; it names no patient."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multimodal_imaging import linkage
from multimodal_imaging.errors import InputError, many
from multimodal_imaging.image_checks import REASONS, Refused, check_picture, check_volume
from multimodal_imaging.image_store import Entry, entries_of, read_picture, read_volume
from multimodal_imaging.images import canonical, suffix
from multimodal_imaging.store import BETWEEN, PATIENT_ID, SPLIT

Report = dict[str, Any]

_MOST_ROWS = 8
"""Of the manifest, that are told for one reason."""


def check_tables(patients: pd.DataFrame, features: pd.DataFrame) -> Report:
    """Link and count.

    Raises:
        InputError: Patients or their rows are not linked one to one.
    """
    ids = [str(patient or "") for patient in patients[PATIENT_ID]]
    linkage.check_patients(ids, list(patients[SPLIT]))
    linkage.check_rows(features[PATIENT_ID], ids, "the tables of features")
    blocks: dict[str, list[str]] = {}
    for column in features.columns:
        if column != PATIENT_ID:
            blocks.setdefault(column.partition(BETWEEN)[0], []).append(column)
    columns = [c for c in patients.columns if c not in {PATIENT_ID, SPLIT}]
    missing = {c: int(patients[c].isna().sum()) for c in columns}
    report: Report = {
        "patients": len(ids),
        "test": int((patients[SPLIT] == "test").sum()),
        "missing": {name: count for name, count in missing.items() if count},
        "constant": [c for c in columns if patients[c].nunique(dropna=True) < 2],
        "blocks": {},
    }
    for block, names in blocks.items():
        values = features[names].to_numpy(dtype=np.float64)
        if np.isinf(values).any():
            count = int(np.isinf(values).sum())
            raise InputError(
                f"{many(count, f'value of {block} is', f'values of {block} are')} infinite; leave cells empty."
            )
        report["blocks"][block] = {
            "features": len(names),
            "patients": int(np.isfinite(values).any(axis=1).sum()),
            "missing": int(np.isnan(values).sum()),
        }
    return report


def check_images(
    folder: Path,
    rows: Sequence[tuple[str, str, str]],
    patients: Sequence[str],
    pictures: Sequence[str] = (),
    numbers: Sequence[int] = (),
) -> tuple[Report, list[Entry]]:
    """Look at every image as a DIZ would.

    Args:
        folder: In which the paths lie.
        rows: Patient, modality and path of each.
        patients: Who is known.
        pictures: Modalities that are single pictures; others are so if their files are PNG or lone DICOM files.
        numbers: The row of each in the manifest, to tell which cannot be used; none: from 1.

    Returns:
        The report, and the images that can be used.
    """
    entries, problems = entries_of(folder, rows, patients)
    numbers = numbers or range(1, len(rows) + 1)
    number_of = {folder / path: number for (_, _, path), number in reversed(list(zip(rows, numbers, strict=True)))}
    bad = _left_out(folder, rows, patients, numbers, {number_of[file] for entry in entries for file in entry.files})
    by_modality: dict[str, Report] = {}
    spacings: dict[str, list[np.ndarray]] = {}
    used = []
    for entry in entries:
        found = by_modality.setdefault(entry.modality, {"images": 0, "usable": 0, "orientations": Counter()})
        found["images"] += 1
        try:
            if entry.modality in pictures or _is_picture(entry):
                check_picture(read_picture(entry))
            else:
                volume = read_volume(entry)
                check_volume(volume)
                canonical(volume)
                found["orientations"][_letters(volume.affine)] += 1
                spacings.setdefault(entry.modality, []).append(volume.spacing)
        except Refused as refused:
            problems[refused.reason] += 1
            bad.setdefault(refused.reason, []).extend(number_of[file] for file in entry.files)
            continue
        found["usable"] += 1
        used.append(entry)
    for modality, known in spacings.items():
        wide = np.array(known)
        by_modality[modality]["spacing"] = f"{wide.min():.2f} to {wide.max():.2f} mm"
        by_modality[modality]["longest"] = f"{(wide.max(axis=1) / wide.min(axis=1)).max():.1f} times as long as wide"
    for found in by_modality.values():
        found["orientations"] = dict(found["orientations"])
    return {"images": by_modality, "problems": dict(problems), "rows": {r: sorted(of) for r, of in bad.items()}}, used


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report for people."""
    found = [f"{many(report['patients'], 'patient')}, {report['test']} of them for testing"]
    found += [f"{name}: {count} missing" for name, count in report["missing"].items()]
    found += [f"{name}: the same for all, or empty" for name in report["constant"]]
    for block, facts in report["blocks"].items():
        size = f"{many(facts['features'], 'feature')}, {many(facts['patients'], 'patient')}"
        found.append(f"{block}: {size}, {facts['missing']} missing")
    for modality, facts in report.get("images", {}).items():
        more = ", ".join(f"{count} {letters}" for letters, count in facts["orientations"].items())
        usable = f"{facts['usable']} of {many(facts['images'], 'image')} can be used"
        found.append(f"{modality}: {usable}{', ' + more if more else ''}")
        if "spacing" in facts:
            found.append(f"{modality}: spacing {facts['spacing']}, at most {facts['longest']}")
    return found + problem_lines(report)


def problem_lines(report: Mapping[str, Any]) -> list[str]:
    """Of it, how many images cannot be used, why, and which rows of the manifest these are."""
    rows = report.get("rows", {})
    return [
        f"{many(count, 'image')}: {REASONS[reason]}{_rows(rows.get(reason, ()))}"
        for reason, count in report.get("problems", {}).items()
    ]


def _rows(numbers: Sequence[int]) -> str:
    """The first few rows, as a spreadsheet counts them."""
    if not numbers:
        return ""
    more = f" and {len(numbers) - _MOST_ROWS} more" if len(numbers) > _MOST_ROWS else ""
    shown = ", ".join(str(number) for number in numbers[:_MOST_ROWS])
    return f" (the manifest's {'rows' if len(numbers) > 1 else 'row'} {shown}{more}, row 1 being the header)"


def _left_out(
    folder: Path,
    rows: Sequence[tuple[str, str, str]],
    patients: Sequence[str],
    numbers: Sequence[int],
    used: Collection[int],
) -> dict[str, list[int]]:
    """By reason, the rows of which `entries_of` makes no image."""
    found: dict[str, list[int]] = {}
    for row, number in zip(rows, numbers, strict=True):
        if number not in used:
            alone = entries_of(folder, [row], patients)[1]  # what is right by itself is there a second time
            found.setdefault(next(iter(alone), "repeated"), []).append(number)
    return found


def _is_picture(entry: Entry) -> bool:
    return len(entry.files) == 1 and suffix(entry.files[0]) not in {".nii", ".nii.gz"}


def _letters(affine: np.ndarray) -> str:
    """As three letters, where the voxel axes point: RAS, LAS, ..."""
    steps, pairs = affine[:3, :3], ("LR", "PA", "IS")
    found = ""
    for axis in range(3):
        world = int(np.argmax(np.abs(steps[:, axis])))
        found += pairs[world][int(steps[world, axis] > 0)]
    return found
