"""Whose records are used: filter, date window, consent, opt-outs. Pure decisions over a record table.

Default deny: a row without a patient, without a value where a condition needs one, or without a consent where one is
asked for, is not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flame_fl.contract.data_terms import Condition
from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.kind import Kind, Rows
from flame_fl.data.spec import CohortRule

_COMPARE = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater,
            ">=": pc.greater_equal}  # fmt: skip


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

    @property
    def fingerprint(self) -> str:
        """Changes when the set of patients or of records changes."""
        return sha256(self.members.tobytes() + b"|" + self.rows.tobytes()).hexdigest()

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
    needed = {c.column for c in conditions} | ({rule.window.column} if rule.window else set())
    patients = kind.patients()
    kept = np.array([p is not None and p not in opted_out for p in patients], dtype=bool)
    if rule.consent is not None and rule.consent.provisions:
        allowed = consenting or frozenset()
        kept &= np.array([p in allowed for p in patients], dtype=bool)
    if needed:
        table = kind.records(sorted(needed))
        masks = [_met(table.column(c.column), c) for c in conditions]
        if rule.window is not None:
            masks += _window(table.column(rule.window.column), rule.window.column, rule.window.from_, rule.window.until)
        kept &= reduce(np.logical_and, masks, kept)
    rows = np.flatnonzero(kept).astype(np.int64)
    people = {str(patients[row]) for row in rows}
    members = np.array(sorted(mask(p) for p in people) if mask else [], dtype=np.uint64)
    return Cohort(rows, len(people), members)


def _window(column: Any, name: str, first: date | None, last: date | None) -> list[npt.NDArray[np.bool_]]:
    masks = []
    if first is not None:
        masks.append(_met(column, Condition(column=name, op=">=", value=first)))
    if last is not None:
        masks.append(_met(column, Condition(column=name, op="<", value=last + timedelta(days=1))))
    return masks


def _met(column: pa.ChunkedArray, condition: Condition) -> npt.NDArray[np.bool_]:
    """Which rows meet a condition.

    Raises:
        InputError: It compares what cannot be compared.
    """
    column = _comparable(column)
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


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in which what is missing is missing in one way, and numbers compare with numbers."""
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
