"""Clipping: to the ball, and into integers that are inside it exactly."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flame_fl.privacy import clipping
from flame_fl.privacy.clipping import CLIP_INT, clip, clip_to_integers

FINITE = st.floats(allow_nan=False, allow_infinity=False)
# as large and as small as floats are, and everything between
EXTREME = st.sampled_from([0.0, 5e-324, 1e-308, 1e-154, 1.0, 1e154, 1e308, 1.7976931348623157e308]).flatmap(
    lambda size: st.sampled_from([size, -size])
)
VECTORS = hnp.arrays("float64", st.integers(0, 30), elements=FINITE | EXTREME)
NORMS = st.floats(min_value=5e-324, max_value=1.7e308) | st.sampled_from([1e-30, 1.0, 1e30])


def squares(q: np.ndarray) -> int:
    return sum(int(x) ** 2 for x in q)


@st.composite
def divided(draw: st.DrawFn) -> tuple[list[tuple[int, float]], int]:
    """Parts whose shares fit the ball, up to float64 rounding, and the length of all of them."""
    lengths = draw(st.lists(st.integers(0, 8), min_size=1, max_size=5))
    weights = [draw(st.integers(0, 100)) for _ in lengths]
    whole = max(1, sum(weights) + draw(st.sampled_from([0, 0, 50])))
    return [(n, math.sqrt(w / whole)) for n, w in zip(lengths, weights, strict=True)], sum(lengths)


class TestTheBall:
    def test_inside_the_ball_nothing_changes(self) -> None:
        vector = np.array([0.3, -0.4])
        assert clip(vector, 0.5) is vector

    def test_outside_the_ball_the_norm_becomes_the_bound_and_the_direction_stays(self) -> None:
        assert clip(np.array([30.0, -40.0]), 5.0) == pytest.approx([3.0, -4.0], rel=1e-15)

    @pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e300, 1.7e308])
    def test_no_size_of_input_overflows_or_vanishes(self, scale: float) -> None:
        """Four equal coordinates have twice the length of one: on a ball of one, each becomes a half."""
        clipped = clip(np.full(4, scale), scale)
        assert clipped / scale == pytest.approx([0.5] * 4) or scale == 5e-324  # whose half is no float
        assert np.isfinite(clip(np.full(1000, scale), 1.0)).all()


class TestIntegers:
    def test_the_zero_vector_stays_zero(self) -> None:
        assert not clip_to_integers(np.zeros(3), 1.0).any()
        assert clip_to_integers(np.zeros(0), 1.0).size == 0

    @pytest.mark.parametrize("norm", [2.5, 3.3, 1e-320, 1e-30, 1e300])
    def test_a_vector_on_the_ball_keeps_all_of_its_length(self, norm: float) -> None:
        assert clip_to_integers(np.array([0.0, -norm]), norm).tolist() == [0, -CLIP_INT]

    def test_they_are_truncated_towards_zero(self) -> None:
        unit = 1.0 / CLIP_INT
        assert clip_to_integers(np.array([1.9, -1.9]) * unit, 1.0).tolist() == [1, -1]

    @given(VECTORS, NORMS)
    def test_they_are_the_formulas_within_a_unit(self, vector: np.ndarray, clip_norm: float) -> None:
        """trunc(v · R / max(C, ‖v‖)), in exact fractions: a unit off where rounding crossed a whole number."""
        exact = [Fraction(x) for x in vector.tolist()]
        length = sum(x * x for x in exact)
        radius = max(Fraction(clip_norm) ** 2, length)
        root = Fraction(math.isqrt(radius.numerator << 2400), math.isqrt(radius.denominator << 2400))
        for x, q in zip(exact, clip_to_integers(vector, clip_norm).tolist(), strict=True):
            assert abs(q - x * CLIP_INT / root) < 1 + Fraction(1, 10**6)
            assert q * x >= 0

    @given(hnp.arrays("float32", st.integers(0, 30), elements=st.floats(-100, 100, width=32)), st.floats(1e-3, 1e3))
    def test_float32_is_clipped_like_the_float64_that_it_is(self, vector: np.ndarray, clip_norm: float) -> None:
        assert (clip_to_integers(vector, clip_norm) == clip_to_integers(vector.astype(np.float64), clip_norm)).all()

    def test_float32_may_be_as_large_as_it_gets(self) -> None:
        vector = np.full(9, np.finfo(np.float32).max, dtype=np.float32)
        assert clip_to_integers(vector, 1.0).tolist() == [CLIP_INT // 3] * 9

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("where", [0, 1, 20_000])
    def test_a_vector_that_is_not_finite_is_the_callers_to_decide(self, bad: float, dtype: type, where: int) -> None:
        vector = np.zeros(20_001, dtype=dtype)
        vector[where] = bad
        with pytest.raises(ValueError, match="finite"):
            clip_to_integers(vector, 1.0)

    @pytest.mark.parametrize("size", [1, clipping._CHUNK - 1, clipping._CHUNK, clipping._CHUNK + 1, (1 << 22) + 3])
    def test_the_bound_holds_exactly_in_many_dimensions_and_most_of_it_is_used(self, size: int) -> None:
        """Beyond 2^23 units a 64-bit sum of squares could wrap if it were not added up in parts."""
        vector = np.random.default_rng(0).normal(size=size)
        q = clip_to_integers(vector, 1e-3)
        total = sum(int(np.dot(part, part)) for part in np.array_split(q, 64))
        assert total <= CLIP_INT**2
        assert math.sqrt(total) >= CLIP_INT - math.sqrt(size)

    def test_the_vector_that_was_given_is_left_alone(self) -> None:
        for size in (1.0, 1e200):
            vector = np.random.default_rng(1).normal(size=100) * size
            before = vector.copy()
            clip_to_integers(vector, 1.0)
            assert (vector == before).all()


class TestSensitivity:
    """What is accounted for, on real neighbours: nothing but the two vectors being finite is assumed."""

    @given(VECTORS, NORMS)
    def test_every_vector_lands_in_the_ball_exactly(self, vector: np.ndarray, clip_norm: float) -> None:
        assert squares(clip_to_integers(vector, clip_norm)) <= CLIP_INT**2

    @given(st.data(), NORMS, st.integers(1, 30))
    def test_no_two_vectors_land_further_apart_than_the_diameter(
        self, data: st.DataObject, clip_norm: float, size: int
    ) -> None:
        vectors = hnp.arrays("float64", size, elements=FINITE | EXTREME)
        one, other = (clip_to_integers(data.draw(vectors), clip_norm) for _ in range(2))
        assert squares(one - other) <= (2 * CLIP_INT) ** 2

    @given(st.data(), NORMS, divided())
    def test_clipped_in_parts_they_land_no_further_apart(
        self, data: st.DataObject, clip_norm: float, divided: tuple[list[tuple[int, float]], int]
    ) -> None:
        parts, size = divided
        vectors = hnp.arrays("float64", size, elements=FINITE | EXTREME)
        one, other = (clip_to_integers(data.draw(vectors), clip_norm, parts) for _ in range(2))
        assert squares(one) <= CLIP_INT**2
        assert squares(one - other) <= (2 * CLIP_INT) ** 2
        start = 0
        for length, share in parts:
            assert squares(one[start : start + length]) <= math.floor(Fraction(share) ** 2 * CLIP_INT**2)
            start += length

    @pytest.mark.parametrize("size", [1, 5, 10_000])
    def test_opposite_vectors_use_the_whole_diameter_so_nothing_less_could_be_accounted(self, size: int) -> None:
        worst = np.zeros(size)
        worst[size // 2] = 1e300
        assert squares(clip_to_integers(worst, 1.0) - clip_to_integers(-worst, 1.0)) == (2 * CLIP_INT) ** 2

    @pytest.mark.parametrize("size", [100, 1 << 23])
    def test_a_norm_that_is_always_too_small_is_made_up_for(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A seeded mistake. At 2^23 coordinates of 2^20 a sum of squares in one 64-bit integer would wrap."""
        monkeypatch.setattr(clipping, "_norm", lambda vector: 0.0)
        q = clip_to_integers(np.ones(size), 1e-6)
        assert len(set(q[:: size // 100].tolist())) == 1
        assert 0.9 * CLIP_INT**2 <= size * int(q[0]) ** 2 <= CLIP_INT**2

    @pytest.mark.parametrize("too_long", [1 + 1e-6, 1.01, 2.0])
    def test_where_floating_point_cheats_the_integers_are_shrunk_until_the_bound_is_true(
        self, too_long: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A norm that comes out too short: the integer check does not rely on it."""
        vector = np.random.default_rng(2).normal(size=1000)
        right = clipping._norm(vector)
        monkeypatch.setattr(clipping, "_norm", lambda vector: right / too_long)
        assert (1 - 1e-4) * CLIP_INT**2 <= squares(clip_to_integers(vector, 1.0)) <= CLIP_INT**2


class TestParts:
    def test_each_is_clipped_to_its_share_by_itself(self) -> None:
        vector = np.array([30.0, 40.0, 0.0, 0.3, 5e8])
        q = clip_to_integers(vector, 1.0, [(2, 0.5), (2, 0.6), (1, 0.125)])
        assert q / CLIP_INT == pytest.approx([0.3, 0.4, 0.0, 0.3, 0.125], abs=2 / CLIP_INT)

    def test_one_part_of_the_whole_ball_is_the_vector(self) -> None:
        vector = np.random.default_rng(3).normal(size=100)
        assert (clip_to_integers(vector, 1.0, [(100, 1.0)]) == clip_to_integers(vector, 1.0)).all()

    @pytest.mark.parametrize("count", [2, 3, 7, 1000])
    def test_equal_shares_fit_whichever_way_they_were_rounded(self, count: int) -> None:
        for share in (np.nextafter(1 / math.sqrt(count), 2), math.ceil(1e9 / math.sqrt(count)) / 1e9):
            q = clip_to_integers(np.full(count, 1e9), 1.0, [(1, float(share))] * count)
            assert (1 - 1e-3) * CLIP_INT**2 <= squares(q) <= CLIP_INT**2

    def test_shares_that_are_too_large_by_rounding_do_not_make_the_ball_larger(self) -> None:
        """Four parts of whole units, each inside its own share and just outside a quarter of the ball's square."""
        share = 0.5 + 1e-7
        limit = math.floor((share * CLIP_INT) ** 2)
        pairs = ((a, math.isqrt(limit - a * a)) for a in range(400_000, 401_000))
        pair = next((a, b) for a, b in pairs if 4 * (a * a + b * b) > CLIP_INT**2)
        q = clip_to_integers(np.array(pair * 4) / CLIP_INT, 1.0, [(2, share)] * 4)
        assert CLIP_INT**2 - 16 * CLIP_INT <= squares(q) <= CLIP_INT**2

    def test_a_part_without_a_share_is_zero(self) -> None:
        assert clip_to_integers(np.array([1.0, 1.0]), 1.0, [(1, 0.0), (1, 1.0)]).tolist() == [0, CLIP_INT]

    @pytest.mark.parametrize("parts", [[(1, 0.5)], [(3, 0.5)], [(1, 0.5), (2, 0.5)], [(3, 0.1), (-1, 0.1)]])
    def test_parts_that_are_not_the_vectors_are_a_bug(self, parts: list[tuple[int, float]]) -> None:
        with pytest.raises(ValueError, match="make up"):
            clip_to_integers(np.zeros(2), 1.0, parts)

    @pytest.mark.parametrize("shares", [(0.8, 0.8), (1.001, 0.0), (-0.5, 0.5), (float("nan"), 0.5)])
    def test_shares_that_do_not_fit_the_ball_are_a_bug(self, shares: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match=r"fit the ball|NaN"):
            clip_to_integers(np.zeros(2), 1.0, [(1, share) for share in shares])
