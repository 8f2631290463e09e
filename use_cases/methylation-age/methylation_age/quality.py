"""The input contract for own data: a beta matrix and a sample sheet, checked before anything is written.

Beta matrix: CSV, TSV (also .gz) or Parquet, samples x CpGs or CpGs x samples (told apart by the probe ids, ``cg`` and
eight digits), values in [0, 1], missing values allowed. Sample sheet: CSV, TSV or Parquet with the columns `REQUIRED`
and, if wanted, `OPTIONAL`.

What cannot be right is an `InputError`: no or two orientations, M-values, percentages, repeated ids, ages that are
missing or impossible, unknown columns, ids in one table only. What is merely incomplete is dropped and reported: probes
with more than 5 % missing values, then samples with more than 10 %; if more than half of either would go, that is an
error as well. No text of this module carries an id or a value of a patient.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from methylation_age.cohort import SPLITS
from methylation_age.errors import InputError
from methylation_age.horvath import MINIMUM_AGE

REQUIRED = ("sample_id", "patient_id", "age")
OPTIONAL = ("sex", "tissue", "batch", "split")

PROBE_MISSING = 0.05
SAMPLE_MISSING = 0.10
OLDEST = 125.0

_PROBE = re.compile(r"cg\d{8}|ch\.[0-9XY]+\.\d+[FR]")


@dataclass(frozen=True, eq=False)
class Checked:
    """Tables that keep the contract, in the same order of samples.

    Attributes:
        betas: Samples x CpGs, float64, index = sample ids.
        samples: The sheet.
        report: Counts of what was dropped and what is missing.
    """

    betas: pd.DataFrame
    samples: pd.DataFrame
    report: dict[str, Any]


def read_betas(file: Path) -> pd.DataFrame:
    """Samples x CpGs from a beta matrix in either orientation, not yet checked for its values.

    Raises:
        InputError: The file cannot be read, or its orientation cannot be told.
    """
    table = _read(file)
    table = table.set_index(table.columns[0])
    if _probes(table.columns) and _probes(table.index):
        raise InputError(f"{file.name} has CpG ids in its rows and in its columns; one of the two must be sample ids.")
    if _probes(table.index):
        table = table.T
    elif not _probes(table.columns):
        raise InputError(
            f"{file.name} has CpG ids (cg and eight digits) neither in its first row nor in its first column; "
            "give a matrix of samples x CpGs or CpGs x samples with the ids."
        )
    table.index = table.index.astype(str)
    table.index.name = "sample_id"
    table.columns.name = None
    return table


def read_samples(file: Path, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """The sample sheet, ids as text, not yet checked for its values.

    Args:
        file: CSV, TSV or Parquet.
        extra: Further columns that may be there, and then must.

    Raises:
        InputError: The file cannot be read, or its columns are not those of the contract.
    """
    table = _read(file)
    if missing := [name for name in (*REQUIRED, *extra) if name not in table.columns]:
        raise InputError(f"{file.name} lacks the column {missing[0]!r}; it has {_list(table.columns)}.")
    if table.columns.has_duplicates:
        raise InputError(f"{file.name} has a column twice ({_list(table.columns)}); remove one of the two.")
    known = (*REQUIRED, *OPTIONAL, *extra)
    if unknown := [str(name) for name in table.columns if name not in known]:
        raise InputError(
            f"{file.name} has unknown columns ({_list(unknown)}); remove them, or rename them to one of "
            f"{', '.join(known)}."
        )
    for column in ("sample_id", "patient_id"):
        if absent := int(table[column].isna().sum()):
            raise InputError(f"{absent} rows of {file.name} have no {column}; fill the column.")
        table[column] = table[column].astype(str)
    return table


def check(betas: pd.DataFrame, samples: pd.DataFrame) -> Checked:
    """Check both tables against the contract and against each other.

    Raises:
        InputError: They cannot be used; the text says why and what to do.
    """
    betas = check_betas(betas)
    _check_samples(samples)
    only_betas = len(betas.index.difference(samples["sample_id"]))
    only_sheet = len(pd.Index(samples["sample_id"]).difference(betas.index))
    if only_betas or only_sheet:
        raise InputError(
            f"{only_betas} samples are only in the beta matrix and {only_sheet} only in the sample sheet; "
            "give both tables the same sample ids."
        )
    betas = betas.loc[samples["sample_id"]]
    missing = betas.isna()
    probes = missing.mean(axis=0) <= PROBE_MISSING
    kept = missing.loc[:, probes]
    rows = (kept.mean(axis=1) <= SAMPLE_MISSING).to_numpy() if probes.any() else np.zeros(len(betas), dtype=bool)
    if 2 * probes.sum() < len(probes):
        raise InputError(
            f"{int((~probes).sum())} of {len(probes)} CpGs miss more than {PROBE_MISSING:.0%} of their values; "
            "check how the matrix was exported."
        )
    if 2 * rows.sum() < len(rows):
        raise InputError(
            f"{int((~rows).sum())} of {len(rows)} samples miss more than {SAMPLE_MISSING:.0%} of their values; "
            "check how the matrix was exported."
        )
    report = {
        "samples": int(rows.sum()),
        "samples_dropped": int((~rows).sum()),
        "cpgs": int(probes.sum()),
        "cpgs_dropped": int((~probes).sum()),
        "values_missing": int(kept.loc[rows].to_numpy().sum()),
    }
    return Checked(betas.loc[rows, probes], samples.loc[rows].reset_index(drop=True), report)


def check_betas(betas: pd.DataFrame) -> pd.DataFrame:
    """The beta matrix as float64, once its ids and values are those of betas.

    Raises:
        InputError: An id is repeated or unknown, or a value is no beta.
    """
    if repeated := int(betas.columns.duplicated().sum()):
        raise InputError(f"The beta matrix names {repeated} CpGs more than once; merge or remove the repetitions.")
    if repeated := int(betas.index.duplicated().sum()):
        raise InputError(f"The beta matrix has {repeated} repeated sample ids; merge or remove the repetitions.")
    if others := [str(name) for name in betas.columns if not _PROBE.fullmatch(str(name))]:
        raise InputError(
            f"The beta matrix has {len(others)} columns or rows that are no CpGs ({_list(others)}); "
            "move them to the sample sheet or remove them."
        )
    try:
        betas = betas.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError("The beta matrix holds values that are not numbers; leave missing values empty.") from None
    values = betas.to_numpy()
    if np.isinf(values).any():
        raise InputError("The beta matrix holds infinite values; M-values were perhaps made of betas 0 and 1.")
    if not (present := values[~np.isnan(values)]).size:
        raise InputError("The beta matrix holds no value; check how it was exported.")
    if present.min() < 0.0:
        raise InputError(
            "The beta matrix has negative values and looks like M-values; convert them: beta = 2^M / (2^M + 1)."
        )
    if present.max() > 1.0:
        mend = "looks like percentages; divide by 100" if present.max() <= 100.0 else "is no table of betas"
        raise InputError(f"The beta matrix has values above 1 and {mend}.")
    return betas


def _check_samples(samples: pd.DataFrame) -> None:
    if repeated := int(samples["sample_id"].duplicated().sum()):
        raise InputError(f"The sample sheet has {repeated} repeated sample ids; give each sample one row.")
    age = pd.to_numeric(samples["age"], errors="coerce")
    # Only what a clock is adapted to may lack its age; a word where a number should be is an error there as well.
    needed = samples["split"] != "target" if "split" in samples else pd.Series(data=True, index=samples.index)
    if absent := int((age.isna() & (needed | samples["age"].notna())).sum()):
        raise InputError(
            f"{absent} samples have no age, or one that is no number; fill it in years or remove the rows."
        )
    if impossible := int(((age <= MINIMUM_AGE) | (age > OLDEST)).sum()):
        raise InputError(f"{impossible} ages are not between -1 and {OLDEST:.0f} years; are they in months or days?")
    samples["age"] = age.astype(np.float64)
    if "split" in samples:
        if wrong := int((~samples["split"].isin(SPLITS)).sum()):
            raise InputError(
                f"{wrong} samples have a split other than {', '.join(SPLITS)}; correct or remove the column."
            )
        if both := int((samples.groupby("patient_id")["split"].nunique() > 1).sum()):
            raise InputError(
                f"{both} patients are in two of {', '.join(SPLITS)}; put all samples of a patient into one."
            )


def _read(file: Path) -> pd.DataFrame:
    name = file.name.lower().removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            table = pd.read_parquet(file)
            if table.index.name is not None or not isinstance(table.index, pd.RangeIndex):
                table = table.reset_index()
        elif name.endswith((".csv", ".tsv", ".txt")):
            table = _read_text(file, "," if name.endswith(".csv") else "\t")
        else:
            raise InputError(f"{file.name} is neither .csv, .tsv nor .parquet; export it as one of these.")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file} is not there; check the path.") from None
    except Exception as error:  # parsers raise many kinds; their texts may quote data
        raise InputError(f"{file.name} cannot be read as a table ({type(error).__name__}); export it again.") from None
    if len(table.columns) < 2:
        raise InputError(f"{file.name} has fewer than two columns; check the separator.")
    return table


def _read_text(file: Path, separator: str) -> pd.DataFrame:
    """A table with the header as it stands: pandas would rename a repeated column, and so hide it."""
    header = pd.read_csv(file, sep=separator, header=None, nrows=1, dtype=str).iloc[0].fillna("")
    table = pd.read_csv(file, sep=separator, header=None, skiprows=1, dtype={0: str})
    table.columns = pd.Index(header)
    return table


def _probes(ids: pd.Index) -> bool:
    """Whether more than half of these are probe ids."""
    return sum(bool(_PROBE.match(str(name))) for name in ids) > 0.5 * len(ids)


def _list(names: Any) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
