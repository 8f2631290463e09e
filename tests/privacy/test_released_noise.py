"""What leaves under an enforced claim: the noise is the terms', the sensitivity is the ball's, failure looks like zero.

Randomness is the operating system's where a distribution is claimed; false alarms below 1e-8 per test.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError, SandboxTimeoutError
from flame_fl.contract.frames import encode
from flame_fl.contract.ports import Envelope
from flame_fl.contract.refusal import Refusal
from flame_fl.contract.task import Reply
from flame_fl.contract.terms import MessageTerms, Privacy
from flame_fl.gate.claims import event_of
from flame_fl.gate.noised import NoisedSum
from flame_fl.gate.release import Reference, Released, reference_of
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.gates import ENFORCED, NoNoise, World, enforced, good_update, make_fab, message_terms, terms_table
from tests.support.statistics import mean_is, standard_deviation_is

DIMENSIONS = 10_000
WIDE = MessageTerms.model_validate(
    {"per_run": 1, "arrays": [{"record": "r", "name": "w", "dtype": "float64", "shape": [DIMENSIONS]}]}
)
LOSS = {"record": "metrics", "name": "loss", "kind": "mean", "min": -4.0, "max": 6.0}


@dataclass
class WrongNoise:
    """A gate with a mistake: its noise is `factor` times the terms'."""

    factor: Fraction

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        wrong = Fraction(*sigma_squared) * self.factor**2
        return ExactNoise().discrete_gaussian((wrong.numerator, wrong.denominator), count)


def let_go(
    update: Content | None, privacy: Privacy, noise: Any, rules: MessageTerms = WIDE, reference: Reference | None = None
) -> Released:
    """What a gate releases of one update."""
    total = NoisedSum(reference or {}, rules, privacy, float(privacy.clip_norm or 0))
    total.add(update, "it failed")
    return total.release(noise)


def wide(value: np.ndarray) -> Content:
    return Content({"r": {"w": value}})


def noise_in(privacy: Privacy, noise: Any, rules: MessageTerms = WIDE) -> np.ndarray:
    """What leaves minus what went in, for an update well inside the ball."""
    update = np.full(DIMENSIONS, 0.25 * float(privacy.clip_norm or 0) / np.sqrt(DIMENSIONS))
    sent = wide(np.full(DIMENSIONS, 2.0))
    reference = reference_of(sent, rules, privacy)
    if rules.update == "delta":
        update = update + 2.0
    left = let_go(wide(update), privacy, noise, rules, reference).content.arrays["r"]["w"]
    return np.asarray(left - update)


@pytest.mark.parametrize("multiplier", [0.5, 4.0])
@pytest.mark.parametrize("clip_norm", [0.01, 3.0])
@pytest.mark.parametrize("update", ["value", "delta"])
def test_the_noise_that_leaves_is_noise_multiplier_times_clip_norm(
    multiplier: float, clip_norm: float, update: str
) -> None:
    privacy = enforced(clip_norm=clip_norm, noise_multiplier=multiplier)
    rules = WIDE.model_copy(update={"update": update})
    noise = noise_in(privacy, ExactNoise(), rules)
    assert standard_deviation_is(noise, multiplier * clip_norm)
    assert mean_is(noise, 0.0, multiplier * clip_norm)


@dataclass
class Recorded:
    """Noise that is written down."""

    draws: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        self.draws.append(ExactNoise().discrete_gaussian(sigma_squared, count))
        return self.draws[-1]


@pytest.mark.parametrize("update", ["value", "delta"])
def test_each_coordinate_leaves_with_a_draw_of_its_own_and_nothing_else(update: str) -> None:
    """What leaves is q + draw, exactly, one draw per coordinate: no reuse, no rest of the raw update below a unit.

    With clip_norm = 1 a unit is 2^-20, so released float64 values are whole multiples of it; under "delta" the sent
    zeros are subtracted first.
    """
    raw = np.random.default_rng(3).normal(size=DIMENSIONS)
    privacy, rules, noise = enforced(), WIDE.model_copy(update={"update": update}), Recorded()
    reference = reference_of(wide(np.zeros(DIMENSIONS)), rules, privacy)
    left = let_go(wide(raw), privacy, noise, rules, reference).content.arrays["r"]["w"] * CLIP_INT
    without = let_go(wide(raw), privacy, NoNoise(), rules, reference).content.arrays["r"]["w"] * CLIP_INT
    (draws,) = noise.draws
    assert len(draws) == DIMENSIONS
    np.testing.assert_array_equal(left, np.rint(left))
    np.testing.assert_array_equal(left - without, draws)


def test_with_noise_taken_away_a_delta_is_the_update_that_was_sent_up_to_clipping() -> None:
    """Under "delta" it is the difference that is clipped, and what leaves lies that close to what was sent."""
    rules, privacy = WIDE.model_copy(update={"update": "delta"}), enforced(clip_norm=5.0)
    sent = np.linspace(-100.0, 100.0, DIMENSIONS)
    change = np.zeros(DIMENSIONS)
    change[0], change[1] = 300.0, -400.0
    reference = reference_of(wide(sent), rules, privacy)
    left = let_go(wide(sent + change), privacy, NoNoise(), rules, reference).content.arrays["r"]["w"]
    np.testing.assert_allclose((left - sent)[:3], [3.0, -4.0, 0.0], atol=2 * 5.0 / CLIP_INT)


@pytest.mark.parametrize("factor", [Fraction(11, 10), Fraction(10, 11)])
def test_a_gate_whose_noise_is_a_tenth_off_is_found(factor: Fraction) -> None:
    """Power above 1 - 1e-11."""
    assert not standard_deviation_is(noise_in(enforced(), WrongNoise(factor)), 1.0)


def test_the_noise_on_a_metric_is_the_same_in_its_own_units() -> None:
    """A metric takes metric_share of the ball for its range: std = m · C / (share · C) · (max - min) / 2."""
    losses = [LOSS | {"name": f"loss-{i}"} for i in range(10)]
    rules = message_terms(arrays=[], metrics=losses)
    privacy = enforced(metric_share=0.25, noise_multiplier=0.5)
    update = Content({}, {"metrics": {str(loss["name"]): 2.0 for loss in losses}})
    left = [let_go(update, privacy, ExactNoise(), rules).content.metrics["metrics"].values() for _ in range(1000)]
    deviations = np.array([list(values) for values in left], dtype=float).ravel() - 2.0
    assert standard_deviation_is(deviations, 0.5 / 0.25 * 5.0)
    assert mean_is(deviations, 0.0, 0.5 / 0.25 * 5.0)


def test_the_announced_noise_is_the_noise() -> None:
    privacy = enforced(clip_norm=2.0, noise_multiplier=1.5)
    update = wide(np.zeros(DIMENSIONS))
    released = let_go(update, privacy, ExactNoise())
    assert standard_deviation_is(released.content.arrays["r"]["w"], released.noise_std)


class TestSensitivity:
    """Real neighbours: two sites' updates as far apart as updates can be."""

    @pytest.mark.parametrize("size", [1.0, 100.0, 1e300])
    def test_two_updates_never_leave_further_apart_than_the_diameter(self, size: float) -> None:
        direction = np.random.default_rng(1).normal(size=DIMENSIONS)
        left = [
            let_go(wide(sign * size * direction), enforced(), NoNoise()).content.arrays["r"]["w"] for sign in (1, -1)
        ]
        integers = [np.rint(array * CLIP_INT).astype(object) for array in left]
        apart = int(sum((a - b) ** 2 for a, b in zip(*integers, strict=True)))
        assert apart <= (2 * CLIP_INT) ** 2

    @pytest.mark.parametrize("update", ["value", "delta"])
    def test_arrays_and_metrics_are_one_ball_and_failing_is_a_point_of_it(self, update: str) -> None:
        """Arrays and a metric at opposite ends, and the zero vector of a failure: no two are further apart than 2 C."""
        privacy = enforced(metric_share=1.0)
        rules = message_terms(update=update, metrics=[LOSS])
        reference = reference_of(Content({"arrays": {"w": np.ones(4), "b": np.ones(1, np.float32)}}), rules, privacy)

        def vector(sign: float) -> np.ndarray:
            arrays = {"w": np.full(4, sign * 1e9), "b": np.full(1, sign * 1e9, np.float32)}
            content = Content({"arrays": arrays}, {"metrics": {"loss": 1.0 + 5.0 * sign}}) if sign else None
            left = let_go(content, privacy, NoNoise(), rules, reference).content
            flat = np.concatenate([left.arrays["arrays"]["w"], left.arrays["arrays"]["b"].astype(float)])
            base = 1.0 if update == "delta" else 0.0
            return np.append(flat - base, (float(left.metrics["metrics"]["loss"]) - 1.0) / 5.0)

        plus, minus, failed = vector(1.0), vector(-1.0), vector(0.0)
        assert np.linalg.norm(plus - minus) == pytest.approx(2.0, abs=1e-5)
        for one, other in ((plus, minus), (plus, failed), (minus, failed)):
            assert np.linalg.norm(one - other) <= 2.0 + 1e-6  # what float32 adds back is post-processing

    def test_opposite_updates_use_the_whole_diameter_so_nothing_less_could_be_accounted(self) -> None:
        worst = np.zeros(DIMENSIONS)
        worst[7] = 1e9
        left = [let_go(wide(sign * worst), enforced(), NoNoise()).content.arrays["r"]["w"] for sign in (1, -1)]
        assert np.linalg.norm(left[0] - left[1]) == 2.0

    def test_the_ledgers_event_is_sigma_over_that_diameter(self) -> None:
        event = event_of(enforced(clip_norm=3.0, noise_multiplier=1.5))
        assert event is not None
        assert event.multiplier == (1.5 * 3.0) / (2 * 3.0)


def died(message: Envelope) -> Content:
    raise SandboxError("it died")


def late(message: Envelope) -> Content:
    raise SandboxTimeoutError("it was late")


FAILURES: dict[str, Any] = {
    "died": died,
    "late": late,
    "garbage": lambda message: b"garbage",
    "empty": lambda message: Content(),
    "nan": lambda message: Content({"arrays": {"w": np.full(4, np.nan), "b": np.zeros(1, np.float32)}}),
    "shape": lambda message: Content({"arrays": {"w": np.zeros(400), "b": np.zeros(1, np.float32)}}),
    "unlisted": lambda message: Content(good_update().arrays, {"metrics": {"smoker": 1}}),
    "config": lambda message: Content(good_update().arrays, {}, {"c": {"text": "a name"}}),
    "silent": lambda message: Content(good_update().arrays),
}
NOISY = make_fab(terms_table(privacy=ENFORCED))
NOTHING = Content({"arrays": {"w": np.zeros(4), "b": np.zeros(1, np.float32)}}, {"metrics": {"loss": 5.0}})


class TestFailureIsSilent:
    """Under an enforced claim a failure is the zero vector and noise: never a refusal, never another shape."""

    @pytest.mark.parametrize("name", [name for name in FAILURES if name != "silent"])
    def test_a_failure_leaves_exactly_what_the_zero_update_would_have(self, name: str, make_world: Any) -> None:
        """With the same seed the two are the same bits, so no test on them can tell failure from zero."""
        left = []
        for answer in (FAILURES[name], lambda message: NOTHING):
            world: World = make_world(noise=ExactNoise(seed_for_tests=11))
            world.decide(NOISY)
            world.sandbox.answer = answer
            content = world.released(NOISY)
            left.append(b"".join(encode(Content(content.arrays, content.metrics))))
        assert left[0] == left[1]

    @pytest.mark.parametrize("name", FAILURES)
    def test_a_failure_has_the_records_keys_and_shapes_of_a_success(self, name: str, make_world: Any) -> None:
        seen = []
        for answer in (FAILURES[name], lambda message: good_update()):
            world: World = make_world(noise=ExactNoise())
            world.decide(NOISY)
            world.sandbox.answer = answer
            left = world.released(NOISY)
            arrays = [(r, n, a.dtype, a.shape) for r, n, a in left.array_items()]
            metrics = [(r, list(v)) for r, v in left.metrics.items()]
            seen.append((arrays, metrics, list(left.configs), list(left.configs["flame"])))
        assert seen[0] == seen[1]

    @pytest.mark.parametrize("name", FAILURES)
    def test_a_failure_costs_what_a_success_costs(self, name: str, world: World) -> None:
        world.decide(NOISY)
        world.sandbox.answer = FAILURES[name]
        world.released(NOISY)
        assert [(e.state, e.event["noise_multiplier"]) for e in world.releases] == [("committed", 0.5)]

    def test_the_reason_is_in_the_nodes_own_log(self, world: World) -> None:
        world.decide(NOISY)
        world.sandbox.answer = died
        world.released(NOISY)
        assert world.audit()[-1][1]["zero_vector_because"] == "it died"
        assert world.detail == "it died"

    def test_the_next_message_after_a_death_is_answered_too(self, world: World) -> None:
        world.decide(NOISY)
        world.sandbox.answer = died
        world.released(NOISY, leg="1")
        world.sandbox.answer = lambda message: good_update()
        world.released(NOISY, leg="2")

    def test_only_codes_that_do_not_depend_on_data_ever_leave(self, world: World) -> None:
        world.decide(NOISY)
        codes = set()
        for leg, answer in enumerate(FAILURES.values()):
            world.sandbox.answer = answer
            reply = world.ask(NOISY, leg=str(leg), run_id=1)
            codes |= {int(reply.code)} if isinstance(reply, Refusal) else set()
            assert isinstance(reply, Reply | Refusal)
        assert codes <= {901, 902, 903, 907, 908}
