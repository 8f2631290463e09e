"""Rows of patients, for tests of kinds."""

from collections.abc import Sequence

import numpy as np

from flame_fl.data.kind import Rows


def rows_of(patients: Sequence[str | None], chosen: set[str] | frozenset[str]) -> Rows:
    """Indices of the records that belong to these patients."""
    return np.array([i for i, p in enumerate(patients) if p is not None and p in chosen], dtype=np.int64)
