"""Clipping: to the ball, and into integers that are inside it exactly."""

import numpy as np
import pytest

from flame_fl.privacy import clipping
from flame_fl.privacy.clipping import CLIP_INT, clip, clip_to_integers


def test_inside_the_ball_nothing_changes() -> None:
    vector = np.array([0.3, -0.4])
    assert clip(vector, 0.5) is vector


def test_outside_the_ball_the_norm_becomes_the_bound_and_the_direction_stays() -> None:
    assert clip(np.array([30.0, -40.0]), 5.0) == pytest.approx([3.0, -4.0], rel=1e-15)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e300, 1.7e308])
def test_no_size_of_input_overflows_or_vanishes(scale: float) -> None:
    """Four equal coordinates have twice the length of one: on a ball of one, each becomes a half."""
    clipped = clip(np.full(4, scale), scale)
    assert clipped / scale == pytest.approx([0.5] * 4) or scale == 5e-324  # whose half is no float
    assert np.isfinite(clip(np.full(1000, scale), 1.0)).all()


def test_the_zero_vector_stays_zero() -> None:
    assert not clip_to_integers(np.zeros(3), 1.0).any()
    assert clip_to_integers(np.zeros(0), 1.0).size == 0


def test_a_vector_on_the_ball_keeps_all_of_its_length() -> None:
    assert clip_to_integers(np.array([0.0, -2.5]), 2.5).tolist() == [0, -CLIP_INT]


def test_integers_are_truncated_towards_zero() -> None:
    unit = 1.0 / CLIP_INT
    assert clip_to_integers(np.array([1.9, -1.9]) * unit, 1.0).tolist() == [1, -1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_the_callers_to_decide(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        clip_to_integers(np.array([0.0, bad]), 1.0)


def test_the_bound_holds_exactly_in_many_dimensions() -> None:
    """Beyond 2^22 coordinates a 64-bit sum of squares could wrap; nothing here depends on it."""
    rng = np.random.default_rng(0)
    vector = rng.normal(size=(1 << 22) + 3)
    q = clip_to_integers(vector, 1.0)
    assert sum(int(np.dot(part, part)) for part in np.array_split(q, 64)) <= CLIP_INT**2


@pytest.mark.parametrize("too_long", [1.01, 2.0])
def test_where_floating_point_cheats_the_integers_are_shrunk_until_the_bound_is_true(
    too_long: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A float clip whose result is too long: the integer check does not rely on it."""
    vector = np.random.default_rng(2).normal(size=1000)
    right = clip(vector, 1.0)
    monkeypatch.setattr(clipping, "clip", lambda vector, clip_norm: right * too_long)
    q = clip_to_integers(vector, 1.0)
    assert (1 - 1e-4) * CLIP_INT**2 <= sum(int(x) ** 2 for x in q) <= CLIP_INT**2


def test_one_unit_beyond_the_ball_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest excess that truncation does not take away by itself."""
    monkeypatch.setattr(clipping, "clip", lambda vector, clip_norm: vector * (1 + 2.0**-20))
    assert clip_to_integers(np.array([1.0]), 1.0).tolist() in ([CLIP_INT], [CLIP_INT - 1])
