"""A DIZ's data store read into a `Table`, once while its file does not change.

A data store is a folder with ``table.parquet``: one row per record, a column ``patient_id``, and further columns.
Numbers and true/false become `Table.numbers`; a column with declared levels, of words or numbers, becomes
`Table.codes`. Infinite numbers count as missing. Words without declared levels are not read: what is not declared
cannot be asked for.

Levels are declared in the run config, ``"smoker=no|yes; stage=I|II|III"``, so that every DIZ and the hub have them in
one order, and an approval binds them.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from federated_statistics.errors import InputError
from federated_statistics.table import MISSING, Float, Int, Table

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_FILE = "table.parquet"
PATIENT_ID = "patient_id"

Levels = Mapping[str, tuple[str, ...]]


def parse_levels(text: str) -> dict[str, tuple[str, ...]]:
    """Declared levels by column.

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


def load_table(folder: str | Path, levels: str = "") -> Table:
    """Read a data store.

    Args:
        folder: The data store's folder.
        levels: Declared levels, see `parse_levels`.

    Raises:
        InputError: The file or the patients' column is missing.
    """
    file = Path(folder) / TABLE_FILE
    if not file.is_file():
        raise InputError(f"The data store has no {TABLE_FILE}; write it with `python -m federated_statistics prepare`.")
    return _read(str(file), file.stat().st_mtime_ns, levels)


@lru_cache(maxsize=1)  # a sandbox serves one node; a second store must not pile up in an in-process run
def _read(file: str, _modified: int, levels: str) -> Table:
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    return table_of(pq.ParquetFile(file).read(), parse_levels(levels))  # read_table would import pandas


def table_of(rows: "pa.Table", levels: Levels) -> Table:
    """An Arrow table as a `Table`.

    Raises:
        InputError: There is no column ``patient_id``.
    """
    if PATIENT_ID not in rows.column_names:
        raise InputError(f"{TABLE_FILE} lacks the column {PATIENT_ID!r}; prepare the store again.")
    numbers: dict[str, Float] = {}
    codes: dict[str, Int] = {}
    for name in rows.column_names:
        if name == PATIENT_ID:
            continue
        values = rows[name].to_pylist()
        if (number := _numbers(rows, name, values)) is not None:
            numbers[name] = number
        if name in levels:
            codes[name] = _codes(values, levels[name])
    patients = tuple(str(patient) for patient in rows[PATIENT_ID].to_pylist())
    return Table(numbers, codes, rows.num_rows, {name: levels[name] for name in codes}, patients)


def _numbers(rows: "pa.Table", name: str, values: list[Any]) -> Float | None:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    kind = rows.schema.field(name).type
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
