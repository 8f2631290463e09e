"""Rows into integers: the bound is exact, and each row stands by itself."""

import numpy as np
import pytest
from flame_vetted.rows import rows_to_integers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flame_fl.privacy.clipping import CLIP_INT, clip_to_integers
from tests.vetted.made import squared_norm

any_rows = hnp.arrays(np.float64, st.tuples(st.integers(0, 6), st.integers(1, 9)), elements=st.floats(width=64))
norms = st.sampled_from([1e-30, 1e-3, 1.0, 17.3, 1e30])


@given(rows=any_rows, clip_norm=norms)
def test_no_row_is_longer_than_the_ball(rows: np.ndarray, clip_norm: float) -> None:
    assert all(squared_norm(q) <= CLIP_INT**2 for q in rows_to_integers(rows, clip_norm))


@given(rows=any_rows, clip_norm=norms)
def test_a_row_does_not_depend_on_its_neighbours(rows: np.ndarray, clip_norm: float) -> None:
    together = rows_to_integers(rows, clip_norm)
    assert all(np.array_equal(together[i], rows_to_integers(rows[i : i + 1], clip_norm)[0]) for i in range(len(rows)))


@given(rows=any_rows, clip_norm=norms)
def test_a_row_that_is_not_finite_is_zero_and_no_other_is_touched(rows: np.ndarray, clip_norm: float) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    assert not rows_to_integers(rows, clip_norm)[bad].any()


@pytest.mark.parametrize("width", [1, 3, 1000, 100_000])
def test_inside_the_ball_it_is_what_the_gate_does(width: int) -> None:
    rows = np.random.default_rng(width).normal(size=(4, width)) / np.sqrt(width) / 3
    for row, q in zip(rows, rows_to_integers(rows, 1.0), strict=True):
        assert np.array_equal(q, clip_to_integers(row, 1.0))


@pytest.mark.parametrize("factor", [1.0001, 2.0, 1e10, 1e300])
@pytest.mark.parametrize("width", [1, 3, 1000])
def test_outside_it_is_scaled_onto_the_ball(width: int, factor: float) -> None:
    """Direction and length are kept, up to what truncation costs: sqrt(d) units."""
    row = np.random.default_rng(width).normal(size=width)
    row /= np.linalg.norm(row)
    q = rows_to_integers((row * factor)[None], 1.0)[0]
    assert np.linalg.norm(q / CLIP_INT - row) <= 3 * np.sqrt(width) / CLIP_INT


def test_many_tiny_entries_are_counted_exactly() -> None:
    """2^21 entries of half the ball's share each: the sum of squares needs more than one block."""
    width = 1 << 21
    rows = np.full((1, width), 2.0 / np.sqrt(width))
    q = rows_to_integers(rows, 1.0)[0]
    assert 0.9 * CLIP_INT**2 <= width * int(q[0]) ** 2 <= CLIP_INT**2
