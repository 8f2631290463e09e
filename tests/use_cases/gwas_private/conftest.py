"""Synthetic patients, and releases as flame_fl's own code computes them."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gwas_private
import numpy as np
import pandas as pd
import pytest
from flame_vetted import formulas
from flame_vetted.sums import integer_sum
from gwas_private import prepare, terms
from gwas_private.variants import own_study

from flame_fl.contract.vetted_terms import Sums
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise, sigma_squared

APP = Path(gwas_private.__file__).parents[1]
STUDY = own_study()
NAMES = [v.name for v in STUDY.variants]
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


@pytest.fixture(scope="session")
def release() -> Callable[[pd.DataFrame, float, float], dict[str, Floats]]:
    """Released sums: release(table, clip_norm, multiplier)."""

    def made(table: pd.DataFrame, clip_norm: float, multiplier: float) -> dict[str, Floats]:
        (work,) = tomllib.loads(terms.text(1.0, STUDY))["tool"]["flame"]["vetted"].values()
        prepared = formulas.prepare(Sums.model_validate(work), Rows(table))
        of = np.arange(len(prepared.people))
        total = integer_sum(prepared.people, of, prepared.rows_of, prepared.width, clip_norm)
        for _ in range(SITES if multiplier else 0):  # each DIZ adds all of its noise
            total = total + ExactNoise().discrete_gaussian(sigma_squared(multiplier, CLIP_INT), len(total))
        p = len(NAMES)
        parts = np.split(total * (clip_norm / CLIP_INT), np.cumsum([1, p, p, 1, 1]))
        return dict(zip(("n", "x", "xx", "y", "yy", "xy"), parts, strict=True))

    return made


@pytest.fixture(scope="session")
def patients() -> Callable[[int, int], pd.DataFrame]:
    """Synthetic patients: patients(count, seed)."""
    return lambda count, seed: prepare.synthetic(STUDY, count, SITES, seed)[0]
