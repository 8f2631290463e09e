"""A DIZ's data store read into a `Table`, once while its files do not change.

A data store is a folder with two Parquet files, written by `python -m gene_expression prepare`:

* ``samples.parquet``: one row per sample: ``sample_id``, ``patient_id``, optionally ``split`` ("train" or "test";
  without it all rows train), and further columns. Numbers and true/false become `Table.numbers`; a column with declared
  levels, of words or numbers, becomes `Table.codes`. Infinite numbers count as missing. Words without declared levels
  are not read: what is not declared cannot be asked for;
* ``expression.parquet``: ``sample_id`` and one column of counts or logarithms per gene, missing values allowed.

The samples decide which rows are used: a node that offers a view of its store (after a consent was withdrawn) cuts that
table, and expression of samples that are not listed is not read. Versions of Ensembl ids are ignored.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gene_expression.errors import InputError
from gene_expression.panel import load_panel, without_version
from gene_expression.table import COUNTS, HIGHEST_LOG, LOG2, MISSING, Float, Int, Table

if TYPE_CHECKING:
    import pyarrow as pa

EXPRESSION_FILE = "expression.parquet"
SAMPLES_FILE = "samples.parquet"
SAMPLE_ID, PATIENT_ID, SPLIT = "sample_id", "patient_id", "split"
SPLITS = ("train", "test")
SCALES = (COUNTS, LOG2)

Levels = Mapping[str, tuple[str, ...]]


def parse_levels(text: str) -> dict[str, tuple[str, ...]]:
    """Declared levels by column; the first one is the reference.

    Args:
        text: ``"column=level|level; column=level|level"``; empty for none.

    Raises:
        InputError: It is not of this form, or a column has fewer than two levels, or one twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, sign, stated = (word.strip() for word in part.partition("="))
        levels = tuple(level.strip() for level in stated.split("|"))
        if not name or not sign or name in found or "" in levels or len(set(levels)) < max(2, len(levels)):
            raise InputError(f"The levels {part!r} are not of the form column=level|level, each of them once.")
        found[name] = levels
    return found


def load_table(folder: str | Path, panel: str, *, scale: str, levels: str = "", node: int = 0) -> Table:
    """Read a data store.

    Args:
        folder: The data store's folder.
        panel: Name of the panel that gives the columns.
        scale: What the values are, `COUNTS` or `LOG2`.
        levels: Declared levels, see `parse_levels`.
        node: Flower's id of this node.

    Raises:
        InputError: A file or column is missing, a sample is in one table only, or counts are no counts.
    """
    if scale not in SCALES:
        raise InputError(f"Values are {' or '.join(SCALES)}, not {scale!r}; correct the run-config key 'scale'.")
    stamps = []
    for name in (SAMPLES_FILE, EXPRESSION_FILE):
        file = Path(folder) / name
        if not file.is_file():
            raise InputError(f"The data store has no {name}; write it with `python -m gene_expression prepare`.")
        stamps.append((str(file), file.stat().st_mtime_ns))
    return replace(_read(*stamps, panel, scale, levels), node=node)


@lru_cache(maxsize=1)  # a sandbox serves one node; a second store must not pile up in an in-process run
def _read(samples: tuple[str, int], expression: tuple[str, int], panel: str, scale: str, levels: str) -> Table:
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    sheet = pq.ParquetFile(samples[0]).read()  # read_table would import pandas
    for column in (SAMPLE_ID, PATIENT_ID):
        if column not in sheet.column_names:
            raise InputError(f"{SAMPLES_FILE} lacks the column {column!r}; prepare the store again.")
    genes = load_panel(panel).genes
    values = _expression(pq.ParquetFile(expression[0]), sheet[SAMPLE_ID].to_pylist(), genes, panel)
    if scale == COUNTS and bool((values < 0).any()):
        raise InputError('The store holds negative counts, so it holds logarithms; state scale = "log2".')
    known = values[np.isfinite(values)]
    if scale == COUNTS and bool((known != np.round(known)).any()):
        raise InputError('The store holds values that are not whole; prepare raw counts, or state scale = "log2".')
    if scale == LOG2 and known.size and bool(known.max() > HIGHEST_LOG):
        raise InputError('The store holds values too large for logarithms; of counts state scale = "counts".')
    numbers, codes, declared = sheet_columns(sheet, parse_levels(levels))
    patients = tuple(str(patient) for patient in sheet[PATIENT_ID].to_pylist())
    return Table(values, scale, numbers, codes, declared, patients, genes)


def _expression(table: Any, samples: list[Any], genes: tuple[str, ...], panel: str) -> Float:
    """(n, G) the listed samples' values in the panel's order."""
    names = table.schema_arrow.names
    place: dict[str, str] = {}
    for column in names:
        gene = without_version(column)
        if gene in place:
            raise InputError(f"{EXPRESSION_FILE} has a gene twice, with and without version; prepare the store again.")
        place[gene] = column
    if SAMPLE_ID not in place:
        raise InputError(f"{EXPRESSION_FILE} lacks the column {SAMPLE_ID!r}; prepare the store again.")
    column_of = {place[gene]: j for j, gene in enumerate(genes) if gene in place}
    if not column_of:
        raise InputError(f"{EXPRESSION_FILE} has no gene of the panel {panel!r}; check the ids or choose another.")
    wanted = [SAMPLE_ID, *column_of] if len(column_of) + 1 < len(names) else None  # all of them is read faster
    columns = table.read(columns=wanted, use_threads=False)
    row_of = {sample: row for row, sample in enumerate(columns[SAMPLE_ID].to_pylist())}
    if absent := sum(sample not in row_of for sample in samples):
        raise InputError(f"{absent} samples of {SAMPLES_FILE} are not in {EXPRESSION_FILE}; prepare the store again.")
    rows = np.array([row_of[sample] for sample in samples], dtype=np.intp)
    values = np.full((len(genes), len(rows)), np.nan)
    for name, column in zip(columns.column_names, columns.columns, strict=True):  # by name each would be searched for
        if name != SAMPLE_ID:
            values[column_of[name]] = column.to_numpy()[rows]
    values[~np.isfinite(values)] = np.nan
    return np.ascontiguousarray(values.T)


def sheet_columns(sheet: "pa.Table", levels: Levels) -> tuple[dict[str, Float], dict[str, Int], Levels]:
    """Numbers, codes and levels of a sample sheet; the split is always among the codes.

    Raises:
        InputError: The split has other values than train and test.
    """
    numbers: dict[str, Float] = {}
    codes: dict[str, Int] = {}
    declared = {**levels, SPLIT: SPLITS}
    for name in sheet.column_names:
        if name in {SAMPLE_ID, PATIENT_ID}:
            continue
        values = sheet[name].to_pylist()
        if (number := _numbers(sheet, name, values)) is not None:
            numbers[name] = number
        if name in declared:
            codes[name] = _codes(values, declared[name])
    if SPLIT not in codes:
        codes[SPLIT] = np.zeros(sheet.num_rows, dtype=np.int64)
    if unknown := int((codes[SPLIT] == MISSING).sum()):
        raise InputError(f"{unknown} samples have a split other than train and test; prepare the store again.")
    return numbers, codes, {name: declared[name] for name in codes}


def _numbers(sheet: "pa.Table", name: str, values: list[Any]) -> Float | None:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    kind = sheet.schema.field(name).type
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
