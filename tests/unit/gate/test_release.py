"""What leaves of an update: clipped, noised, in the contract's order."""

import numpy as np
import numpy.typing as npt
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import MessageTerms, Privacy
from flame_fl.gate.noised import NoisedSum
from flame_fl.gate.release import Released, reference_of, release
from flame_fl.privacy.clipping import CLIP_INT
from tests.support.gates import NoNoise, enforced, good_update, message_terms, sent_message

CLIP = Privacy.model_validate({"mechanism": "clip", "clip_norm": 1.0})
NONE = Privacy()
UNIT = 1.0 / CLIP_INT


def let_go(
    update: Content | None,
    privacy: Privacy = NONE,
    rules: MessageTerms | None = None,
    sent: Content | None = None,
    failed: str = "",
) -> Released:
    rules = rules or message_terms()
    reference = reference_of(sent or sent_message(), rules, privacy)
    if privacy.ground == "enforced":
        total = NoisedSum(reference, rules, privacy, privacy.clip_norm or 0.0)
        total.add(update, failed)
        return total.release(NoNoise())
    assert update is not None
    return release(update, reference, rules, privacy)


def flat(content: Content) -> np.ndarray:
    return np.concatenate([content.arrays["arrays"][name].astype(float).ravel() for name in ("w", "b")])


def scaled(factor: float) -> Content:
    base = good_update()
    arrays = {name: (array * factor).astype(array.dtype) for name, array in base.arrays["arrays"].items()}
    return Content({"arrays": arrays}, base.metrics)


class TestOrder:
    def test_what_leaves_stands_in_the_contracts_order_whatever_the_app_chose(self) -> None:
        base = good_update()
        backwards = Content(
            {"arrays": dict(reversed(base.arrays["arrays"].items()))},
            {"metrics": dict(reversed(base.metrics["metrics"].items()))},
        )
        left = let_go(backwards).content
        assert list(left.arrays["arrays"]) == ["w", "b"]
        assert list(left.metrics["metrics"]) == ["num-examples", "loss"]

    def test_an_empty_listed_record_does_not_leave(self) -> None:
        assert let_go(Content(good_update().arrays, {"metrics": {}})).content.metrics == {}


class TestClip:
    def test_an_update_a_hundred_times_too_large_leaves_at_clip_norm(self) -> None:
        left = let_go(scaled(200.0), CLIP).content
        assert np.linalg.norm(flat(left)) == pytest.approx(1.0, rel=1e-6)

    def test_clipping_keeps_the_direction(self) -> None:
        left = flat(let_go(scaled(200.0), CLIP).content)
        assert left == pytest.approx(flat(good_update()) / 0.5, rel=1e-6)

    def test_an_update_inside_the_ball_is_unchanged(self) -> None:
        assert np.array_equal(flat(let_go(good_update(), CLIP).content), flat(good_update()))

    def test_a_delta_is_clipped_about_what_was_sent(self) -> None:
        rules = message_terms(update="delta")
        base = sent_message()
        far = {name: (array * 101).astype(array.dtype) for name, array in base.arrays["arrays"].items()}
        left = let_go(Content({"arrays": far}), CLIP, rules).content
        assert np.linalg.norm(flat(left) - flat(base)) == pytest.approx(1.0, rel=1e-6)

    def test_a_delta_of_another_shape_than_was_sent_is_refused(self) -> None:
        rule = {"record": "arrays", "name": "w", "dtype": "float64", "shape": ["<=4"]}
        rules = message_terms(update="delta", arrays=[rule], metrics=[])
        for rows in (1, 3):  # one row would broadcast, three would not
            with pytest.raises(RefusedError) as caught:
                let_go(Content({"arrays": {"w": np.ones(rows)}}), CLIP, rules, Content({"arrays": {"w": np.ones(4)}}))
            assert caught.value.code is RefusalCode.RELEASE_REJECTED

    def test_a_difference_that_overflows_is_refused(self) -> None:
        rules = message_terms(update="delta")
        huge = {"w": np.full(4, 1.7e308), "b": np.ones(1, np.float32)}
        sent = Content({"arrays": {"w": np.full(4, -1.7e308), "b": np.ones(1, np.float32)}})
        with pytest.raises(RefusedError):
            let_go(Content({"arrays": huge}), CLIP, rules, sent)

    def test_the_largest_finite_update_is_clipped_not_overflowed(self) -> None:
        huge = {"w": np.full(4, 1.7e308), "b": np.zeros(1, np.float32)}
        assert flat(let_go(Content({"arrays": huge}), CLIP).content) == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.0])

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_message_with_no_finite_reference_is_refused_before_data(self, bad: float) -> None:
        sent = Content({"arrays": {"w": np.full(4, bad), "b": np.ones(1, np.float32)}})
        with pytest.raises(RefusedError) as caught:
            reference_of(sent, message_terms(update="delta"), CLIP)
        assert caught.value.code is RefusalCode.TERMS_VIOLATED

    def test_without_mechanism_a_delta_needs_no_reference(self) -> None:
        assert reference_of(Content(), message_terms(update="delta"), NONE) == {}


class TestEnforced:
    def test_what_leaves_is_clipped_to_within_the_ball(self) -> None:
        left = let_go(scaled(200.0), enforced()).content
        metric = (float(left.metrics["metrics"]["loss"]) - 5) / 5 * 0.1  # type: ignore[arg-type]
        norm = np.linalg.norm([*flat(left), metric])
        assert norm <= 1.0 + 1e-7  # float32 rounding of one array
        assert norm == pytest.approx(1.0, abs=1e-5)

    def test_an_update_inside_the_ball_loses_less_than_one_unit_per_coordinate(self) -> None:
        gap = np.abs(flat(let_go(good_update(), enforced()).content) - flat(good_update()))
        assert gap.max() <= UNIT

    def test_a_count_leaves_as_a_constant(self) -> None:
        assert let_go(good_update(), enforced()).content.metrics["metrics"]["num-examples"] == 1

    def test_a_metric_passes_through_its_range(self) -> None:
        loss = let_go(good_update(), enforced()).content.metrics["metrics"]["loss"]
        assert loss == pytest.approx(2.5, abs=1e-3)

    @pytest.mark.parametrize(("sent", "leaves"), [(1e300, 10.0), (-1e300, 0.0)])
    def test_a_metric_outside_its_range_is_pulled_to_its_edge(self, sent: float, leaves: float) -> None:
        update = Content(good_update().arrays, {"metrics": {"loss": sent}})
        loss = let_go(update, enforced(clip_norm=10.0)).content.metrics["metrics"]["loss"]
        assert loss == pytest.approx(leaves, abs=1e-3)

    def test_the_widest_range_allowed_does_not_overflow(self) -> None:
        rule = {"record": "metrics", "name": "loss", "kind": "sum", "min": -1e100, "max": 1e100}
        update = Content(good_update().arrays, {"metrics": {"loss": 1e308}})
        left = let_go(update, enforced(clip_norm=10.0), message_terms(metrics=[rule])).content
        assert left.metrics["metrics"]["loss"] == pytest.approx(1e100, rel=1e-3)

    @pytest.mark.parametrize(
        "update",
        [
            None,
            Content(),
            Content({"arrays": {"w": np.full(4, np.nan), "b": np.zeros(1, np.float32)}}),
            Content({"arrays": {"w": np.zeros(5), "b": np.zeros(1, np.float32)}}),
            Content(good_update().arrays, {"metrics": {"loss": np.nan}}),
            Content(good_update().arrays, {"metrics": {"other": 1.0}}),
            Content(good_update().arrays, {}, {"words": {"x": "y"}}),
        ],
    )
    def test_every_failure_is_the_zero_vector_and_the_middle_of_the_range(self, update: Content | None) -> None:
        left = let_go(update, enforced(), failed="the app failed")
        assert left.failed
        assert not flat(left.content).any()
        assert left.content.metrics == {"metrics": {"loss": 5.0, "num-examples": 1}}

    def test_a_failure_under_delta_leaves_what_was_sent(self) -> None:
        left = let_go(None, enforced(), message_terms(update="delta"), failed="the app failed").content
        assert np.array_equal(flat(left), flat(sent_message()))

    def test_what_leaves_is_finite_where_noise_exceeds_the_dtype(self) -> None:
        class Loud(NoNoise):
            def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
                return np.array([(-1) ** i << 60 for i in range(count)])

        rule = {"record": "arrays", "name": "h", "dtype": "float16", "shape": [3]}
        total = NoisedSum({}, message_terms(arrays=[rule], metrics=[]), enforced(clip_norm=1e30), 1e30)
        total.add(None, "x")
        assert np.isfinite(total.release(Loud()).content.arrays["arrays"]["h"]).all()

    def test_the_noise_is_announced_in_the_updates_units(self) -> None:
        assert let_go(good_update(), enforced(clip_norm=3.0, noise_multiplier=0.5)).noise_std == 1.5

    def test_the_noise_asked_for_is_the_terms_to_the_last_bit(self) -> None:
        asked: list[tuple[tuple[int, int], int]] = []

        class Asked(NoNoise):
            def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
                asked.append((sigma_squared, count))
                return np.zeros(count, np.int64)

        total = NoisedSum({}, message_terms(), enforced(noise_multiplier=0.75), 1.0)
        total.add(good_update())
        total.release(Asked())
        assert asked == [(((3 * CLIP_INT // 4) ** 2, 1), 6)]
