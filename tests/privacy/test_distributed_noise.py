"""Noise in shares through whole gates: the unmasked sum has what was promised, and what is promised if some are lost.

Randomness is the operating system's; false alarms below 1e-8 per test.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.ports import NoiseSource
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.gates import ENFORCED
from tests.support.masked_gates import MaskedGates, masked_table, vector_of
from tests.support.statistics import mean_is, standard_deviation_is

DIMENSIONS = 10_000
SITES, DROPOUTS, COLLUDING = 5, 1, 1
HONEST = SITES - DROPOUTS - COLLUDING
WIDE = {
    "per_run": 1,
    "arrays": [{"record": "r", "name": "w", "dtype": "float32", "shape": [DIMENSIONS]}],
}


@dataclass
class OtherShare:
    """A gate with a mistake: its share is `factor` times the variance that it should be."""

    factor: Fraction
    seeded = False

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        wrong = Fraction(*sigma_squared) * self.factor
        return ExactNoise().discrete_gaussian((wrong.numerator, wrong.denominator), count)

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        return ExactNoise().distance(sigma_squared, count)


Noise = Callable[[int], NoiseSource]


@pytest.fixture
def gates_of(tmp_path: Path) -> Iterator[Callable[..., MaskedGates]]:
    """Five gates, of which one may be lost and one collude, whose apps answer zeros."""
    made: list[MaskedGates] = []

    def build(noise: Noise, trust: str = "distributed") -> MaskedGates:
        secure = {"dropouts": DROPOUTS, "colluding": COLLUDING}
        table = masked_table(sites=SITES, privacy=ENFORCED | {"trust": trust}, messages={"train": WIDE}, secure=secure)
        del table["secure_aggregation"]["weight"]
        zeros = Content({"r": {"w": np.zeros(DIMENSIONS, np.float32)}})
        made.append(
            MaskedGates(tmp_path / str(len(made)), table, sites=SITES, answers=lambda number: zeros, noise=noise)
        )
        return made[-1].set_up()

    yield build
    for gates in made:
        gates.close()


def fresh(number: int) -> NoiseSource:
    return ExactNoise()


def seeded(number: int) -> NoiseSource:
    return ExactNoise(seed_for_tests=number)


def sum_in(gates: MaskedGates, lost: tuple[str, ...] = ()) -> npt.NDArray[Any]:
    """The noise in the sum, in units of clip_norm: the answers are zeros."""
    return np.asarray(gates.sum(content=Content(), lost=lost)["r", "w"])


@pytest.mark.parametrize("noise", [fresh, seeded])
def test_the_sum_of_all_has_more_than_was_promised(noise: Noise, gates_of: Callable[..., MaskedGates]) -> None:
    """Variance sigma² n / (n - d - c), whoever turns out honest; sigma is 1 here."""
    found = sum_in(gates_of(noise))
    assert standard_deviation_is(found, math.sqrt(SITES / HONEST))
    assert mean_is(found, 0.0, math.sqrt(SITES / HONEST))


def test_after_a_loss_it_has_that_of_those_that_are_left(gates_of: Callable[..., MaskedGates]) -> None:
    """Variance sigma² (n - d) / (n - d - c)."""
    found = sum_in(gates_of(fresh), ("DIZ-2",))
    assert standard_deviation_is(found, math.sqrt((SITES - DROPOUTS) / HONEST))


def test_after_a_loss_and_without_those_that_collude_it_has_what_was_promised(
    gates_of: Callable[..., MaskedGates],
) -> None:
    """A colluder's share is known, as if it were zero: sigma² is left."""

    class Nothing:
        seeded = True

        def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
            return np.zeros(count, np.int64)

        def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
            return 0.0

    found = sum_in(gates_of(lambda number: Nothing() if number == 5 else ExactNoise()), ("DIZ-2",))
    assert standard_deviation_is(found, 1.0)


@pytest.mark.parametrize(
    "factor", [Fraction(HONEST, SITES), Fraction(HONEST, SITES - DROPOUTS), Fraction(HONEST, SITES - COLLUDING - 2)],
    ids=["of n", "of n - d", "of fewer"],
)  # fmt: skip
def test_another_share_is_found(factor: Fraction, gates_of: Callable[..., MaskedGates]) -> None:
    """sigma²/n, sigma²/(n - d) and sigma²/2: off by 13 % of sigma at least, so the power is above 1 - 1e-11."""
    found = sum_in(gates_of(lambda number: OtherShare(factor)))
    assert not standard_deviation_is(found, math.sqrt(SITES / HONEST))


def test_where_each_site_trusts_nobody_each_adds_all_of_it(gates_of: Callable[..., MaskedGates]) -> None:
    """Variance n sigma²."""
    assert standard_deviation_is(sum_in(gates_of(fresh, "local")), math.sqrt(SITES))


def test_what_leaves_one_site_is_uniform(gates_of: Callable[..., MaskedGates]) -> None:
    """Not its own noise, nor anything near its answer: mean and variance of a word drawn at random, in units of 2^32.

    10,000 draws: the variance of the squared deviation from 1/2 is 1/180, so that a word that is at all concentrated
    lies many standard errors off.
    """
    gates = gates_of(fresh)
    left = vector_of(gates.send(content=Content())["DIZ-1"]).astype(float) / 2**32
    assert abs(left.mean() - 0.5) < 6.5 * math.sqrt(1 / 12 / DIMENSIONS)
    assert abs(((left - 0.5) ** 2).mean() - 1 / 12) < 6.5 * math.sqrt(1 / 180 / DIMENSIONS)
    own = 1.0 / math.sqrt(HONEST) * CLIP_INT / 2**32  # where its share alone would be: next to 0 and 1
    assert np.mean((left > 6 * own) & (left < 1 - 6 * own)) > 0.99
