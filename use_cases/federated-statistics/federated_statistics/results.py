"""Results as one shape, so that a federated one and a pooled one can be laid side by side: numbers by group and label.

For a summary the groups are "mean", "sd" and so on, and the labels are columns; for a regression the groups are
"estimate", "p" and so on, and the labels are terms; for a correlation both are columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Result:
    """What an analysis found.

    Attributes:
        numbers: By group and label; NaN where there is none.
        exchanges: How many messages each DIZ answered.
        details: What is worth keeping beside the numbers, JSON values only.
        notes: Sentences for the report.
    """

    numbers: Numbers
    exchanges: int
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def group(labels: Iterable[str], values: npt.ArrayLike) -> dict[str, float]:
    """One group: values (k,) by label."""
    return dict(zip(labels, (float(v) for v in np.asarray(values, dtype=np.float64).ravel()), strict=True))


def groups(names: Sequence[str], labels: Sequence[str], values: npt.ArrayLike) -> Numbers:
    """Several groups: values (groups, labels)."""
    rows = np.asarray(values, dtype=np.float64).reshape(len(names), len(labels))
    return {name: group(labels, row) for name, row in zip(names, rows, strict=True)}


def bin_label(low: float, high: float) -> str:
    """How a bin is called."""
    return f"{low:g} to {high:g}"


def cells(counts: npt.ArrayLike, rows: Sequence[str], columns: Sequence[str]) -> Numbers:
    """A cross table with its margins: groups are rows, then "all"; labels are columns, then "all".

    Args:
        counts: (R, C).
        rows: R levels.
        columns: C levels.
    """
    table = np.asarray(counts, dtype=np.float64)
    table = np.vstack([table, table.sum(axis=0)])
    table = np.column_stack([table, table.sum(axis=1)])
    return groups([*rows, "all"], [*columns, "all"], table)
