"""What a run found, in one shape for all analyses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = dict[str, dict[str, float]]
"""By group and label."""


@dataclass(frozen=True)
class Outcome:
    """What an analysis found.

    Attributes:
        title: Of the report.
        headline: Entries of ``report.json``: label, value, note.
        figures: Entries of ``report.json``: file, title, caption.
        tables: Entries of ``report.json``: title, caption, columns, rows.
        notes: Sentences.
        sites: The nodes that the result is of.
        exchanges: How many messages each of them answered.
        numbers: Numbers by group and label, NaN where there is none.
        details: What is worth keeping beside the numbers, JSON values only.
    """

    title: str
    headline: tuple[Mapping[str, str], ...] = ()
    figures: tuple[Mapping[str, str], ...] = ()
    tables: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    sites: tuple[int, ...] = ()
    exchanges: int = 0
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def group(labels: Iterable[str], values: npt.ArrayLike) -> dict[str, float]:
    """One group: values (k,) by label."""
    return dict(zip(labels, (float(v) for v in np.asarray(values, dtype=np.float64).ravel()), strict=True))


def with_unit(value: float, unit: str) -> str:
    """A number for people and its unit, if it has both."""
    return f"{text(value)} {unit}" if unit and isfinite(value) else text(value)


def text(value: float, digits: int = 4) -> str:
    """A number for people, a dash where there is none."""
    if not isfinite(value):
        return "–"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.{digits}g}"
