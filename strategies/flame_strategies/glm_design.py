"""What a regression regresses on what, so that every site builds the same columns, and the way back to own units.

A `Design` becomes plain words in the message. Levels are declared and never found in data, so that the columns are the
same at every site. The columns are, in this order: the numeric ones; then each categorical one's levels except its
reference, as 0 or 1. A row with any value missing, or with a level that is not declared, is left out at its site
(complete cases) and counted.

Sites work on z = (x - centre) / scale with the centre and scale of the first exchange. Any centre and scale give the
same fit; pooled ones make the sums well conditioned, and bounded: the squares of one column of z sum to n over all
sites, so no sum of products of two columns of z exceeds n.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError
from flame_strategies.sums import Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

INTERCEPT = "(intercept)"

_LEAST_SPREAD = 1e-8
"""A scale is at least this share of the centre: below it the first exchange's sums of squares have no digits left."""

CONSTANT = 1e-12
"""A column whose squares in z average less than this does not vary."""


class DesignError(StrategyError):
    """The data do not allow this fit; the text names the column or outcome, and what to change."""


class Collinear(DesignError):  # noqa: N818 -- reads as what happened
    """A column is a combination of others."""


class Separated(DesignError):  # noqa: N818 -- reads as what happened
    """No finite coefficients maximise the likelihood: some columns foretell the outcome without exception."""


@dataclass(frozen=True)
class Categorical:
    """A column with declared levels.

    Attributes:
        name: The column.
        levels: At least two, in order.
        reference: The level that the others are compared with; by default the first.
    """

    name: str
    levels: tuple[str, ...]
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        object.__setattr__(self, "reference", self.reference or (self.levels[0] if self.levels else ""))
        if len(self.levels) < 2 or len(set(self.levels)) < len(self.levels) or self.reference not in self.levels:
            raise ValueError(f"{self.name} needs at least two different levels, among them its reference.")

    @property
    def compared(self) -> tuple[str, ...]:
        """The levels with a column of their own."""
        return tuple(level for level in self.levels if level != self.reference)


@dataclass(frozen=True)
class Design:
    """A regression's columns.

    Attributes:
        outcome: What is explained; the time in a Cox regression.
        numeric: Numeric columns.
        categorical: Categorical columns.
        intercept: Whether there is one; a Cox regression never has one.
        offset: Numeric column that enters the linear predictor with coefficient 1; none if empty.
        exposure: Numeric column above 0 whose logarithm does; none if empty.
    """

    outcome: str
    numeric: tuple[str, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    intercept: bool = True
    offset: str = ""
    exposure: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numeric", tuple(self.numeric))
        object.__setattr__(self, "categorical", tuple(self.categorical))
        used = [self.outcome, *self.numeric, *(column.name for column in self.categorical)]
        used += [name for name in (self.offset, self.exposure) if name]
        if twice := sorted({name for name in used if used.count(name) > 1}):
            raise ValueError(f"These columns stand in the design twice: {', '.join(twice)}.")
        if not self.outcome or (len(used) < 2 and not self.intercept):
            raise ValueError("A design needs an outcome, and a column or an intercept.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the p columns of X, without the intercept."""
        levels = (f"{column.name}[{level}]" for column in self.categorical for level in column.compared)
        return (*self.numeric, *levels)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the q coefficients, the intercept first."""
        return (INTERCEPT, *self.columns) if self.intercept else self.columns

    def content(self) -> dict[str, Any]:
        """The design as a message's config record."""
        return {
            "outcome": self.outcome,
            "numeric": list(self.numeric),
            "categorical": [column.name for column in self.categorical],
            "level_counts": [len(column.levels) for column in self.categorical],
            "levels": [level for column in self.categorical for level in column.levels],
            "references": [column.reference for column in self.categorical],
            "intercept": self.intercept,
            "offset": self.offset,
            "exposure": self.exposure,
        }

    def level_sums(self, sums: Vector, total: float) -> dict[str, float]:
        """A sum over the rows of each level, references too, from sums of the columns.

        Args:
            sums: Sum of some value times each column, shape (p,).
            total: Sum of that value over all rows.
        """
        by_name = dict(zip(self.columns, sums.tolist(), strict=True))
        found: dict[str, float] = {}
        for column in self.categorical:
            own = {level: by_name[f"{column.name}[{level}]"] for level in column.compared}
            own[column.reference] = total - math.fsum(own.values())
            found |= {f"{column.name}[{level}]": own[level] for level in column.levels}
        return found


@dataclass(frozen=True)
class Scaling:
    """How every site scales its columns.

    Attributes:
        centre: Shape (p,), in the columns' units; 0 where nothing is to be centred.
        scale: Shape (p,), above 0.
        intercept: Whether the first of the q coefficients is an intercept.
        y_centre: Of the outcome less its offset in a linear regression; in a Poisson regression the rate.
        y_scale: Of the outcome in a linear regression, else 1.
    """

    centre: Vector
    scale: Vector
    intercept: bool
    y_centre: float = 0.0
    y_scale: float = 1.0

    @classmethod
    def of(cls, sums: Sums, *, intercept: bool, centred: bool) -> "Scaling":
        """From ``n`` (1,), ``sum_x`` and ``sum_xx`` (p,)."""
        n = max(int(sums["n"][0]), 1)
        mean = np.asarray(sums["sum_x"], dtype=np.float64) / n
        squares = np.asarray(sums["sum_xx"], dtype=np.float64) / n
        centre = mean if centred else np.zeros_like(mean)
        spread = np.sqrt(np.maximum(squares - centre**2, 0.0))
        scale = np.maximum(spread, _LEAST_SPREAD * np.abs(mean))
        return cls(centre, np.where(scale > 0, scale, 1.0), intercept)

    def content(self) -> dict[str, Vector]:
        """The arrays that a site needs."""
        y = {"y_centre": np.array([self.y_centre]), "y_scale": np.array([self.y_scale])}
        return {"centre": self.centre, "scale": self.scale, **y}

    def own_units(self) -> Matrix:
        """Shape (q, q): coefficients in own units are this times those for z, but for `y_centre` in the intercept."""
        slopes = np.diag(1.0 / self.scale)
        if not self.intercept:
            return self.y_scale * slopes
        first = np.concatenate([[1.0], -self.centre / self.scale])
        below = np.column_stack([np.zeros(self.scale.size), slopes])
        return np.asarray(self.y_scale * np.vstack([first, below]))


def triangle(q: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the numbers of a packed symmetric matrix lie: its upper triangle, row by row."""
    return np.triu_indices(q)


def unpack(packed: Vector, q: int) -> Matrix:
    """Symmetric matrices of shape (..., q, q) from their packed upper triangles (..., q (q + 1) / 2)."""
    rows, columns = triangle(q)
    full = np.zeros((*packed.shape[:-1], q, q))
    full[..., rows, columns] = packed
    full[..., columns, rows] = packed
    return full


def must_vary(design: Design, mean_squares: Vector) -> None:
    """Complain about columns without variation.

    Args:
        design: For the names.
        mean_squares: Weighted mean of the squares of each column of z, shape (p,).

    Raises:
        DesignError: A column is the same in all rows.
    """
    constant = [name for name, square in zip(design.columns, mean_squares.tolist(), strict=True) if square < CONSTANT]
    if constant:
        raise DesignError(f"The same in all complete rows of all sites: {', '.join(constant)}. Leave it out.")


def must_be_seen(design: Design, sums: Mapping[str, Any], n: int) -> None:
    """Complain about declared levels that no row has.

    Raises:
        DesignError: There are such levels.
    """
    counts = design.level_sums(np.asarray(sums["sum_x"], dtype=np.float64), float(n))
    if unseen := [name for name, count in counts.items() if count < 0.5]:
        raise DesignError(f"No complete row of any site has the level {', '.join(unseen)}. Do not declare it.")
