"""Whose records are used: filter, date window, consent, opt-outs. Pure decisions over a record table.

Default deny: a row without a patient, without a value where a condition needs one, or without a consent where one is
asked for, is not used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flame_fl.contract.data_terms import Condition
from flame_fl.contract.errors import InputError
from flame_fl.data import dates, records
from flame_fl.data.kind import Kind, Rows, inside
from flame_fl.data.spec import CohortRule

_COMPARE = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater,
            ">=": pc.greater_equal}  # fmt: skip
_NOTHING = frozenset({"", "NA", "NaN", "nan", "null", "NULL"})
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, eq=False)
class Cohort:
    """The records of a store that may be used now.

    Attributes:
        rows: Their indices in the record table.
        patients: How many different patients they belong to.
        members: (patients,) sorted hashes of the patients under a key of the node's; they never leave it.
    """

    rows: Rows
    patients: int
    members: npt.NDArray[np.uint64] = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the set of patients or of records changes."""
        return sha256(self.members.tobytes() + b"|" + self.rows.tobytes()).hexdigest()

    @cached_property
    def members_sha256(self) -> str:
        """Changes when the set of patients changes."""
        return sha256(self.members.tobytes()).hexdigest()

    def differs_by(self, members: npt.NDArray[np.uint64]) -> int:
        """How many patients are in one of two cohorts and not in the other."""
        return len(np.setxor1d(self.members, members, assume_unique=True))


def choose(
    kind: Kind,
    rule: CohortRule,
    *,
    where: Sequence[Condition] = (),
    modalities: Sequence[str] = (),
    opted_out: frozenset[str] = frozenset(),
    consenting: frozenset[str] | None = None,
    mask: Any = None,
) -> Cohort:
    """The records of `kind` that meet the store's rule and the analysis's conditions.

    Args:
        kind: The store.
        rule: Its steward's.
        where: The analysis's own conditions.
        modalities: The analysis's, of images; empty or `("*",)` is all.
        opted_out: Patients whose records are never used.
        consenting: Patients whose registered consent holds; needed if the rule asks for provisions.
        mask: Patient id to its keyed hash, an integer below 2^64.

    Raises:
        InputError: A column is missing, or a condition compares what cannot be compared.
    """
    conditions = [*rule.where, *where]
    if modalities and tuple(modalities) != ("*",):
        conditions.append(Condition(column="modality", op="in", values=tuple(modalities)))
    if rule.consent is not None and rule.consent.column is not None:
        conditions.append(Condition(column=rule.consent.column, op="in", values=rule.consent.granted))
    if rule.window is not None:
        conditions += _window(rule.window.column, rule.window.from_, rule.window.until)
    needed = {c.column for c in conditions}
    patients = kind.patients()
    out = {form for p in opted_out for form in same_id(p)}
    kept = np.array([p is not None and out.isdisjoint(same_id(p)) for p in patients], dtype=bool)
    if rule.consent is not None and rule.consent.provisions:
        allowed = consenting or frozenset()
        kept &= np.array([p in allowed for p in patients], dtype=bool)
    if needed:
        # A text table's columns have the type that all cells together have: it must not let one patient decide on
        # others.
        path = inside(kind.folder, kind.layout.table) if _is_text(kind) else None
        table = kind.records(sorted(needed)) if path is None else records.read(path, sorted(needed), typed=False)
        for condition in conditions:  # one mask at a time: terms may state many
            column = table.column(condition.column)
            kept &= _met(column if path is None else _as_stated(column, condition), condition)
    rows = np.flatnonzero(kept).astype(np.int64)
    people = {str(patients[row]) for row in rows}
    members = np.array(sorted(mask(p) for p in people) if mask else [], dtype=np.uint64)
    return Cohort(rows, len(people), members)


def same_id(patient_id: str) -> tuple[str, str]:
    """The forms by which an opt-out is compared with an id: none of these keeps anybody in.

    Blanks around it, how an accent is coded, and leading zeros, which a column of numbers has lost.
    """
    plain = normalize("NFC", patient_id).strip()
    return plain, plain.lstrip("0") or plain[-1:]


def _window(name: str, first: date | None, last: date | None) -> list[Condition]:
    conditions = [] if first is None else [Condition(column=name, op=">=", value=first)]
    if last is not None:
        end = {"op": "<=", "value": last} if last == date.max else {"op": "<", "value": last + timedelta(days=1)}
        conditions.append(Condition.model_validate({"column": name, **end}))
    return conditions


def _met(column: pa.ChunkedArray, condition: Condition) -> npt.NDArray[np.bool_]:
    """Which rows meet a condition.

    Raises:
        InputError: It compares what cannot be compared.
    """
    column = _comparable(column, condition)
    if condition.op in {"present", "missing"}:
        found = pc.is_valid(column)
        found = pc.invert(found) if condition.op == "missing" else found
    elif pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=bool)
    else:
        try:
            if condition.op in {"in", "not in"}:
                values = [_value(v, column.type) for v in condition.values]
                found = pc.is_in(column, value_set=pa.array(values, column.type))
                found = pc.invert(found) if condition.op == "not in" else found
                found = pc.and_(found, pc.is_valid(column))
            else:
                value = pa.scalar(_value(condition.value, column.type), column.type)
                found = _COMPARE[condition.op](column, value)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise InputError(
                f"The condition on {condition.column!r} compares it with a value of another type.",
                mend=f"The column holds {records.column_type(column.type)}; write the value so.",
            ) from None
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)  # noqa: FBT003


def _as_stated(column: pa.ChunkedArray, condition: Condition) -> pa.ChunkedArray:
    """Text cells as what a condition compares them with, one by one; a cell that is no such thing is missing."""
    cells = [None if cell is None or cell.strip() in _NOTHING else cell for cell in column.to_pylist()]
    stated = condition.values or (() if condition.value is None else (condition.value,))
    if stated and not _of_days(condition):
        if all(isinstance(value, bool) for value in stated):
            words = {"true": True, "false": False, "1": True, "0": False}
            return pa.chunked_array([pa.array([words.get((cell or "").strip().lower()) for cell in cells], pa.bool_())])
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in stated):
            return pa.chunked_array([pa.array([_number(cell) for cell in cells], pa.float64())])
    return pa.chunked_array([pa.array(cells, pa.string())])


def _number(cell: str | None) -> float | None:
    try:
        return None if cell is None else float(cell)
    except ValueError:
        return None


def _of_days(condition: Condition) -> bool:
    stated = condition.values or (() if condition.value is None else (condition.value,))
    return bool(stated) and all(_DAY.fullmatch(str(v)) for v in stated)


def _is_text(kind: Kind) -> bool:
    return Path(kind.layout.table).suffix in records.TEXT_SUFFIXES


def _comparable(column: pa.ChunkedArray, condition: Condition) -> pa.ChunkedArray:
    """A column in which what is missing is missing in one way, and numbers compare with numbers, days with days.

    Text that is compared with a day is read as one, cell by cell: as text, a German day of 1999 is later than an ISO
    day of 2020.
    """
    if records.column_type(column.type) == "string" and _of_days(condition):
        column = dates.days_in(column.cast(pa.string()))
    if pa.types.is_decimal(column.type) or pa.types.is_float16(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column


def _value(value: Any, kind: pa.DataType) -> Any:
    """A stated value as the column's type has it.

    Raises:
        TypeError: It is of another type.
    """
    word = records.column_type(kind)
    if isinstance(value, str) and word in {"date", "timestamp"}:
        value = date.fromisoformat(value)
    if isinstance(value, date) and word == "timestamp":
        start = datetime.combine(value, time(), UTC)
        return start if kind.tz else start.replace(tzinfo=None)
    if isinstance(value, date) and word == "string":
        return value.isoformat()
    allowed: dict[str, tuple[type, ...]] = {
        "bool": (bool,), "int": (int, float), "float": (int, float), "string": (str,), "date": (date,),
    }  # fmt: skip
    fits: bool = isinstance(value, allowed.get(word, ())) and (word == "bool" or not isinstance(value, bool))
    if not fits or (word == "int" and isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value) if word == "int" else value
