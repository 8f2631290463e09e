"""What a DIZ's samples look like to this app, and what it is asked about them.

A `Site` is a data store read once; its genotypes stay on disk and are read by ranges of the panel's variants. Columns
of the sample sheet are numbers (NaN where missing) or, where levels are declared in the run config, codes: levels are
never found in the data, so that shapes are the same at every DIZ and an answer's shape says nothing about its patients.

A `Request` is a message's content without Flower: all its config records merged, and all its array records.

Each site module has ``ANSWERS``, from the name of a query (without ``query.``) to the function that answers it; an
answer's arrays are summed over the DIZ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.genotypes import Genotypes
from gwas.panel import Panel
from gwas.settings import Settings

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Arrays = dict[str, npt.NDArray[Any]]

MISSING = -1
"""The code of a missing value."""

MALE, FEMALE, UNKNOWN = 1, 2, 0
"""Of `Site.sex`, as PLINK has it."""


@dataclass(frozen=True, eq=False)
class Site:
    """The samples of one DIZ.

    Attributes:
        node: Flower's id of this node.
        panel: Which variants.
        samples: n.
        numbers: (n,) finite float64 by column of the sample sheet, NaN where missing.
        codes: (n,) int64 by column with declared levels, `MISSING` where missing or not one of the levels.
        levels: The declared levels of each column in `codes`, in order.
        sex: (n,) int8 `MALE`, `FEMALE` or `UNKNOWN`.
        train: (n,) whether the sample may be trained on; the others evaluate a score.
        genotypes: Of these samples, in this order, by the panel's variants.
        patients: (n,) whose sample it is.
    """

    node: int
    panel: Panel
    samples: int
    numbers: Mapping[str, Float]
    codes: Mapping[str, Int]
    levels: Mapping[str, tuple[str, ...]]
    sex: npt.NDArray[np.int8]
    train: Bool
    genotypes: Genotypes
    patients: tuple[str, ...] = ()

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

    @property
    def span(self) -> tuple[int, int]:
        """The range of the panel's variants that is asked for; `approved` has looked at it."""
        return int(self.config["start"]), int(self.config["stop"])


Answer = Callable[[Site, Request, Settings], Arrays]
"""Answers one query from a DIZ's samples, under the approved run config."""
