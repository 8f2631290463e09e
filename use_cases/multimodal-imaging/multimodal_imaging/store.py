"""A DIZ's data stores read into a `Site`, once while their files do not change.

Two folders, written by `python -m multimodal_imaging prepare`:

* ``patients``: ``patients.parquet``, one row per patient: ``patient_id``, optionally ``split`` ("train" or "test"), and
  columns; and ``features.parquet``: ``patient_id`` and columns ``BLOCK:FEATURE`` with the blocks of the panel. A DIZ
  without a block has no such columns, a patient without it no values.
* ``images``: see `image_store`. A DIZ without images has no such store.

The patients' table decides who is used. Numbers and true/false become `Site.numbers`; columns with declared levels
become `Site.codes`; what is neither is not read.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multimodal_imaging import image_store, linkage
from multimodal_imaging.errors import InputError
from multimodal_imaging.layout import phenome_features
from multimodal_imaging.panel import PanelBlock, load_panel
from multimodal_imaging.settings import GENOME, IMAGE, PHENOME, Settings
from multimodal_imaging.site import MISSING, Block, Float, Int, Site

if TYPE_CHECKING:
    import pyarrow as pa

PATIENTS_STORE, IMAGES_STORE = "patients", "images"
PATIENTS_FILE, FEATURES_FILE = "patients.parquet", "features.parquet"
PATIENT_ID, SPLIT = "patient_id", "split"
BETWEEN = ":"
_LEAST_TYPED = 0.5
"""Of the variants of a score: with fewer, a patient has none."""

Levels = Mapping[str, tuple[str, ...]]


def load_site(patients: str | Path, images: str | Path | None, settings: Settings, *, node: int = 0) -> Site:
    """Read the data stores.

    Args:
        patients: The folder of the store of patients.
        images: Of the store of images; None where the DIZ has none.
        settings: The approved run config.
        node: Flower's id of this node.

    Raises:
        InputError: A file or column is missing, a patient has two rows, or no image belongs to a patient.
    """
    stamps = []
    for folder, name in ((patients, PATIENTS_FILE), (patients, FEATURES_FILE), (images, image_store.MANIFEST_FILE)):
        if folder is None:
            stamps.append(("", 0))
            continue
        file = Path(folder) / name
        if not file.is_file():
            raise InputError(f"The data store has no {name}; write it with `python -m multimodal_imaging prepare`.")
        stamps.append((str(file), file.stat().st_mtime_ns))
    return replace(_read(tuple(stamps), json.dumps(settings.to_json(), sort_keys=True)), node=node)


@lru_cache(maxsize=1)  # a sandbox serves one node; a second store must not pile up in an in-process run
def _read(stamps: tuple[tuple[str, int], ...], stated: str) -> Site:
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    settings = Settings.from_json(json.loads(stated))
    sheet = pq.ParquetFile(stamps[0][0]).read()  # read_table would import pandas
    if PATIENT_ID not in sheet.column_names:
        raise InputError(f"{PATIENTS_FILE} lacks the column {PATIENT_ID!r}; prepare the store again.")
    patients = tuple("" if word is None else str(word) for word in sheet[PATIENT_ID].to_pylist())
    splits = [str(s) for s in sheet[SPLIT].to_pylist()] if SPLIT in sheet.column_names else ["train"] * len(patients)
    linkage.check_patients(patients, splits)
    numbers, codes = sheet_columns(sheet, settings.levels)
    levels = {name: settings.levels[name] for name in codes}
    train = np.array([split == "train" for split in splits], dtype=np.bool_)
    site = Site(0, patients, numbers, codes, levels, train, {})
    tables = pq.ParquetFile(stamps[1][0])
    pictures, problems = _images(stamps[2][0], patients, settings)
    blocks = {}
    for name in settings.modalities:
        kind = settings.kind(name)
        if kind == PHENOME:
            blocks[name] = phenome_block(site, settings)
        elif kind == IMAGE:
            blocks[name] = pictures[name].block(len(patients))
            problems.update(pictures[name].problems)
        else:
            blocks[name] = _table_block(tables, name, patients, settings)
    return replace(site, blocks=blocks, problems=dict(problems))


def phenome_block(site: Site, settings: Settings) -> Block:
    """Numeric columns as they are, categories as a column for each level but the reference.

    Raises:
        InputError: A column is not in the table.
    """
    features = phenome_features(settings.phenome, settings.levels)
    columns = []
    for name in settings.phenome:
        if name in site.codes:
            code, levels = site.codes[name], site.levels[name]
            known = [np.where(code == MISSING, np.nan, code == place) for place in range(1, len(levels))]
            columns += [column.astype(np.float64) for column in known]
        elif name in site.numbers:
            columns.append(site.numbers[name])
        else:
            raise InputError(
                f"The patients' table has no numbers in {name!r}: add it, empty if unknown, or declare levels."
            )
    values = np.array(columns).T.reshape(site.rows, len(features))
    return Block(PHENOME, PHENOME, features, values, np.asarray(np.isfinite(values).any(axis=1)))


def _table_block(table: Any, name: str, patients: Sequence[str], settings: Settings) -> Block:
    """Genome or omics out of features.parquet, in the panel's order."""
    panel = load_panel(settings.panel)
    if name not in panel.blocks:
        raise InputError(
            f"The panel {settings.panel!r} has no block {name!r}; it has {', '.join(panel.blocks) or 'none'}."
        )
    block = panel.blocks[name]
    values = _values(table, name, block, patients)
    there = np.asarray(np.isfinite(values).any(axis=1))
    if settings.kind(name) == GENOME and settings.genome == "score":
        values = score(values, block, settings.panel)
        return Block(name, GENOME, ("score",), values, np.isfinite(values[:, 0]))
    return Block(name, settings.kind(name), block.features, values, there)


def score(dosages: Float, block: PanelBlock, panel: str) -> Float:
    """(n, 1) mean product of weight and dosage over the variants that were typed; NaN if fewer than half were.

    Raises:
        InputError: The panel states no weights.
    """
    if not block.weights:
        raise InputError(f'The panel {panel!r} states no weights of a score; add them, or state genome = "dosages".')
    typed = np.isfinite(dosages)
    sums = np.where(typed, dosages, 0) @ np.array(block.weights)
    counts = typed.sum(axis=1)
    enough = counts >= max(1, _LEAST_TYPED * dosages.shape[1])
    return np.where(enough, sums / np.maximum(counts, 1), np.nan)[:, None]


def _values(table: Any, name: str, block: PanelBlock, patients: Sequence[str]) -> Float:
    """(n, f) of the listed patients; NaN where there is none."""
    columns = set(table.schema_arrow.names)
    if PATIENT_ID not in columns:
        raise InputError(f"{FEATURES_FILE} lacks the column {PATIENT_ID!r}; prepare the store again.")
    place = {f"{name}{BETWEEN}{feature}": j for j, feature in enumerate(block.features)}
    found = table.read(columns=[PATIENT_ID, *(c for c in place if c in columns)], use_threads=False)
    owners = [str(owner) for owner in found[PATIENT_ID].to_pylist()]
    linkage.check_rows(owners, patients, FEATURES_FILE)
    row_of = {patient: row for row, patient in enumerate(patients)}
    rows = np.array([row_of[owner] for owner in owners], dtype=np.intp)
    values = np.full((len(block.features), len(patients)), np.nan)
    for column, cells in zip(found.column_names, found.columns, strict=True):
        if column != PATIENT_ID:
            values[place[column], rows] = cells.to_numpy()
    values[~np.isfinite(values)] = np.nan
    return np.ascontiguousarray(values.T)


def _images(manifest: str, patients: Sequence[str], settings: Settings) -> tuple[dict[str, image_store.Images], Any]:
    entries: list[image_store.Entry] = []
    problems: Counter[str] = Counter()
    if manifest and settings.images:
        folder = Path(manifest).parent
        listed = [row for row in image_store.read_manifest(folder) if row[1] in settings.images]
        entries, problems = image_store.entries_of(folder, listed, patients)
        if listed and problems["unknown"] == len(listed):
            raise InputError(
                f"None of {len(listed)} images belongs to a patient of the patients' table; use the same ids in both."
            )
    row_of = {patient: row for row, patient in enumerate(patients)}
    found = {}
    for name in settings.images:
        own = {row_of[entry.patient]: entry for entry in entries if entry.modality == name}
        found[name] = image_store.Images(settings, name, dict(sorted(own.items())))
    return found, problems


def sheet_columns(sheet: "pa.Table", levels: Levels) -> tuple[dict[str, Float], dict[str, Int]]:
    """Numbers and codes of the patients' table."""
    numbers: dict[str, Float] = {}
    codes: dict[str, Int] = {}
    for name in sheet.column_names:
        if name in {PATIENT_ID, SPLIT}:
            continue
        values = sheet[name].to_pylist()
        if name in levels:
            codes[name] = _codes(values, levels[name])
        elif (number := _numbers(sheet, name, values)) is not None:
            numbers[name] = number
    return numbers, codes


def _numbers(sheet: "pa.Table", name: str, values: list[Any]) -> Float | None:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    kind = sheet.schema.field(name).type
    if pa.types.is_null(kind):  # a column that a DIZ left empty
        return np.full(len(values), np.nan)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return None
    number = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    return np.where(np.isfinite(number), number, np.nan)


def _codes(values: list[Any], levels: tuple[str, ...]) -> Int:
    place = {level: code for code, level in enumerate(levels)}
    return np.array(
        [MISSING if value is None else place.get(_word(value), MISSING) for value in values], dtype=np.int64
    )


def _word(value: Any) -> str:
    """A cell as a level: 1 and 1.0 are "1", true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
