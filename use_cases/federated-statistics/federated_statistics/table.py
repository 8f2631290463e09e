"""What a DIZ's rows look like to this app, and what it is asked about them.

A `Table` is a data store read once: every numeric column as float64 with NaN where a value is missing, every column
with declared levels as codes (the level's index, -1 where missing). Levels are declared in the run config and never
found in the data, so that shapes are the same at every DIZ and an answer's shape says nothing about its patients.

A `Request` is a message's content without Flower: all its config records merged, and all its array records.

Each site module has ``ANSWERS``, from the name of a query (without ``query.``) to the function that answers it; an
answer's arrays are summed over the DIZ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from federated_statistics.errors import InputError

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

MISSING = -1
"""The code of a missing value."""


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one DIZ.

    Attributes:
        numbers: (n,) finite float64 by column, NaN where missing. A column of true and false is here as 1 and 0.
        codes: (n,) int64 by column with declared levels, `MISSING` where missing or not one of the levels.
        rows: n.
        levels: The declared levels of each column in `codes`, in order.
        patients: (n,) whose row it is; empty where nothing needs it.
    """

    numbers: Mapping[str, Float]
    codes: Mapping[str, Int]
    rows: int
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patients: tuple[str, ...] = ()

    def number(self, name: str) -> Float:
        """(n,) the values of a numeric column.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self.numbers:
            raise InputError(f"The data store has no numeric column {name!r}; check the names in the run config.")
        return self.numbers[name]

    def code(self, name: str) -> Int:
        """(n,) the codes of a column with declared levels.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self.codes:
            raise InputError(f"The column {name!r} is not in the data store, or its levels are not declared.")
        return self.codes[name]

    def matrix(self, names: tuple[str, ...] | list[str]) -> Float:
        """(n, p) numeric columns side by side; raises as `number` does."""
        if not names:
            return np.empty((self.rows, 0))
        return np.column_stack([self.number(name) for name in names])


@dataclass(frozen=True, eq=False)
class Request:
    """What one message asks.

    Attributes:
        config: All config records of the message merged: numbers, words, or lists of them.
        arrays: All array records of the message merged.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def names(self, key: str) -> list[str]:
        """A list of column names from the config; empty if it is not there."""
        value = self.config.get(key, [])
        return [value] if isinstance(value, str) else [str(name) for name in value]


Answer = Callable[[Table, Request], Arrays]
"""Answers one query from a DIZ's rows."""
