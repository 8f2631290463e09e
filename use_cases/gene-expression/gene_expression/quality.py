"""The input contract for own data, checked before anything is written.

What cannot be right is an `InputError` that says the mend: ids that are missing, repeated, of several types or in one
table only; infinite or negative values; values that are neither raw counts nor logarithms, or not those that were
announced; samples without any read; a design whose columns are missing, constant or collinear. What is merely
incomplete is counted in the report. No text of this module carries a value or an id of a patient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gene_expression.errors import InputError
from gene_expression.panel import check_genes, id_type, without_version
from gene_expression.readers import PATIENT_ID, SAMPLE_ID
from gene_expression.store import SPLIT, SPLITS, Levels
from gene_expression.table import COUNTS, HIGHEST_LOG, LOG2

MOST_MISSING = 0.5
"""Of a column of the design."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Checked:
    """Tables that keep the contract, in the same order of samples.

    Attributes:
        values: Samples x genes, float64, index = sample ids, Ensembl ids without version.
        samples: The sheet.
        scale: `COUNTS` or `LOG2`.
        id_type: Of the genes.
        report: What is worth knowing, counts only.
    """

    values: pd.DataFrame
    samples: pd.DataFrame
    scale: str
    id_type: str
    report: dict[str, Any]


def check(
    values: pd.DataFrame, samples: pd.DataFrame, *, scale: str = "", design: tuple[str, ...] = (), levels: Levels
) -> Checked:
    """Check both tables against the contract and against each other.

    Args:
        values: Samples x genes.
        samples: The sheet, ids as text.
        scale: What the values are said to be; empty to find out.
        design: Columns that are going to enter a model.
        levels: Declared levels by column.

    Raises:
        InputError: They cannot be used; the text says why and what to do.
    """
    values = _check_ids(values, samples)
    kind = id_type(values.columns)
    values = _numbers(values).loc[samples[SAMPLE_ID]]
    found = _check_scale(values.to_numpy(), scale)
    _check_split(samples)
    rows = _check_design(samples, design, levels)
    matrix = values.to_numpy()
    report = {
        "samples": len(values),
        "patients": int(samples[PATIENT_ID].nunique()),
        "genes": len(values.columns),
        "id_type": kind,
        "scale": found,
        "values_missing": int(np.isnan(matrix).sum()),
        "genes_with_missing": int(np.isnan(matrix).any(axis=0).sum()),
        "genes_constant": int((np.nanmax(matrix, axis=0) == np.nanmin(matrix, axis=0)).sum()),
        "samples_left_out_by_design": len(values) - rows,
    }
    return Checked(values, samples.reset_index(drop=True), found, kind, report)


def _check_ids(values: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    if repeated := int(values.index.duplicated().sum()):
        raise InputError(f"The expression matrix has {repeated} repeated sample ids; merge or remove the repetitions.")
    genes = [without_version(str(gene)) for gene in values.columns]
    if blank := sum(gene.strip() in {"", "nan", "?"} for gene in genes):
        raise InputError(f"{blank} genes have no id; name them or leave them out.")
    repeated_genes = pd.Index(genes)[pd.Index(genes).duplicated()]
    if len(repeated_genes):
        raise InputError(
            f"{len(repeated_genes)} gene ids are there more than once (as {repeated_genes[0]}), perhaps with several "
            "versions; add their counts up, or keep the one with the highest mean."
        )
    check_genes(tuple(genes), "The expression matrix")
    only_values = len(values.index.difference(pd.Index(samples[SAMPLE_ID])))
    only_sheet = len(pd.Index(samples[SAMPLE_ID]).difference(values.index))
    if only_values or only_sheet:
        raise InputError(
            f"{only_values} samples are only in the expression matrix and {only_sheet} only in the sample sheet; give "
            "both the same sample ids, and take what is no sample (symbols, lengths) out of the matrix."
        )
    values = values.copy(deep=False)
    values.columns = pd.Index(genes)
    return values


def _numbers(values: pd.DataFrame) -> pd.DataFrame:
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(
            "The expression matrix holds values that are no numbers; leave missing values empty, write decimals with a "
            "point, and take rows and columns that describe genes out."
        ) from None
    if bool(np.isinf(numbers.to_numpy()).any()):
        raise InputError("The expression matrix holds infinite values, perhaps logarithms of 0; use log2(x + 1).")
    if bool(numbers.isna().all(axis=None)):
        raise InputError("The expression matrix holds no value; check how it was exported.")
    return numbers


def _check_scale(matrix: Float, stated: str) -> str:
    """What the values are."""
    present = matrix[~np.isnan(matrix)]
    whole = bool((present == np.round(present)).all())
    low, high = float(present.min()), float(present.max())
    if low < 0 and (stated == COUNTS or (whole and not stated)):
        raise InputError(
            "There are negative counts, so these are logarithms or differences; give the raw counts, or state "
            "--scale log2."
        )
    found = ""
    if whole and low >= 0 and high > HIGHEST_LOG:
        found = COUNTS
    elif not whole and high <= HIGHEST_LOG:
        found = LOG2
    if stated == COUNTS and found != COUNTS:
        raise InputError(
            "The values are said to be counts and are not whole numbers, or none is above 40; give the raw counts of a "
            "quantifier, rounded where it estimates them, not TPM, FPKM or logarithms."
        )
    if stated == LOG2 and found == COUNTS:
        raise InputError("The values are said to be logarithms and look like raw counts; state --scale counts.")
    if stated == LOG2 and high > HIGHEST_LOG:
        raise InputError(
            f"The values are said to be logarithms of base 2, and some are above {HIGHEST_LOG:.0f}; they look like "
            "intensities, TPM or FPKM: take log2(x + 1)."
        )
    if not (stated or found):
        raise InputError(
            "The values are neither raw counts (whole numbers from 0, some above 40) nor logarithms (below 40, not "
            "whole). Take log2(x + 1) of intensities, TPM or FPKM, and state --scale log2; of RNA-Seq give raw counts, "
            "rounded where the quantifier estimates them."
        )
    scale = stated or found
    if scale == COUNTS:
        _check_counts(matrix)
    return scale


def _check_counts(matrix: Float) -> None:
    if missing := int(np.isnan(matrix).sum()):
        raise InputError(f"{missing} counts are missing; a gene without reads has the count 0.")
    if empty := int((matrix.sum(axis=1) == 0).sum()):
        raise InputError(f"{empty} samples have no read at all; leave them out.")


def _check_split(samples: pd.DataFrame) -> None:
    if SPLIT not in samples:
        return
    if wrong := int((~samples[SPLIT].isin(SPLITS)).sum()):
        raise InputError(f"{wrong} samples have a split other than train or test; correct or remove the column.")
    if both := int((samples.groupby(PATIENT_ID)[SPLIT].nunique() > 1).sum()):
        raise InputError(f"{both} patients are in train and in test; put all samples of a patient into one.")


def _check_design(samples: pd.DataFrame, design: tuple[str, ...], levels: Levels) -> int:
    """How many samples have every column of the design."""
    if not design:
        return len(samples)
    columns = {name: _column(samples, name, levels) for name in design}
    complete = np.ones(len(samples), dtype=bool)
    for name, column in columns.items():
        present = np.isfinite(column).all(axis=1)
        if (~present).mean() > MOST_MISSING:
            raise InputError(
                f"{int((~present).sum())} of {len(samples)} samples have no usable {name}; fill the column, declare "
                "its levels as they are written (upper and lower case count), or leave it out of the design."
            )
        complete &= present
    if not complete.any():
        raise InputError(f"No sample has all of {', '.join(design)}; fill the columns.")
    X = np.ones((int(complete.sum()), 1))
    for name, column in columns.items():
        kept = column[complete]
        if name in levels:
            _check_levels(kept, name, levels[name])
        elif bool((np.ptp(kept, axis=0) == 0).any()):
            raise InputError(
                f"The column {name!r} of the design has the same value in all samples; leave it out, or prepare "
                "without --design if it differs at other DIZ."
            )
        scaled = (kept - kept.mean(axis=0)) / kept.std(axis=0)
        if np.linalg.matrix_rank(np.column_stack([X, scaled])) < X.shape[1] + scaled.shape[1]:
            raise InputError(
                f"The column {name!r} says nothing that the columns before it do not say (the design is collinear); "
                "leave one of them out."
            )
        X = np.column_stack([X, scaled])
    return int(complete.sum())


def _check_levels(kept: Float, name: str, levels: tuple[str, ...]) -> None:
    """Each declared level is that of a sample; `kept` says it of all levels but the reference."""
    found = [not bool(kept.any(axis=1).all()), *kept.any(axis=0).tolist()]
    if absent := [level for level, there in zip(levels, found, strict=True) if not there]:
        raise InputError(
            f"No sample has the level {absent[0]!r} of {name!r} and the other columns of the design; declare levels as "
            "they are written (upper and lower case count), or prepare without --design if other DIZ have that level."
        )


def _column(samples: pd.DataFrame, name: str, levels: Levels) -> Float:
    """(n, k) the columns of the model matrix that a column makes, NaN where missing."""
    if name not in samples:
        raise InputError(f"The sample sheet has no column {name!r} of the design; add it or correct the name.")
    column = samples[name]
    if name in levels:
        words = column.map(word_of)
        known = words.isin(levels[name])
        found = np.column_stack([(words == level).to_numpy(dtype=np.float64) for level in levels[name][1:]])
        found[~known.to_numpy(dtype=bool)] = np.nan
        return np.asarray(found, dtype=np.float64)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(numbers).all():
        raise InputError(
            f"The column {name!r} holds no numbers; write numbers without units, or declare its levels: --levels "
            f'"{name}=a|b".'
        )
    return np.where(np.isfinite(numbers), numbers, np.nan)[:, None]


def word_of(cell: Any) -> Any:
    """A cell as a level: 1 and 1.0 are "1", true is "true"."""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell)).lower()
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return cell if pd.isna(cell) else str(cell)
