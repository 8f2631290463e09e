"""Horvath's age transform."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from methylation_age.horvath import inverse, transform


@given(st.floats(-0.99, 120))
def test_inverse_undoes_transform(age: float) -> None:
    """Every age comes back, before birth and after 100 too."""
    assert inverse(transform(age)) == pytest.approx(age, abs=1e-9)


@given(st.floats(-0.99, 119), st.floats(1e-3, 1))
def test_transform_rises(age: float, step: float) -> None:
    """Older is larger."""
    assert transform(age + step) > transform(age)


def test_published_values() -> None:
    """F(20) = 0, F(0) = log(1/21), F(41) = 1."""
    assert transform([20.0, 0.0, 41.0]) == pytest.approx([0.0, np.log(1 / 21), 1.0])


def test_joins_without_a_kink() -> None:
    """The slope at 20 years is the same from both sides."""
    h = 1e-6
    left, right = (transform(20) - transform(20 - h)) / h, (transform(20 + h) - transform(20)) / h
    assert left == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("age", [-1.0, -300.0, np.nan, np.inf])
def test_impossible_age_is_an_error(age: float) -> None:
    """An age of -1 year or less, or none, is not silently transformed."""
    with pytest.raises(ValueError, match="in years"):
        transform([30.0, age])


def test_the_inverse_stops_beyond_anybody_s_age() -> None:
    """However wild a clock is, what it predicts is an age: above -1 and at most 125 years."""
    assert inverse([1e6, -1e6, 4.9]) == pytest.approx([125.0, -1.0, 122.9])
