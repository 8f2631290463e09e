"""Own files: a patients' table, tables of features, long FHIR tables and a manifest of images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import pandas as pd

from multimodal_imaging import linkage, phenotypes
from multimodal_imaging.errors import InputError, many
from multimodal_imaging.readers import read_table
from multimodal_imaging.store import BETWEEN, PATIENT_ID

MANIFEST = (PATIENT_ID, "path", "modality")


@dataclass(frozen=True)
class OwnFiles:
    """Where own data are.

    Attributes:
        patients: A table with ``patient_id``, columns, and optionally ``split``.
        tables: By block, a table with ``patient_id`` and one column per feature.
        diagnoses: A long table as the FHIR view ``diagnose``; None for none.
        laboratory: Likewise ``laborbefund``.
        codes: Of both, that become columns; empty for those that enough patients have.
        manifest: Of images: ``patient_id``, ``path`` and ``modality``; None for none.
        pictures: Modalities that are single pictures.
    """

    patients: Path
    tables: Mapping[str, Path] = field(default_factory=dict)
    diagnoses: Path | None = None
    laboratory: Path | None = None
    codes: tuple[str, ...] = ()
    manifest: Path | None = None
    pictures: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """In which the manifest's paths lie."""
        return self.manifest.parent if self.manifest else self.patients.parent


def read_own(files: OwnFiles) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Patients, features and manifest, ids as text.

    Raises:
        InputError: A file cannot be read, or a row has no id.
    """
    patients = _named(read_table(files.patients), files.patients)
    long = []
    if files.diagnoses:
        table = read_table(files.diagnoses, (PATIENT_ID, "icd_code"))
        long.append(phenotypes.diagnoses(table, [code for code in files.codes if not _is_loinc(code)]))
    if files.laboratory:
        table = read_table(files.laboratory, (PATIENT_ID, "loinc_code", "value"))
        long.append(phenotypes.laboratory(table, [code for code in files.codes if _is_loinc(code)]))
    return phenotypes.joined(patients, long), _features(files.tables), _manifest(files.manifest)


def _features(tables: Mapping[str, Path]) -> pd.DataFrame:
    found = []
    for block, file in tables.items():
        if not block or BETWEEN in block or "," in block:
            raise InputError(f"{block!r} is no name of a block; give --table NAME=FILE.")
        table = _named(read_table(file), file)
        linkage.check_rows(table[PATIENT_ID], table[PATIENT_ID], file.name)
        table = table.set_index(PATIENT_ID)
        if words := [str(c) for c in table.columns if not pd.api.types.is_numeric_dtype(table[c])]:
            what = many(len(words), f"column of {file.name} is", f"columns of {file.name} are")
            raise InputError(f"{what} not numeric, {words[0]!r} among them.")
        found.append(table.astype(float).add_prefix(f"{block}{BETWEEN}"))
    if not found:
        return pd.DataFrame({PATIENT_ID: pd.Series(dtype=str)})
    return reduce(lambda a, b: a.join(b, how="outer"), found).rename_axis(PATIENT_ID).reset_index()


def _manifest(file: Path | None) -> pd.DataFrame:
    if file is None:
        return pd.DataFrame({column: pd.Series(dtype=str) for column in ("image_id", *MANIFEST)})
    table = read_table(file, MANIFEST)
    for column in MANIFEST:
        _named(table, file, column)
    if "image_id" not in table:
        table.insert(0, "image_id", [f"I{row:06d}" for row in range(1, len(table) + 1)])
    if repeated := int(table["image_id"].duplicated().sum()):
        what = many(repeated, f"image id of {file.name} is", f"image ids of {file.name} are")
        raise InputError(f"{what} there twice; give each file its own, or leave the column out.")
    return table


def _named(table: pd.DataFrame, file: Path, column: str = PATIENT_ID) -> pd.DataFrame:
    if absent := int(table[column].isna().sum()):
        rows = many(absent, f"row of {file.name} has", f"rows of {file.name} have")
        raise InputError(f"{rows} no {column}; fill the column.")
    return table


def _is_loinc(code: str) -> bool:
    number, _, check = code.partition("-")
    return number.isdigit() and len(check) == 1 and check.isdigit()
