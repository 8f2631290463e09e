"""The noised sum: clip norms that a message asks for, the bit beside them, clipping array by array, many updates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import MessageTerms, Privacy
from flame_fl.gate.noised import NoisedSum, clip_norm_of, coordinates, sigma_of
from flame_fl.gate.release import Released
from flame_fl.privacy.clipping import CLIP_INT
from tests.support.gates import BLOCKS, ENFORCED, NoNoise, World, good_update, make_fab, message_terms, terms_table

RULES = message_terms()
TWO = {
    "arrays": [
        {"record": "r", "name": "a", "dtype": "float64", "shape": [3], "clip_share": 0.6},
        {"record": "r", "name": "b", "dtype": "float64", "shape": [2, 2], "clip_share": 0.7},
    ],
    "metrics": [],
}
LOSS = [{"record": "metrics", "name": "loss", "kind": "mean", "min": 0.0, "max": 10.0}]


class Ones(NoNoise):
    """One unit of noise on every coordinate; it remembers what was asked for."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.asked: list[tuple[tuple[int, int], int]] = []

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        self.asked.append((sigma_squared, count))
        return np.full(count, self.size, np.int64)


def claim(table: dict[str, Any] = ENFORCED, **changes: Any) -> Privacy:
    return Privacy.model_validate({**table, **changes})


def released(
    updates: Sequence[Content | None],
    privacy: Privacy,
    rules: MessageTerms = RULES,
    clip_norm: float | None = None,
    noise: NoNoise | None = None,
) -> Released:
    total = NoisedSum({}, rules, privacy, clip_norm or privacy.clip_norm or 0.0)
    for update in updates:
        total.add(update)
    return total.release(noise or NoNoise())


def of_norm(norm: float) -> Content:
    """An update whose arrays have this norm."""
    return Content({"arrays": {"w": np.array([norm, 0, 0, 0]), "b": np.zeros(1, np.float32)}})


def arrays_of(left: Released) -> np.ndarray:
    return np.concatenate([array.ravel().astype(float) for _, _, array in left.content.array_items()])


class TestManyUpdates:
    @given(st.lists(st.none() | st.floats(0, 5), max_size=8), st.integers(8, 30))
    def test_the_divisor_is_the_number_of_blocks_whatever_happened_to_them(
        self, norms: list[float | None], blocks: int
    ) -> None:
        updates = [None if norm is None else of_norm(norm) for norm in norms]
        privacy = claim(BLOCKS, blocks=blocks, clip_norm=2.0)
        left = arrays_of(released(updates, privacy, message_terms(metrics=[])))
        expected = sum(min(norm, 2.0) for norm in norms if norm is not None) / blocks
        assert left[0] == pytest.approx(expected, abs=2.1 * 2.0 / CLIP_INT * 8 / blocks + 1e-3 * expected)

    @given(st.lists(st.floats(0, 1e300), min_size=2, max_size=8), st.integers(0, 7), st.floats(0, 1e300))
    def test_another_update_of_one_block_moves_the_sum_by_the_diameter_at_most(
        self, norms: list[float], which: int, other: float
    ) -> None:
        """Sensitivity, on the very integers that get noise: in units of the mean, 2 · clip_norm / k."""
        privacy = claim(BLOCKS, blocks=8)
        changed = [-other if n == which % len(norms) else norm for n, norm in enumerate(norms)]
        both = [released([of_norm(n) for n in each], privacy, message_terms(metrics=[])) for each in (norms, changed)]
        gap = (arrays_of(both[0]) - arrays_of(both[1])) * 8 * CLIP_INT
        assert np.linalg.norm(gap) <= 2 * CLIP_INT * (1 + 1e-12)

    def test_the_noise_is_drawn_once_and_divided_like_the_sum(self) -> None:
        noise = Ones(CLIP_INT)
        privacy = claim(BLOCKS, blocks=4, clip_norm=2.0, noise_multiplier=3.0)
        left = released([None] * 4, privacy, noise=noise)
        assert noise.asked == [((9 * CLIP_INT**2, 1), 6)]
        assert arrays_of(left) == pytest.approx([2.0 / 4] * 5)
        assert left.noise_std == 3.0 * 2.0 / 4

    @pytest.mark.parametrize("which", [1, 2, 3])
    def test_what_is_forgotten_is_zero_and_the_others_stay(self, which: int) -> None:
        total = NoisedSum({}, message_terms(metrics=[]), claim(BLOCKS, blocks=3), 1.0)
        norms = (0.1, 0.2, 0.4)
        for norm in norms:
            total.add(of_norm(norm))
        total.forget(which, "a patient went")
        left = total.release(NoNoise())
        assert arrays_of(left)[0] == pytest.approx((sum(norms) - norms[which - 1]) / 3, abs=1e-5)
        assert left.failed == "a patient went"

    def test_all_failures_are_told_to_the_node(self) -> None:
        left = released([None, good_update(), of_norm(np.nan)], claim(BLOCKS))
        assert left.failed.count(";") == 1
        assert "not finite" in left.failed


class TestAskedNorm:
    """`adaptive_clip`: the server may ask for a smaller ball; never for a larger one."""

    ADAPTIVE = claim(adaptive_clip=True, clip_norm=8.0)

    def asked(self, wish: object, privacy: Privacy = ADAPTIVE) -> float:
        return clip_norm_of(Content(configs={"flame": {"clip_norm": wish}}), privacy)  # type: ignore[dict-item]

    @pytest.mark.parametrize("wish", [8.0, 1, 0.25, 1e-30])
    def test_what_is_within_the_terms_is_granted(self, wish: float) -> None:
        assert self.asked(wish) == wish

    @pytest.mark.parametrize("wish", [8.000001, 9, 1e30])
    def test_a_larger_ball_is_the_terms(self, wish: float) -> None:
        assert self.asked(wish) == 8.0

    @pytest.mark.parametrize(
        "wish", [0.0, -1.0, 1e-31, 1e31, np.nan, np.inf, -np.inf, True, "1.0", b"1", [1.0], 10**400]
    )
    def test_anything_else_is_908(self, wish: object) -> None:
        with pytest.raises(RefusedError) as caught:
            self.asked(wish)
        assert caught.value.code is RefusalCode.TERMS_VIOLATED

    def test_no_wish_is_the_terms_norm(self) -> None:
        assert clip_norm_of(Content(), self.ADAPTIVE) == 8.0
        assert clip_norm_of(Content(configs={"flame": {"other": 1.0}}), self.ADAPTIVE) == 8.0

    @pytest.mark.parametrize("wish", [0.5, 99.0, np.nan])
    def test_where_the_terms_do_not_say_so_a_wish_is_not_heard(self, wish: float) -> None:
        assert self.asked(wish, claim(clip_norm=8.0)) == 8.0

    @pytest.mark.parametrize("wish", [8.0, 2.0, 0.1])
    def test_ball_noise_and_what_is_told_of_them_shrink_together(self, wish: float) -> None:
        """So the event stays the same: noise over norm."""
        noise = Ones(CLIP_INT)
        privacy = claim(adaptive_clip=True, clip_norm=8.0, noise_multiplier=3.0)
        left = released([of_norm(100.0)], privacy, message_terms(metrics=[]), wish, noise)
        assert noise.asked == [(sigma_of(privacy), 6)] == [((9 * CLIP_INT**2, 1), 6)]
        without = released([of_norm(100.0)], privacy, message_terms(metrics=[]), wish)
        assert arrays_of(left) - arrays_of(without) == pytest.approx([wish] * 5)
        assert np.linalg.norm(arrays_of(without)) == pytest.approx(wish, rel=0.01)
        assert (left.noise_std, left.clip_norm) == (3.0 * wish, wish)

    def test_through_a_gate(self, world: World) -> None:
        fab = make_fab(terms_table(privacy=ENFORCED | {"adaptive_clip": True, "clip_norm": 8.0}))
        world.decide(fab)
        for leg, (wish, code) in enumerate(((2.0, None), (0.0, 908), (np.nan, 908), (99.0, None))):
            content = Content({}, {}, {"flame": {"clip_norm": wish}})
            assert world.code(fab, leg=str(leg), content=content) == code
        told = [body["event"] for kind, body in world.audit() if kind == "released"]
        assert told[0] == told[1]
        assert len(world.sandbox.messages) == 2
        assert len(world.releases) == 2

    def test_the_reply_tells_norm_and_noise(self, world: World) -> None:
        fab = make_fab(terms_table(privacy=ENFORCED | {"adaptive_clip": True, "clip_norm": 8.0}))
        world.decide(fab)
        said = world.released(fab, content=Content({}, {}, {"flame": {"clip_norm": 2.0}})).configs["flame"]
        assert (said["clip_norm"], said["noise_std"]) == (2.0, 2.0)
        assert isinstance(said["below_clip"], float)
        assert said["below_clip_std"] == pytest.approx(1.0 / 0.1 / 2)

    def test_without_it_the_reply_has_no_bit(self, world: World) -> None:
        fab = make_fab(terms_table(privacy=ENFORCED))
        world.decide(fab)
        assert not {"below_clip", "below_clip_std"} & world.released(fab).configs["flame"].keys()


class TestTheBit:
    """Which share of updates was within the norm: a coordinate of the same clipped, noised vector."""

    PRIVACY = claim(BLOCKS, adaptive_clip=True, clip_norm=1.0, blocks=4)

    @pytest.mark.parametrize(
        ("norms", "share"),
        [([0.5] * 4, 1.0), ([5.0] * 4, 0.0), ([0.5, 0.5, 5.0, 5.0], 0.5), ([0.1, 0.2, 0.3, 9.0], 0.75)],
    )
    def test_it_is_the_share_of_updates_within(self, norms: list[float], share: float) -> None:
        """The norm is of all coordinates of the vector: one that is scaled down takes its bit down with it."""
        left = released([of_norm(n) for n in norms], self.PRIVACY, message_terms(metrics=[]))
        assert left.below_clip == pytest.approx(share, abs=0.01)

    def test_a_failed_block_counts_half(self) -> None:
        """Its vector is zero, the bit's coordinate too: it says neither."""
        left = released([None] * 4, self.PRIVACY)
        assert left.below_clip == 0.5

    @pytest.mark.parametrize("norm", [1e200, 1.7e308])
    def test_the_largest_update_is_not_within(self, norm: float) -> None:
        left = released([of_norm(norm)] * 4, self.PRIVACY, message_terms(metrics=[]))
        assert left.below_clip == pytest.approx(0.0, abs=0.01)

    def test_it_is_clipped_with_the_rest_and_gets_noise_of_its_own(self) -> None:
        """All coordinates at their largest are within the ball together."""
        noise = Ones(0)
        loud = Content({"arrays": {"w": np.full(4, 1.0), "b": np.ones(1, np.float32)}}, {"metrics": {"loss": 10.0}})
        left = released([loud], self.PRIVACY, noise=noise)
        assert noise.asked[0][1] == coordinates(RULES, self.PRIVACY) == 7
        loss = float(left.content.metrics["metrics"]["loss"])  # type: ignore[arg-type]
        share = self.PRIVACY.metric_share
        assert left.below_clip is not None
        everything = [*arrays_of(left), (loss - 5) / 5 * share, (2 * left.below_clip - 1) * share]
        assert np.linalg.norm(everything) * 4 <= 1.0 + 1e-6

    @pytest.mark.parametrize("blocks", [2, 50])
    def test_its_noise_is_told_in_its_own_units(self, blocks: int) -> None:
        """sigma of the mean over the bit's share of the norm, halved: the coordinate runs from -1 to 1."""
        privacy = claim(BLOCKS, adaptive_clip=True, blocks=blocks, noise_multiplier=2.0, metric_share=0.5)
        quiet, loud = released([None], privacy), released([None], privacy, noise=Ones(2 * CLIP_INT))
        assert quiet.below_clip is not None
        assert loud.below_clip is not None
        assert loud.below_clip - quiet.below_clip == pytest.approx(loud.below_clip_std) == pytest.approx(2 / blocks)


class TestShares:
    """Array by array: each to its own share of the ball, the whole still in it."""

    def rules(self, **changes: Any) -> MessageTerms:
        return message_terms(**TWO | changes)

    @staticmethod
    def update(a: float, b: float, loss: float | None = None) -> Content:
        arrays = {"a": np.array([a, 0, 0]), "b": np.full((2, 2), b / 2)}
        return Content({"r": arrays}, {} if loss is None else {"metrics": {"loss": loss}})

    def test_an_array_is_clipped_to_its_share_and_leaves_the_other_alone(self) -> None:
        left = released([self.update(100.0, 1.0)], claim(clip_norm=2.0), self.rules()).content.arrays["r"]
        assert np.linalg.norm(left["a"]) == pytest.approx(1.2, rel=1e-5)
        assert left["b"] == pytest.approx(np.full((2, 2), 0.5), abs=1e-5)

    @given(st.floats(0, 1e300), st.floats(0, 1e300), st.floats(-1e300, 1e300))
    def test_everything_together_is_in_the_ball(self, a: float, b: float, loss: float) -> None:
        """With a metric and the bit, which share what the arrays leave."""
        privacy = claim(clip_norm=2.0, adaptive_clip=True)
        left = released([self.update(a, b, loss)], privacy, self.rules(metrics=LOSS))
        shown = float(left.content.metrics["metrics"]["loss"])  # type: ignore[arg-type]
        assert left.below_clip is not None
        rest = [(shown - 5) / 5 * 0.2, (2 * left.below_clip - 1) * 0.2]
        assert np.linalg.norm([*arrays_of(left), *rest]) <= 2.0 * (1 + 1e-9)

    def test_a_metric_is_not_scaled_down_by_a_large_array(self) -> None:
        """That is what the shares are for."""
        left = released([self.update(1e6, 1e6, 9.0)], claim(clip_norm=2.0), self.rules(metrics=LOSS))
        assert left.content.metrics["metrics"]["loss"] == pytest.approx(9.0, abs=1e-3)

    @pytest.mark.parametrize(
        "shares", [(1.0,), (0.6, 0.8), (0.5,) * 4, (0.5773502693,) * 3, (0.1,) * 100, (0.25,) * 16]
    )
    def test_shares_that_the_terms_allow_can_be_clipped_to(self, shares: tuple[float, ...]) -> None:
        """Up to the rounding of the numbers that people write: 3 · 0.5773502693² is a little above 1."""
        arrays = [
            {"record": "r", "name": str(n), "dtype": "float64", "shape": [2], "clip_share": share}
            for n, share in enumerate(shares)
        ]
        rules = message_terms(arrays=arrays, metrics=[])
        rules.check_shares(0.1, extra=False)
        update = Content({"r": {str(n): np.full(2, 1e9) for n in range(len(shares))}})
        left = released([update], claim(), rules)
        assert not left.failed
        assert np.linalg.norm(arrays_of(left)) <= 1.0
        for share, (_, _, array) in zip(shares, left.content.array_items(), strict=True):
            assert np.linalg.norm(array) == pytest.approx(share, rel=1e-5)

    def test_an_empty_array_has_a_share_too(self) -> None:
        arrays = [{**rule, "shape": [0]} if rule["name"] == "a" else rule for rule in TWO["arrays"]]
        update = Content({"r": {"a": np.zeros(0), "b": np.full((2, 2), 1e3)}})
        left = released([update], claim(), self.rules(arrays=arrays))
        assert np.linalg.norm(left.content.arrays["r"]["b"]) == pytest.approx(0.7, rel=1e-5)
