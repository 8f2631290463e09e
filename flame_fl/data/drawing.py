"""Made-up columns, drawn from a released schema and a seed, and from nothing else."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from flame_fl.data.schema import Column, ColumnType, StoreSchema

_DAY = 86400
_DEFAULT_RANGE = {"int": (0.0, 100.0), "float": (0.0, 1.0), "date": (0.0, 20_000.0), "timestamp": (0.0, 20_000.0)}
_RECORDS_PER_PATIENT = 1.25


def draw_table(schema: StoreSchema, rows: int, rng: np.random.Generator) -> pa.Table:
    """The record table: made-up ids (`mock-000001`), some patients with several records, and every other column."""
    patients = max(1, round(rows / _RECORDS_PER_PATIENT))
    of = np.concatenate([np.arange(patients), rng.integers(0, patients, max(0, rows - patients))])[:rows]
    made: dict[str, pa.Array] = {}
    for column in with_ids(schema):
        if column.name == schema.patient_id:
            made[column.name] = ids_as(column.type, "mock", of + 1)
        elif column.name == schema.record_id:
            made[column.name] = ids_as(column.type, "record", np.arange(rows) + 1)
        else:
            made[column.name] = draw(column, rows, rng)
    return pa.table(made)


def with_ids(schema: StoreSchema) -> tuple[Column, ...]:
    """The schema's columns, with those of ids whether they are listed or not."""
    listed = {column.name for column in schema.columns}
    ids = [name for name in (schema.patient_id, schema.record_id) if name is not None and name not in listed]
    return (*(Column(name=name, type="string") for name in ids), *schema.columns)


def ids_as(kind: ColumnType, word: str, numbers: Sequence[int] | np.ndarray) -> pa.Array:
    """Made-up ids of the column's own type."""
    if kind == "int":
        return pa.array(np.asarray(numbers, np.int64))
    return pa.array([f"{word}-{n:06d}" for n in numbers])


def draw(column: Column, rows: int, rng: np.random.Generator) -> pa.Array:
    """One column: categories evenly, numbers evenly over their range, some missing."""
    missing = rng.random(rows) < column.missing
    if column.values:
        picked = rng.integers(0, len(column.values), rows)
        return pa.array([None if m else column.values[i] for m, i in zip(missing, picked, strict=True)])
    if column.type == "bool":
        return pa.array(rng.random(rows) < 0.5, mask=missing)
    if column.type in {"string", "other"}:
        picked = rng.integers(0, 10, rows)
        return pa.array([None if m else f"text-{i}" for m, i in zip(missing, picked, strict=True)], pa.string())
    low, high = range_of(column.type, column.min, column.max)
    if column.type == "float":
        return pa.array(rng.uniform(low, high, rows), mask=missing)
    whole = rng.integers(int(np.ceil(low)), int(np.floor(high)) + 1, rows)
    if column.type == "int":
        return pa.array(whole, mask=missing)
    if column.type == "date":
        return pa.array(whole.astype(np.int32), pa.int32(), mask=missing).cast(pa.date32())
    seconds = whole * _DAY + rng.integers(0, _DAY, rows)
    return pa.array(seconds, pa.int64(), mask=missing).cast(pa.timestamp("s"))


def range_of(kind: ColumnType, low: float | None, high: float | None) -> tuple[float, float]:
    """The bounds a person wrote, or some that fit the type; one bound alone gets a companion."""
    lowest, highest = _DEFAULT_RANGE.get(kind, (0.0, 1.0))
    if low is None and high is None:
        return lowest, highest
    if low is None:
        assert high is not None  # noqa: S101
        return high - (highest - lowest), high
    return low, low + (highest - lowest) if high is None else high
