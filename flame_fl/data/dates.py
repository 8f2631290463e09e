"""Dates in columns: read from text, cell by cell, and moved by a patient's own number of days."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flame_fl.data import records


def shifted(column: pa.ChunkedArray, days: Sequence[int]) -> pa.ChunkedArray:
    """Dates or times, each moved by so many days; text in ISO or German form stays text of that form."""
    if records.column_type(column.type) == "string":
        return _shifted_text(column, days)
    moved = pa.array(days, pa.int64())
    if pa.types.is_date(column.type):
        as_days = column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        return pc.add(as_days, moved).cast(pa.int32(), safe=False).cast(pa.date32()).cast(column.type)
    unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit] * 86400
    return pc.add(column.cast(pa.int64()), pc.multiply(moved, unit)).cast(column.type)


_TIME = r"(?P<rest>\s*$|[ T,]+\d{1,2}:\d{2}[0-9:.,+Z-]*\s*$)"
_DATES = (  # a pattern of texts that are a date, or a date and a time, and how the date is written
    (rf"^\s*(?P<day>\d{{4}}-\d{{1,2}}-\d{{1,2}}){_TIME}", "%Y-%m-%d"),
    (rf"^\s*(?P<day>\d{{1,2}}\.\d{{1,2}}\.\d{{4}}){_TIME}", records.GERMAN_DATE),
)


def days_in(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The day that each text begins with, in ISO or German form; none where it is no date. Decided value by value."""
    found = pa.chunked_array([pa.nulls(len(column), pa.date32())])
    for pattern, form in _DATES:
        day = pc.struct_field(pc.extract_regex(column, pattern), "day")
        found = pc.coalesce(found, pc.strptime(day, form, "s", error_is_null=True).cast(pa.date32()))
    return found


def _shifted_text(column: pa.ChunkedArray, days: Sequence[int]) -> pa.ChunkedArray:
    """Every text that is a date, moved; decided value by value: another record must not change what happens to this."""
    if pa.types.is_null(column.type):
        return column
    result = column
    for pattern, form in _DATES:
        parts = pc.extract_regex(column, pattern)
        day, rest = pc.struct_field(parts, "day"), pc.struct_field(parts, "rest")
        moved = shifted(pc.strptime(day, form, "s", error_is_null=True).cast(pa.date32()), days)
        text = pc.strftime(moved.cast(pa.timestamp("s")), form).cast(column.type)
        result = pc.coalesce(pc.binary_join_element_wise(text, rest, pa.scalar("", column.type)), result)
    return result
