"""Which usable records belong to which patient, and their values under public bounds.

A record is usable if everything the work reads of it is there, or has a stated fill. A patient without one contributes
zero. Nothing is computed over patients: no mean, no scale, no list of categories.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.contract.vetted_terms import ALL, Bins, Categories, Columns

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
RowsOf = Callable[[Indices], Floats]
"""Record indices (m,) -> one vector per record (m, d), each a function of its own record."""
_CELLS = 1 << 18  # float64 numbers of a part: 2 MiB, so that the few copies stay near the processor


class Readable(Protocol):
    """What is needed of a view."""

    @property
    def patients(self) -> Sequence[str | None]:
        """Whose each record is."""

    @property
    def features(self) -> tuple[str, ...]:
        """What "*" stands for."""

    def numbers(self, name: str) -> Floats:
        """A numeric column."""

    def words(self, name: str) -> list[str | None]:
        """A column as text."""


@dataclass(frozen=True)
class People:
    """Patients and their usable records: patient i has `records[start[i] : start[i] + count[i]]`.

    Attributes:
        records: Indices of usable records, a patient's next to each other, in the view's order.
        start: Where each patient's begin.
        count: How many each has, from 1 to the stated limit.
    """

    records: Indices
    start: Indices
    count: Indices

    def __len__(self) -> int:
        return len(self.start)

    def means(self, of: Indices, rows_of: RowsOf, width: int) -> Floats:
        """Per patient in `of`, the mean of its records' vectors: (m, width), added up in the view's order."""
        total, count = np.zeros((len(of), width)), self.count[of]
        with np.errstate(all="ignore"):
            for place in range(int(count.max(initial=0))):
                have = np.flatnonzero(count > place)
                rows = rows_of(self.records[self.start[of[have]] + place])
                if len(have) == len(of):
                    total = rows if place == 0 else total + rows
                else:
                    total[have] += rows
            if (count > 1).any():
                total /= count[:, None]
        return total

    def parts(self, of: Indices, width: int) -> list[Indices]:
        """The patients in portions whose vectors fit the memory meant for them."""
        size = max(1, _CELLS // max(1, width))
        return [of[i : i + size] for i in range(0, len(of), size)]


def people(patients: Sequence[str | None], usable: npt.NDArray[np.bool_], limit: int) -> People:
    """The first `limit` usable records of each patient who has any."""
    mine: dict[str, list[int]] = {}
    for record in np.flatnonzero(usable).tolist():
        if (patient := patients[record]) is not None and len(own := mine.setdefault(patient, [])) < limit:
            own.append(record)
    count = np.array([len(own) for own in mine.values()], dtype=np.int64)
    records = np.array([record for own in mine.values() for record in own], dtype=np.int64)
    return People(records, np.cumsum(count) - count, count)


def standardised(view: Readable, blocks: Sequence[Columns]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Values (records, columns) after bounds, centre and scale, and which records have all of them.

    Raises:
        InputError: The view has no such column, or another number of them.
    """
    names = [name for block in blocks for name in _names(view, block)]
    values = np.empty((len(view.patients), len(names)))
    usable = np.ones(len(values), dtype=np.bool_)
    at = 0
    for block in blocks:
        for centre, scale in zip(block.each(block.centre), block.each(block.scale), strict=True):
            raw = view.numbers(names[at])
            missing = np.isnan(raw)
            if block.fill is None:
                usable &= ~missing
            raw = np.where(missing, block.low if block.fill is None else block.fill, raw)
            values[:, at] = (np.clip(raw, block.low, block.high) - centre) / scale
            at += 1
    return values, usable


def cells(view: Readable, column: Categories | Bins) -> Indices:
    """Per record, its cell; -1 if it has none.

    Raises:
        InputError: The view has no such column.
    """
    if isinstance(column, Bins):
        raw = view.numbers(column.name)
        inner = column.edges[1:-1]
        return np.array([-1 if np.isnan(x) else bisect_right(inner, x) for x in raw.tolist()], dtype=np.int64)
    known = {value: cell for cell, value in enumerate(column.values)}
    numbers = {float(value): cell for value, cell in known.items() if _is_number(value)}
    words = view.words(column.name)
    found = {w: known.get(w, numbers.get(float(w), -1) if _is_number(w) else -1) for w in set(words) if w is not None}
    return np.array([-1 if w is None else found[w] for w in words], dtype=np.int64)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _names(view: Readable, block: Columns) -> tuple[str, ...]:
    if block.names != ALL:
        return block.names
    if len(view.features) != block.count:
        raise InputError(
            f"The view has {len(view.features)} features, but the terms state {block.count}.",
            mend="State the width that every DIZ has, or name the features.",
        )
    return view.features
