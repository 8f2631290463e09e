"""Own tables as they come: CSV, TSV (also .gz) and Parquet. Nothing is checked here but that they can be read."""

from pathlib import Path

import pandas as pd

from multimodal_imaging.errors import InputError

TEXT = ("patient_id", "image_id", "path", "modality", "icd_code", "loinc_code", "ucum_code")
"""Columns that are read as text, whatever they look like."""

_SEPARATED = "columns are separated by commas in a .csv, by tabs in a .tsv or .txt"


def read_table(file: Path, needed: tuple[str, ...] = ("patient_id",)) -> pd.DataFrame:
    """A table with a header; ids as text.

    Args:
        file: The file.
        needed: Columns that it must have.

    Raises:
        InputError: It cannot be read as one of these, has a column twice, or lacks one.
    """
    name = file.name.lower().removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            table = pd.read_parquet(file)
        elif name.endswith((".csv", ".tsv", ".txt")):
            table = _read_text(file, "," if name.endswith(".csv") else "\t")
        else:
            raise InputError(f"{file.name} is neither .csv, .tsv nor .parquet; export it as one of these.")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file} is not there; check the path.") from None
    except Exception as error:  # parsers raise many kinds; their texts may quote data
        raise InputError(f"{file.name} cannot be read as a table ({type(error).__name__}); {_SEPARATED}.") from None
    columns = [str(column) for column in table.columns]
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise InputError(f"{file.name} has the column {twice[0]!r} twice; remove one of the two.")
    if lacking := [column for column in needed if column not in columns]:
        raise InputError(f"{file.name} lacks the column {lacking[0]!r}; {_SEPARATED}.")
    for column in set(TEXT) & set(columns):
        table[column] = table[column].astype(object).where(table[column].notna(), None)
        table[column] = table[column].map(lambda cell: None if cell is None else str(cell))
    return table


def _read_text(file: Path, separator: str) -> pd.DataFrame:
    header = [
        str(cell) for cell in pd.read_csv(file, sep=separator, header=None, nrows=1, dtype=str).iloc[0].fillna("")
    ]
    kinds = {number: str for number, name in enumerate(header) if name in TEXT}
    table = pd.read_csv(file, sep=separator, header=None, skiprows=1, dtype=kinds)
    table.columns = pd.Index(header)
    return table
