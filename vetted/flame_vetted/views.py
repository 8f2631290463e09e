"""A data store's view, read by its public form: `store.json`, the record table, and further tables.

Cells are read one by one: a cell that is no number is a missing value, and changes nothing in other patients' cells. So
text tables are never typed by what their columns hold.
"""

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from flame_fl.contract.errors import InputError

Floats = npt.NDArray[np.float64]
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class View:
    """The records that may be used now, of a store of kind "table".

    Args:
        folder: Where the gate wrote it.

    Raises:
        InputError: Reading: the view is of another kind, or lacks what is asked for. Never because of a cell.
    """

    folder: Path

    @cached_property
    def _said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.folder / "store.json").read_text(encoding="utf-8"))
        if said["kind"] != "table":
            raise InputError(
                f"A data store of kind {said['kind']!r} has no vetted reader.", mend='Offer it as kind "table".'
            )
        return said

    @cached_property
    def _table(self) -> pa.Table:
        return _open(self.folder / self._said["table"])

    @cached_property
    def _further(self) -> dict[str, tuple[pa.Table, npt.NDArray[np.int64]]]:
        """By file: the table, and which of its rows belongs to each record, or -1."""
        found = {}
        for name in self._said["files"]:
            table = _open(self.folder / name)
            ids = [c for c in (self._said["record_id"], self._said["patient_id"]) if c in table.column_names]
            words = _words(table.column(ids[0]))
            first = {words[row]: row for row in reversed(range(len(words))) if words[row]}
            rows = [first.get(word, -1) for word in _words(self._table.column(ids[0]))]
            found[name] = table.drop_columns(ids), np.array(rows, dtype=np.int64)
        return found

    @cached_property
    def _read(self) -> dict[str, Floats]:
        return {}

    @cached_property
    def patients(self) -> list[str | None]:
        """Whose each record is; None is nobody's."""
        return [w if w and w.strip() else None for w in _words(self._table.column(self._said["patient_id"]))]

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Columns of the further tables, sorted."""
        return tuple(sorted(name for table, _ in self._further.values() for name in table.column_names))

    def numbers(self, name: str) -> Floats:
        """A column, one value per record; NaN where there is no finite number."""
        if name not in self._read:
            column, rows = self._column(name)
            values = _numbers(column, name)
            self._read[name] = values if rows is None else np.append(values, np.nan)[rows]  # -1 is the last: missing
        return self._read[name]

    def words(self, name: str) -> list[str | None]:
        """A column as text, one value per record; whole numbers without a fraction."""
        column, rows = self._column(name)
        words = _words(column)
        return words if rows is None else [None if row < 0 else words[row] for row in rows]

    def _column(self, name: str) -> tuple[pa.ChunkedArray, npt.NDArray[np.int64] | None]:
        if name in self._table.column_names:
            return self._table.column(name), None
        for table, rows in self._further.values():
            if name in table.column_names:
                return table.column(name), rows
        raise InputError(f"The view has no column {name!r}.", mend="Name it in [tool.flame.data] too.")


def _open(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path, use_threads=False)
    delimiter = _DELIMITERS[path.suffix]
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter))
    return pv.read_csv(
        path,
        read_options=pv.ReadOptions(block_size=64 << 20, use_threads=False),
        parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _numbers(column: pa.ChunkedArray, name: str) -> Floats:
    column = _plain(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = np.array([_number(word) for word in column.to_pylist()], dtype=np.float64)
    elif pa.types.is_null(kind):
        values = np.full(len(column), np.nan)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        column = column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column
        values = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    elif pa.types.is_decimal(kind):
        values = np.array([np.nan if v is None else float(v) for v in column.to_pylist()], dtype=np.float64)
    else:
        raise InputError(f"Column {name!r} holds no numbers.", mend="Name a column of numbers.")
    return np.where(np.isfinite(values), values, np.nan)


def _number(word: str | None) -> float:
    try:
        return float(word) if word is not None else np.nan
    except ValueError:
        return np.nan


def _words(column: pa.ChunkedArray) -> list[str | None]:
    return [_word(value) for value in _plain(column).to_pylist()]


def _word(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
