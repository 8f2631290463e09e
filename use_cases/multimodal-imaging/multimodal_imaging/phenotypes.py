"""Long FHIR tables (packaged views ``diagnose`` and ``laborbefund``) to a column per code and a row per patient.

A diagnosis is 1 where a patient has its code and 0 where the patient has diagnoses but not this one; a laboratory value
is the median of the patient's values in the code's unit. Who has no row in a table has no value in its columns: what is
missing stays missing. Codes that few patients have would point at them, so that columns are made of codes that are
declared (all DIZ need the same), or else of those that at least `LEAST` patients have.
"""

from collections.abc import Sequence

import pandas as pd

from multimodal_imaging.errors import InputError

LEAST = 10
ICD, LOINC = "icd_", "loinc_"
"""Beginnings of the new columns' names."""

_NO_DIAGNOSES, _NO_VALUES = ("entered-in-error", "refuted"), ("entered-in-error", "cancelled")
_ICD_LENGTH = 3


def diagnoses(table: pd.DataFrame, codes: Sequence[str] = ()) -> pd.DataFrame:
    """Patient x code, by the first three characters of ICD-10.

    Args:
        table: ``patient_id``, ``icd_code`` and optionally ``verification_status``.
        codes: Declared ones; empty for those of at least `LEAST` patients.
    """
    table = _without(table, "verification_status", _NO_DIAGNOSES)
    short = table["icd_code"].astype("string").str.strip().str.upper().str[:_ICD_LENGTH]
    rows = pd.DataFrame({"patient_id": table["patient_id"], "code": short}).dropna().drop_duplicates()
    counts = rows.groupby("code")["patient_id"].nunique()
    chosen = [code.upper()[:_ICD_LENGTH] for code in codes] or sorted(counts.index[counts >= LEAST])
    patients = sorted(set(table["patient_id"].dropna()))
    found = pd.crosstab(rows["patient_id"], rows["code"]).clip(upper=1)
    found = found.reindex(index=patients, columns=chosen, fill_value=0).astype(float)
    return found.add_prefix(ICD).rename_axis(index="patient_id", columns=None)


def laboratory(table: pd.DataFrame, codes: Sequence[str] = ()) -> pd.DataFrame:
    """Patient x code, by LOINC.

    Args:
        table: ``patient_id``, ``loinc_code``, ``value``, and optionally ``ucum_code`` and ``status``.
        codes: Declared ones; empty for those of at least `LEAST` patients.

    Raises:
        InputError: A code has values in more than one unit.
    """
    table = _without(table, "status", _NO_VALUES)
    value = pd.to_numeric(table["value"], errors="coerce")
    rows = table.assign(value=value).dropna(subset=["patient_id", "loinc_code", "value"])
    counts = rows.groupby("loinc_code")["patient_id"].nunique()
    chosen = list(codes) or sorted(counts.index[counts >= LEAST])
    rows = rows[rows["loinc_code"].isin(chosen)]
    if "ucum_code" in rows:
        units = rows.groupby("loinc_code")["ucum_code"].nunique(dropna=False)
        if mixed := sorted(units.index[units > 1]):
            raise InputError(
                f"{len(mixed)} laboratory codes have values in several units, {mixed[0]} among them; bring each to one."
            )
    found = rows.pivot_table(index="patient_id", columns="loinc_code", values="value", aggfunc="median")
    return found.reindex(columns=chosen).astype(float).add_prefix(LOINC).rename_axis(columns=None)


def joined(patients: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The patients' table with these columns beside; rows of others are left out.

    Raises:
        InputError: A column is there already.
    """
    found = patients
    for table in tables:
        if twice := sorted(set(table.columns) & set(found.columns)):
            raise InputError(f"The patients' table has the column {twice[0]!r} already; rename one of the two.")
        found = found.merge(table, how="left", left_on="patient_id", right_index=True)
    return found


def _without(table: pd.DataFrame, column: str, words: Sequence[str]) -> pd.DataFrame:
    return table[~table[column].isin(words)] if column in table else table
