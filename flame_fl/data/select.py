"""What every kind does with its record table: choose columns, hide ids, move dates."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data import dates, records
from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import Rows
from flame_fl.data.layout import ALL, Layout, Wanted


def chosen_columns(names: Sequence[str], layout: Layout, wanted: Wanted, where: str) -> list[str]:
    """The columns of a record table that a view has, in the table's order: ids always, and what is wanted.

    Raises:
        InputError: A wanted column is not there.
    """
    if wanted.columns != ALL and (missing := sorted(set(wanted.columns) - set(names))):
        raise InputError(f"{where} has no column {missing[0]!r}.", mend="Name columns as the store's schema does.")
    ids = {layout.patient_id, layout.record_id}
    return [name for name in names if name in ids or wanted.column(name)]


def chosen_features(names: Sequence[str], wanted: Wanted, where: str) -> list[int]:
    """Indices of the features that a view has, in the store's order.

    Raises:
        InputError: A wanted feature is not there.
    """
    if wanted.features == ALL:
        return list(range(len(names)))
    asked = set(wanted.features)
    if missing := asked - set(names):
        raise InputError(f"{where} has no feature {min(missing)!r}.", mend="Name features as the store's schema does.")
    return [i for i, name in enumerate(names) if name in asked]


def record_view(path: Path, layout: Layout, rows: Rows, wanted: Wanted, disguise: Disguise) -> pa.Table:
    """The record table of a view, in memory.

    Raises:
        InputError: It cannot be read, or a wanted column is not there.
    """
    columns = chosen_columns(records.schema_of(path).names, layout, wanted, str(path))
    table = records.read(path, columns, typed=False).take(pa.array(rows))
    return disguised(table, layout, disguise)


def disguised(table: pa.Table, layout: Layout, disguise: Disguise, patients: Sequence[str | None] = ()) -> pa.Table:
    """Ids as pseudonyms and dates moved. `patients` says whose each row is where the table itself does not."""
    if disguise.key is None:
        return table
    if layout.patient_id in table.column_names:
        patients = [p or None for p in table.column(layout.patient_id).cast(pa.string()).to_pylist()]
    words = {p: disguise.patient(p) for p in set(patients) if p is not None}
    moved = {p: disguise.days(p) for p in words}
    days = [0 if p is None else moved[p] for p in patients]
    for at, name in enumerate(table.column_names):
        column = table.column(at)
        if name == layout.patient_id:
            column = pa.chunked_array([pa.array([None if p is None else words[p] for p in patients], pa.string())])
        elif name == layout.record_id:
            values = column.cast(pa.string()).to_pylist()
            column = pa.chunked_array([pa.array([v and disguise.record(v) for v in values], pa.string())])
        elif disguise.shift_days and records.column_type(column.type) in {"date", "timestamp", "string"}:
            column = dates.shifted(column, days)
        elif disguise.shift_days and records.column_type(column.type) == "other":
            raise InputError(
                f"Column {name!r} holds lists, tables or times in which dates cannot be moved.",
                mend="Leave the column out, or flatten it; or do not move dates in this store.",
            )
        else:
            continue
        table = table.set_column(at, name, column)
    return table
