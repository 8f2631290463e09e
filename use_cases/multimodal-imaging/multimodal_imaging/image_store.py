"""A store of images: which files are whose, each checked and brought to the grid once.

The manifest has ``image_id``, ``patient_id``, ``path`` (in the store) and ``modality``. A patient has one image of a
modality; the slices of a DICOM series are one image with a row each. An image that cannot be used counts as not there,
and its reason is counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from multimodal_imaging import dicom_files, image_features
from multimodal_imaging.errors import InputError
from multimodal_imaging.image_checks import REASONS, Refused, check_picture, check_volume
from multimodal_imaging.images import (
    MOST_VOXELS,
    Volume,
    normalised,
    picture_to_grid,
    read_nifti,
    read_png,
    require_room,
    suffix,
    to_grid,
)
from multimodal_imaging.settings import IMAGE, Settings
from multimodal_imaging.site import Block, Bool, Float32, Int

MANIFEST_FILE = "manifest.parquet"
MANIFEST_COLUMNS = ("image_id", "patient_id", "path", "modality")
_MOST_KEPT = 1 << 29
"""Bytes of images on their grid that are kept; beyond, they are read again when they are asked for."""


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        patient: Whose.
        modality: Its name.
        files: One, or the slices of a series.
    """

    patient: str
    modality: str
    files: tuple[Path, ...]


@dataclass(eq=False)
class Images:
    """The images of one modality of a DIZ's patients.

    Attributes:
        settings: The run's.
        modality: Its name.
        entries: By row of the patients' table.
        kept: Values on the grid by row, as far as there is room.
        problems: By reason, how many.
    """

    settings: Settings
    modality: str
    entries: Mapping[int, Entry]
    kept: dict[int, Float32] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the grid."""
        return self.settings.grid_2d if self.modality in self.settings.pictures else self.settings.grid

    def block(self, rows: int) -> Block:
        """Look at all images once."""
        features = image_features.names(self.settings, self.modality)
        values, there = np.full((rows, len(features)), np.nan), np.zeros(rows, dtype=np.bool_)
        for row, entry in self.entries.items():
            try:
                found = on_grid(entry, self.settings)
            except Refused as refused:
                self.problems[refused.reason] += 1
                continue
            there[row], values[row] = True, image_features.features(found, self.settings, self.modality)
            self._keep(row, found)
        return Block(self.modality, IMAGE, features, values, there, partial(self.pixels, there))

    def pixels(self, there: Bool, rows: Int) -> Float32:
        """(k, 1, *grid) of these rows, 0 for who has no image that can be used."""
        found = np.zeros((len(rows), 1, *self.shape), dtype=np.float32)
        for place, row in enumerate(np.asarray(rows).tolist()):
            if not there[row]:
                continue
            if row not in self.kept:
                self._keep(row, values := on_grid(self.entries[row], self.settings))
            else:
                values = self.kept[row]
            found[place, 0] = values
        return found

    def _keep(self, row: int, values: Float32) -> None:
        if (len(self.kept) + 1) * values.nbytes <= _MOST_KEPT:
            self.kept[row] = values


def on_grid(entry: Entry, settings: Settings) -> Float32:
    """One image, checked, on the grid and normalised.

    Raises:
        Refused: It cannot be used, also for want of memory.
    """
    try:
        return _on_grid(entry, settings)
    except MemoryError:
        raise Refused("unreadable") from None


def _on_grid(entry: Entry, settings: Settings) -> Float32:
    if entry.modality in settings.pictures:
        picture = read_picture(entry)
        check_picture(picture)
        return normalised(picture_to_grid(picture, settings), settings.intensity)
    volume = read_volume(entry)
    check_volume(volume)
    return normalised(to_grid(volume, settings), settings.intensity)


def read_volume(entry: Entry) -> Volume:
    """As it lies in the file or files.

    Raises:
        Refused: It cannot be read, or is no volume.
    """
    ending = suffix(entry.files[0])
    if ending in {".nii", ".nii.gz"}:
        if len(entry.files) > 1:
            raise Refused("repeated")
        return read_nifti(entry.files[0])
    if ending == ".dcm" or dicom_files.is_dicom(entry.files[0]):
        if len(entry.files) < 2:
            raise Refused("dimensions")
        slices: list[dicom_files.Slice] = []
        for file in entry.files:
            slices.append(dicom_files.read_slice(file))
            require_room((len(entry.files), *slices[0].pixels.shape), MOST_VOXELS)
        return dicom_files.stack(slices)
    raise Refused("dimensions" if ending == ".png" else "format")


def read_picture(entry: Entry) -> Float32:
    """As it lies in the file.

    Raises:
        Refused: It cannot be read, or is no picture.
    """
    if len(entry.files) > 1:
        raise Refused("repeated")
    file = entry.files[0]
    ending = suffix(file)
    if ending == ".png":
        return read_png(file)[0]
    if ending == ".dcm" or dicom_files.is_dicom(file):
        return dicom_files.read_slice(file).pixels
    raise Refused("dimensions" if ending in {".nii", ".nii.gz"} else "format")


def read_manifest(folder: Path) -> list[tuple[str, str, str]]:
    """Patient, modality and path of each row.

    Raises:
        InputError: It is not there, or lacks a column.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise InputError(
            f"The store of images has no {MANIFEST_FILE}; write it with `python -m multimodal_imaging prepare`."
        )
    table = pq.ParquetFile(file).read()
    for column in MANIFEST_COLUMNS[1:]:
        if column not in table.column_names:
            raise InputError(f"{MANIFEST_FILE} lacks the column {column!r}; prepare the store again.")
    return [
        (str(patient), str(modality), str(path))
        for patient, modality, path in zip(
            *(table[column].to_pylist() for column in ("patient_id", "modality", "path")), strict=True
        )
    ]


def entries_of(
    folder: Path, rows: Sequence[tuple[str, str, str]], patients: Sequence[str]
) -> tuple[list[Entry], Counter[str]]:
    """Images with their patients: slices of one series together, all else one file each.

    Args:
        folder: The store's.
        rows: Patient, modality and path.
        patients: Who is known.

    Returns:
        At most one image for each patient and modality; and what was left out, by reason.
    """
    known, problems, of = set(patients), Counter[str](), dict[tuple[str, str], list[Path]]()
    paths: set[str] = set()
    for patient, modality, path in rows:
        if patient not in known:
            problems["unknown"] += 1
        elif path in paths:
            problems["repeated"] += 1
        elif (file := _inside(folder, path)) is None:
            problems["unreadable"] += 1
        else:
            of.setdefault((patient, modality), []).append(file)
        paths.add(path)
    entries = []
    for (patient, modality), files in of.items():
        if len(files) > 1 and not _one_series(files):
            problems["repeated"] += 1
            continue
        entries.append(Entry(patient, modality, tuple(files)))
    return entries, problems


def counted(problems: Mapping[str, int]) -> Int:
    """(reasons,) counts in the order of `REASONS`."""
    return np.array([problems.get(reason, 0) for reason in REASONS], dtype=np.int64)


def _inside(folder: Path, path: str) -> Path | None:
    file = folder / path
    try:
        return file if file.is_file() and file.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError):
        return None


def _one_series(files: Sequence[Path]) -> bool:
    if any(suffix(file) in {".nii", ".nii.gz", ".png"} for file in files):
        return False
    try:
        found = {dicom_files.series_of(file) for file in files}
    except Refused:
        return False
    return len(found) == 1 and "" not in found
