"""The quality report of a store's record table: what a steward should know before anybody analyses it.

It holds values that come from patients (extremes, quantiles, counts of one): it stays at the node, and is for the
hospital's own people.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flame_fl.contract.words import Frozen
from flame_fl.data import records
from flame_fl.data.kind import Kind, inside
from flame_fl.data.quality_columns import ColumnQuality, looked_at

_CELLS = 8_000_000  # that are in memory at a time


class Quality(Frozen):
    """What was found. Never leaves the node: it holds values that come from patients."""

    rows: int
    patients: int
    records_without_patient: int
    duplicate_record_ids: int
    """Record ids that more than one row has."""
    records_without_record_id: int
    similar_patient_ids: int
    """Patient ids that differ from another one only in blanks, case, or zeros in front."""
    duplicate_rows: int
    """Rows that are another row over again, in every column."""
    columns: tuple[ColumnQuality, ...]

    def lines(self) -> list[str]:
        """For a person: the table in a line, then what is odd, column by column."""
        said = [f"{self.rows} records of {self.patients} patients in {len(self.columns)} columns."]
        counts = (
            (self.records_without_patient, "records name no patient."),
            (self.records_without_record_id, "records have no record id."),
            (self.duplicate_record_ids, "record ids occur more than once."),
            (self.similar_patient_ids, "patient ids differ from others only in blanks, case, or zeros in front."),
            (self.duplicate_rows, "rows are another row over again."),
        )
        said += [f"{count} {what}" for count, what in counts if count]
        for column in self.columns:
            said += [f"{column.name}: {100 * column.missing:.1f} % missing."] * (0 < column.missing < 1)
            said += [f"{column.name}: {finding.text}" for finding in column.findings]
        return said


def report(kind: Kind, *, today: date | None = None) -> Quality:
    """Look at the record table of a store, some columns at a time.

    Args:
        kind: The store.
        today: After it is the future.

    Raises:
        InputError: As `Kind.schema`.
    """
    day = today or datetime.now(UTC).date()
    names = [column.name for column in kind.schema().columns]
    owners = kind.patients()
    known = {owner for owner in owners if owner is not None}
    record_ids = _record_ids(kind)
    named = [word for word in record_ids if word is not None]
    columns = []
    repeated = _Repeated(len(owners))
    for table in _some_at_a_time(kind, names, len(owners)):
        for name in table.column_names:
            columns.append(looked_at(name, table.column(name), day))
            repeated.look_at(table.column(name))
    return Quality(
        rows=len(owners),
        patients=len(known),
        records_without_patient=owners.count(None),
        duplicate_record_ids=_more_than_once(named),
        records_without_record_id=len(record_ids) - len(named),
        similar_patient_ids=len(known) - len({_bare(owner) for owner in known}),
        duplicate_rows=repeated.count,
        columns=tuple(columns),
    )


def _some_at_a_time(kind: Kind, names: Sequence[str], rows: int) -> Iterator[pa.Table]:
    step = max(1, _CELLS // max(1, rows))
    for start in range(0, len(names), step):
        yield kind.records(names[start : start + step])


def _record_ids(kind: Kind) -> list[str | None]:
    """As they are written: "7" is not "007". None at all where there is no such column."""
    layout = kind.layout
    if layout.record_id is None:
        return []
    if records.is_table(Path(layout.table)):
        return records.ids(inside(kind.folder, layout.table), layout.record_id)
    words = kind.records([layout.record_id]).column(0).cast(pa.string()).to_pylist()
    return [word or None for word in words]


def _more_than_once(words: Sequence[str]) -> int:
    seen: set[str] = set()
    again = {word for word in words if word in seen or seen.add(word)}  # type: ignore[func-returns-value]
    return len(again)


def _bare(word: str) -> str:
    return word.strip().casefold().lstrip("0")


class _Repeated:
    """Finds rows that are equal in every column, exactly: rows that differ from all others are soon left alone."""

    def __init__(self, rows: int) -> None:
        self._rows: npt.NDArray[np.int64] = np.arange(rows)
        self._groups: npt.NDArray[np.int64] = np.zeros(rows, np.int64)

    def look_at(self, column: pa.ChunkedArray) -> None:
        """Tell apart, among rows that were equal so far, those that differ in this column."""
        if len(self._rows) == 0:
            return
        pairs = self._groups * (len(self._rows) + 1) + _codes(column.take(pa.array(self._rows)))
        _, groups, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        alike = counts[groups] > 1
        self._rows, self._groups = self._rows[alike], groups[alike]

    @property
    def count(self) -> int:
        """Rows beyond the first of their kind."""
        return len(self._rows) - len(np.unique(self._groups))


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for each value, equal for equal ones."""
    array = pa.chunked_array(column.chunks, column.type).combine_chunks()
    try:
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode("encode")
        return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, tables
        known: dict[str, int] = {}
        return np.array([known.setdefault(repr(value), len(known)) for value in array.to_pylist()], np.int64)
