"""Who is who: rows and images belong to patients, each patient to one split. Errors state counts, never ids."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from multimodal_imaging.errors import InputError, many

SPLITS = ("train", "test")


def check_patients(patients: Sequence[str], splits: Sequence[str]) -> None:
    """Each patient has one row, in one split.

    Args:
        patients: Ids, row by row.
        splits: "train" or "test", row by row.

    Raises:
        InputError: A patient is in both, has several rows or no id, or there is another split.
    """
    if unknown := sum(split not in SPLITS for split in splits):
        raise InputError(
            f"{many(unknown, 'patient has', 'patients have')} a split other than train and test; correct the column."
        )
    if unnamed := sum(not patient or patient.strip() == "" for patient in patients):
        rows = many(unnamed, "row of the patients' table has", "rows of the patients' table have")
        raise InputError(f"{rows} no patient_id; fill the column.")
    held: dict[str, set[str]] = {}
    for patient, split in zip(patients, splits, strict=True):
        held.setdefault(patient, set()).add(split)
    if leaking := sum(len(found) > 1 for found in held.values()):
        raise InputError(
            f"{many(leaking, 'patient is', 'patients are')} in train and in test: what a model learned there would "
            "count as foreknowledge. Put each patient into one split."
        )
    if repeated := sum(count > 1 for count in Counter(patients).values()):
        who = many(repeated, "patient has", "patients have")
        raise InputError(f"{who} several rows in the patients' table; give each patient one row.")


def check_rows(patients: Iterable[str], known: Iterable[str], what: str) -> None:
    """Rows of a further table belong to known patients, one row each.

    Raises:
        InputError: They do not.
    """
    rows = list(patients)
    if repeated := sum(count > 1 for count in Counter(rows).values()):
        who = many(repeated, "patient has", "patients have")
        raise InputError(f"{who} more than one row in {what}; give each patient one row.")
    if unknown := len(set(rows) - set(known)):
        who = many(unknown, f"patient of {what} is", f"patients of {what} are")
        raise InputError(f"{who} not in the patients' table; add them, or leave them out.")


def check_sites(patients_of: Mapping[str, Iterable[str]]) -> None:
    """No patient is at two sites, where it would train at one and test at the other.

    Raises:
        InputError: One is.
    """
    seen = Counter(patient for patients in patients_of.values() for patient in set(patients))
    if twice := sum(count > 1 for count in seen.values()):
        raise InputError(
            f"{many(twice, 'patient id is', 'patient ids are')} at more than one site. Keep the same person "
            "at one site, and give different people ids that differ."
        )
