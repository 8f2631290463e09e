"""DP-SGD: the steps, the batch, the noise, and what a step does with them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flame_vetted import dp_sgd
from flame_vetted.claim import Claim
from flame_vetted.cohort import People, people
from flame_vetted.dp_sgd import Descent, descend
from flame_vetted.sums import noised

from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.statistics import mean_is, standard_deviation_is
from tests.vetted.made import MadeView, model


class CountedNoise:
    """No noise, and how often it was asked for."""

    seeded = True

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, int], int]] = []

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        self.calls.append((sigma_squared, count))
        return np.zeros(count, dtype=np.int64)

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        return 0.0


def claim(**fields: Any) -> Claim:
    return Claim(**{"mechanism": "dp-sgd", "clip_norm": 1.0, "noise_multiplier": 1.0, **fields})


def crowd(patients: int, records: int = 1) -> People:
    return people([f"p{i % patients}" for i in range(patients * records)], np.ones(patients * records, bool), 100)


class TestNoise:
    """Standard deviation noise_multiplier · clip_norm on each coordinate of the sum; from the operating system."""

    def draws(self, z: float, clip_norm: float) -> Any:
        return noised(np.zeros(10_000, dtype=np.int64), claim(noise_multiplier=z, clip_norm=clip_norm))

    @pytest.mark.parametrize(("z", "clip_norm"), [(0.5, 1.0), (1.2, 17.0)])
    def test_it_is_as_stated(self, z: float, clip_norm: float) -> None:
        draws = self.draws(z, clip_norm)
        assert standard_deviation_is(draws, z * clip_norm)
        assert mean_is(draws, 0.0, z * clip_norm)

    @pytest.mark.parametrize("wrong", [0.9, 1.1])
    def test_a_tenth_off_is_rejected(self, wrong: float) -> None:
        """Power above 1 - 1e-11 at 10,000 draws (tests/support/statistics.py)."""
        assert not standard_deviation_is(self.draws(1.2 * wrong, 1.0), 1.2)

    def test_every_step_has_its_own(self) -> None:
        """Two steps without data and with step length 1: their sum has sqrt(2) times the noise of one."""
        moved = descend(np.zeros(10_000), crowd(0), zero_gradients, claim(steps=2), Descent(1.0, 1))
        assert standard_deviation_is(moved, 2**0.5)
        assert not standard_deviation_is(moved, 2.0), "reused noise would have twice that of one"


def zero_gradients(weights: Any, records: Any) -> Any:
    return np.zeros((len(records), len(weights)))


@pytest.mark.parametrize(("patients", "rate"), [(0, 0.5), (5, 1e-12), (5, 0.5), (5, 1.0)])
def test_all_steps_are_made_whoever_is_there(patients: int, rate: float) -> None:
    noise = CountedNoise()
    descend(
        np.zeros(3), crowd(patients), zero_gradients, claim(steps=7, sample_rate=rate), Descent(0.1, 10), noise=noise
    )
    assert noise.calls == [((CLIP_INT**2, 1), 3)] * 7


def test_gradients_that_are_not_finite_stop_no_step() -> None:
    noise = CountedNoise()

    def broken(weights: Any, records: Any) -> Any:
        return np.full((len(records), len(weights)), np.nan)

    moved = descend(np.ones(3), crowd(4), broken, claim(steps=5), Descent(0.1, 10), noise=noise)
    assert len(noise.calls) == 5
    assert moved.tolist() == [1.0, 1.0, 1.0]


def test_weights_that_noise_blows_up_stay_numbers() -> None:
    steep = Descent(1e6, 1, weight_decay=1e3)
    moved = descend(np.ones(3), crowd(0), zero_gradients, claim(steps=200, noise_multiplier=1e4), steep)
    assert np.isfinite(moved).all()


def test_the_divisor_is_public() -> None:
    """q · expected_patients, whatever the batch is."""

    def ones(weights: Any, records: Any) -> Any:
        return np.full((len(records), 1), 0.5)

    for batch in ([], [0], [0, 1, 2]):
        moved = descend(
            np.zeros(1), crowd(4), ones, claim(sample_rate=0.25), Descent(1.0, 8),
            noise=CountedNoise(), sample=lambda n, q, batch=batch: np.array(batch, dtype=np.int64),
        )  # fmt: skip
        assert moved[0] == pytest.approx(-0.5 * len(batch) / (0.25 * 8))


def test_a_patient_comes_with_all_its_records_or_with_none() -> None:
    """Whose records are asked for in a step is exactly whose were drawn."""
    asked: list[int] = []

    def note(weights: Any, records: Any) -> Any:
        asked.extend(records.tolist())
        return zero_gradients(weights, records)

    everybody = crowd(40, records=3)
    batches: list[Any] = []

    def sample(count: int, rate: float) -> Any:
        batches.append(dp_sgd.poisson_sample(count, rate))
        return batches[-1]

    descend(np.zeros(2), everybody, note, claim(sample_rate=0.3), Descent(0.1, 12), noise=CountedNoise(), sample=sample)
    wanted = sorted(40 * record + int(patient) for patient in batches[0] for record in range(3))
    assert sorted(asked) == wanted


def test_memory_for_rows_is_bounded() -> None:
    """Rows of a wide model are made a few at a time."""
    sizes: list[int] = []

    def note(weights: Any, records: Any) -> Any:
        sizes.append(len(records))
        return zero_gradients(weights, records)

    descend(np.zeros(500_000), crowd(9), note, claim(), Descent(0.1, 9), noise=CountedNoise())
    assert sum(sizes) == 9
    assert max(sizes) <= 4


def test_without_noise_and_clipping_it_is_gradient_descent() -> None:
    """Full batches on a linear model reach the least squares fit, with momentum."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, size=(50, 3))
    y = x @ [0.5, -0.25, 0.125] + 0.25
    view = MadeView([f"p{i}" for i in range(50)], {**dict(zip("abc", x.T.tolist(), strict=True)), "y": y.tolist()})
    work = model(expected_patients=50, learning_rate=0.2, momentum=0.5)
    trainer = dp_sgd.prepare(work, view)
    moved = trainer.train(np.zeros(4), claim(clip_norm=30.0, steps=300), CountedNoise())
    assert moved == pytest.approx([0.5, -0.25, 0.125, 0.25], abs=1e-3)


def test_with_moderate_noise_it_still_learns() -> None:
    """Error below a third of the signal. Seeded data, fresh noise: the slope's standard error is about 0.02."""
    rng = np.random.default_rng(6)
    x = rng.uniform(-1, 1, size=(2000, 1))
    view = MadeView([f"p{i}" for i in range(2000)], {"a": x[:, 0].tolist(), "y": (0.9 * x[:, 0]).tolist()})
    work = model(
        {"kind": "linear", "inputs": 1, "outputs": 1},
        features=[{"names": ["a"], "low": -1, "high": 1}], expected_patients=2000, learning_rate=0.5,
    )  # fmt: skip
    moved = dp_sgd.prepare(work, view).train(np.zeros(2), claim(sample_rate=0.1, steps=60, noise_multiplier=1.0))
    assert moved[0] == pytest.approx(0.9, abs=0.3)


def test_the_real_noise_is_the_default() -> None:
    assert ExactNoise().seeded is False
    assert noised(np.zeros(50, dtype=np.int64), claim()).any()
