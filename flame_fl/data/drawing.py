"""Made-up columns, drawn from a released schema and a seed, and from nothing else."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data.schema import Column, ColumnType, StoreSchema

_DAY = 86400
_DEFAULT_RANGE = {"int": (0.0, 100.0), "float": (0.0, 1.0), "date": (0.0, 20_000.0), "timestamp": (0.0, 20_000.0)}
_RECORDS_PER_PATIENT = 1.25
_MOST_DAYS = {"date": 2**31 - 1, "timestamp": 2**46}  # that Arrow's types hold


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
    return pa.array([f"{word}-{n:06d}" for n in numbers], pa.string())


def draw(column: Column, rows: int, rng: np.random.Generator) -> pa.Array:
    """One column: categories evenly, numbers evenly over their range, some missing."""
    missing = rng.random(rows) < column.missing
    words: Sequence[object] = column.values
    if not words and column.type in {"bool", "string", "other"}:
        words = (False, True) if column.type == "bool" else [f"text-{i}" for i in range(10)]
    if words:
        picked = rng.integers(0, len(words), rows)
        try:
            return pa.array(list(words)).take(pa.array(picked, mask=missing))
        except (pa.ArrowException, OverflowError):
            raise InputError(
                f"The values of the schema's column {column.name!r} are of several types, or too large.",
                mend="Correct them in the schema.",
            ) from None
    low, high = range_of(column.type, column.min, column.max)
    if column.type == "float":
        return pa.array(rng.uniform(low, high, rows), mask=missing)
    try:
        if max(abs(low), abs(high)) > _MOST_DAYS.get(column.type, 2**63):
            raise OverflowError
        whole = rng.integers(int(np.ceil(low)), int(np.floor(high)) + 1, rows)
    except (ValueError, OverflowError):
        raise InputError(
            f"The schema's column {column.name!r} has no whole number between its min and max that fits its type.",
            mend="Correct them in the schema.",
        ) from None
    return _typed(column.type, whole, missing, rng)


def _typed(
    kind: ColumnType, whole: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_], rng: np.random.Generator
) -> pa.Array:
    """Whole numbers as what they stand for: themselves, days, or days with a time."""
    if kind == "date":
        return pa.array(whole.astype(np.int32), pa.int32(), mask=missing).cast(pa.date32())
    if kind == "timestamp":
        seconds = whole * _DAY + rng.integers(0, _DAY, len(whole))
        return pa.array(seconds, pa.int64(), mask=missing).cast(pa.timestamp("s"))
    return pa.array(whole, mask=missing)


def range_of(kind: ColumnType, low: float | None, high: float | None) -> tuple[float, float]:
    """The bounds a person wrote, or some that fit the type; one bound alone gets a companion."""
    lowest, highest = _DEFAULT_RANGE.get(kind, (0.0, 1.0))
    if low is None and high is None:
        return lowest, highest
    if low is None:
        assert high is not None  # noqa: S101
        return high - (highest - lowest), high
    return low, low + (highest - lowest) if high is None else high
