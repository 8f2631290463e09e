"""Own files into one shape: samples x genes, and a sample sheet. Nothing is checked here but that they can be read.

Expression: CSV, TSV (also .gz) or Parquet, samples x genes or genes x samples, told apart by the sample ids of the
sheet; or AnnData's .h5ad (see `annotated`), whose ``obs`` is the sheet unless another one is given.
"""

from pathlib import Path

import pandas as pd

from gene_expression.annotated import read_h5ad
from gene_expression.errors import InputError

SAMPLE_ID, PATIENT_ID = "sample_id", "patient_id"

_SEPARATED = "columns are separated by commas in a .csv, by tabs in a .tsv or .txt"


def read_own(expression: Path, samples: Path | None, layer: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Own files.

    Args:
        expression: The values.
        samples: The sample sheet; None where `expression` is .h5ad and its ``obs`` is meant.
        layer: Of an .h5ad file, instead of X.

    Returns:
        Samples x genes, index = sample ids as text; and the sheet, ids as text.

    Raises:
        InputError: A file cannot be read, or the two have no sample in common.
    """
    annotated = expression.suffix == ".h5ad"
    if layer and not annotated:
        raise InputError("--layer is for .h5ad files; this is another one.")
    if samples is None and not annotated:
        raise InputError("Give a sample sheet as well: a table with sample_id, patient_id and your columns.")
    if annotated:
        values, sheet = read_h5ad(expression, layer)
        sheet = sheet if samples is None else read_samples(samples)
    else:
        sheet = read_samples(samples) if samples else pd.DataFrame()
    _check_ids(sheet, (samples or expression).name)
    if not annotated:
        values = _orient(read_table(expression), set(sheet[SAMPLE_ID]), expression.name)
    return values, sheet


def read_samples(file: Path) -> pd.DataFrame:
    """A sample sheet, ids as text.

    Raises:
        InputError: It cannot be read.
    """
    return read_table(file, text=(SAMPLE_ID, PATIENT_ID))


def read_table(file: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """CSV, TSV or Parquet, with the header as it stands: pandas would rename a repeated column, and so hide it.

    Args:
        file: The file.
        text: Columns that are read as text, whatever they look like; the first column always is.

    Raises:
        InputError: It cannot be read as one of these.
    """
    name = file.name.lower().removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            table = pd.read_parquet(file)
            if table.index.name is not None or not isinstance(table.index, pd.RangeIndex):
                table = table.reset_index()
        elif name.endswith((".csv", ".tsv", ".txt")):
            table = _read_text(file, "," if name.endswith(".csv") else "\t", text)
        else:
            raise InputError(f"{file.name} is neither .csv, .tsv, .parquet nor .h5ad; export it as one of these.")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file} is not there; check the path.") from None
    except Exception as error:  # parsers raise many kinds; their texts may quote data
        mend = "export it again" if name.endswith(".parquet") else f"{_SEPARATED}, and decimals have a point"
        raise InputError(f"{file.name} cannot be read as a table ({type(error).__name__}); {mend}.") from None
    if len(table.columns) < 2:
        raise InputError(f"{file.name} has fewer than two columns; {_SEPARATED}.")
    return table


def _read_text(file: Path, separator: str, text: tuple[str, ...]) -> pd.DataFrame:
    header = [
        str(cell) for cell in pd.read_csv(file, sep=separator, header=None, nrows=1, dtype=str).iloc[0].fillna("")
    ]
    kinds = {number: str for number, name in enumerate(header) if number == 0 or name in text}
    table = pd.read_csv(file, sep=separator, header=None, skiprows=1, dtype=kinds)
    if len(table.columns) == len(header) + 1:  # R's write.table leaves out the corner
        header.insert(0, "")
    table.columns = pd.Index(header)
    return table


def _check_ids(sheet: pd.DataFrame, name: str) -> None:
    if repeated := sorted({str(column) for column in sheet.columns[sheet.columns.duplicated()]}):
        raise InputError(f"{name} has the column {repeated[0]!r} twice; remove one of the two.")
    for column in (SAMPLE_ID, PATIENT_ID):
        if column not in sheet:
            raise InputError(f"{name} lacks the column {column!r}; add it, one sample a row.")
        if absent := int(sheet[column].isna().sum()):
            raise InputError(f"{absent} rows of {name} have no {column}; fill the column.")
        sheet[column] = sheet[column].astype(str)
    if repeated_ids := int(sheet[SAMPLE_ID].duplicated().sum()):
        raise InputError(f"{name} has {repeated_ids} repeated sample ids; give each sample one row.")


def _orient(table: pd.DataFrame, samples: set[str], name: str) -> pd.DataFrame:
    """Samples x genes from a matrix whose first column holds ids."""
    first = table.columns[0]
    down = sum(str(cell) in samples for cell in table[first])
    across = sum(str(column) in samples for column in table.columns[1:])
    if not down and not across:
        raise InputError(
            f"{name} has sample ids of the sheet neither in its first row nor in its first column; give both files the "
            "same ids."
        )
    if down and across:
        raise InputError(f"{name} has sample ids in its first row and in its first column; one must be gene ids.")
    table = table.set_index(first)
    table.index = table.index.astype(str)
    table.columns = pd.Index([str(column) for column in table.columns])
    values = table.T if across else table
    values.index.name = SAMPLE_ID
    values.columns.name = None
    return values
