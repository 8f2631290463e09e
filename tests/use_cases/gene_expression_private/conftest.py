"""Synthetic patients, and releases as flame_fl's own code computes them."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gene_expression_private
import numpy as np
import pandas as pd
import pytest
from flame_vetted import formulas
from flame_vetted.sums import integer_sum
from gene_expression_private import prepare, terms
from gene_expression_private.genes import own_genes

from flame_fl.contract.vetted_terms import Sums
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise, sigma_squared

APP = Path(gene_expression_private.__file__).parents[1]
GENES = own_genes()
SITES = 5
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Rows:
    """What vetted code needs of a view, from a table in memory."""

    table: pd.DataFrame

    @property
    def patients(self) -> Sequence[str | None]:
        return list(self.table["patient_id"])

    @property
    def features(self) -> tuple[str, ...]:
        return ()

    def numbers(self, name: str) -> Floats:
        return self.table[name].to_numpy(dtype=np.float64)

    def words(self, name: str) -> list[str | None]:
        return list(self.table[name])


def _released(table: pd.DataFrame, analysis: str, clip_norm: float, multiplier: float, b: Floats | None) -> Floats:
    (work,) = tomllib.loads(terms.text(analysis, 1.0, GENES))["tool"]["flame"]["vetted"].values()
    prepared = formulas.prepare(Sums.model_validate(work), Rows(table), b)
    of = np.arange(len(prepared.people))
    total = integer_sum(prepared.people, of, prepared.rows_of, prepared.width, clip_norm)
    for _ in range(SITES if multiplier else 0):  # each DIZ adds all of its noise
        total = total + ExactNoise().discrete_gaussian(sigma_squared(multiplier, CLIP_INT), len(total))
    return total * (clip_norm / CLIP_INT)


@pytest.fixture(scope="session")
def groups() -> Callable[..., dict[str, Floats]]:
    """Released group moments: groups(table, clip_norm, multiplier)."""

    def release(table: pd.DataFrame, clip_norm: float, multiplier: float) -> dict[str, Floats]:
        values, p = _released(table, terms.EXPRESSION, clip_norm, multiplier, None), len(GENES)
        parts = np.split(values, [2, 2 + 2 * p])
        return {"n": parts[0], "x": parts[1].reshape(2, p), "xx": parts[2].reshape(2, p)}

    return release


@pytest.fixture(scope="session")
def gradient() -> Callable[..., Floats]:
    """A released gradient: gradient(table, clip_norm, multiplier, coefficients)."""
    return lambda table, clip_norm, multiplier, b: _released(table, terms.CLASSIFIER, clip_norm, multiplier, b)


@pytest.fixture(scope="session")
def patients() -> Callable[[int, int], pd.DataFrame]:
    """Synthetic patients with the column `case`: patients(count, seed)."""

    def make(count: int, seed: int) -> pd.DataFrame:
        table, _ = prepare.synthetic(GENES, count, SITES, seed)
        return table.assign(case=(table["group"] == "case").astype(np.int64))

    return make
