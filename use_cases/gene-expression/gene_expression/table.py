"""What a DIZ's samples look like to this app, and what it is asked about them.

A `Table` is a data store read once. Columns of the sample sheet are numbers (NaN where missing) or, where levels are
declared in the run config, codes: levels are never found in the data, so that shapes are the same at every DIZ and an
answer's shape says nothing about its patients. Genes are in the panel's order at every DIZ, a gene that was not
measured is NaN throughout.

A `Request` is a message's content without Flower: all its config records merged, and all its array records.

Each site module has ``ANSWERS``, from the name of a query (without ``query.``) to the function that answers it; an
answer's arrays are summed over the DIZ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gene_expression.errors import InputError

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

MISSING = -1
"""The code of a missing value."""

COUNTS, LOG2 = "counts", "log2"
"""What the values of `Table.genes` are: raw counts of reads, or logarithms of base 2 (microarrays)."""

HIGHEST_LOG = 40.0
"""No instrument counts to 2^40."""


@dataclass(frozen=True, eq=False)
class Table:
    """The samples of one DIZ.

    Attributes:
        genes: (n, G) float64 in the panel's order, NaN where missing; counts or logarithms, see `scale`.
        scale: `COUNTS` or `LOG2`.
        numbers: (n,) finite float64 by column of the sample sheet, NaN where missing.
        codes: (n,) int64 by column with declared levels, `MISSING` where missing or not one of the levels.
        levels: The declared levels of each column in `codes`, in order.
        patients: (n,) whose sample it is.
        panel: The G gene ids.
        node: Flower's id of this node: the hub names groups of DIZ by it.
    """

    genes: Float
    scale: str
    numbers: Mapping[str, Float]
    codes: Mapping[str, Int]
    levels: Mapping[str, tuple[str, ...]]
    patients: tuple[str, ...]
    panel: tuple[str, ...]
    node: int = 0

    @property
    def rows(self) -> int:
        """Number of samples, n."""
        return len(self.patients)

    def number(self, name: str) -> Float:
        """(n,) the values of a numeric column.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self.numbers:
            raise InputError(f"The sample sheet has no numeric column {name!r}; check the names in the run config.")
        return self.numbers[name]

    def code(self, name: str) -> Int:
        """(n,) the codes of a column with declared levels.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self.codes:
            raise InputError(f"The column {name!r} is not in the sample sheet, or its levels are not declared.")
        return self.codes[name]


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
        """A list of names from the config; empty if it is not there."""
        value = self.config.get(key, [])
        return [value] if isinstance(value, str) else [str(name) for name in value]


Answer = Callable[[Table, Request], Arrays]
"""Answers one query from a DIZ's samples."""
