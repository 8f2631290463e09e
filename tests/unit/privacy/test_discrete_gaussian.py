"""The sampler's parts, and where its randomness comes from. Its distribution is tested in tests/privacy."""

import secrets
from fractions import Fraction
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.privacy.discrete_gaussian import ExactNoise, _floor_sqrt, sigma_squared


def test_the_default_source_is_the_operating_systems() -> None:
    noise = ExactNoise()
    assert isinstance(noise._bits, secrets.SystemRandom)
    assert noise.seeded is False


def test_a_seed_is_for_tests_and_says_so() -> None:
    assert ExactNoise(seed_for_tests=0).seeded is True


def test_a_seed_repeats_and_the_default_does_not() -> None:
    draws = [ExactNoise(seed_for_tests=3).discrete_gaussian((10**6, 1), 20) for _ in range(2)]
    assert draws[0] == draws[1]
    assert ExactNoise().discrete_gaussian((10**12, 1), 20) != ExactNoise().discrete_gaussian((10**12, 1), 20)


@pytest.mark.parametrize("sigma", [(0, 1), (-1, 1), (1, 0), (1, -1)])
def test_a_sigma_that_is_not_positive_is_a_bug(sigma: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ExactNoise().discrete_gaussian(sigma, 1)


def test_no_draws_are_no_draws() -> None:
    assert ExactNoise().discrete_gaussian((1, 1), 0) == []


def test_draws_are_whole_numbers_however_small_sigma_is() -> None:
    draws = ExactNoise(seed_for_tests=1).discrete_gaussian((1, 10**6), 50)
    assert set(draws) == {0}


@given(st.floats(min_value=1e-4, max_value=1e6), st.integers(1, 1 << 24))
def test_sigma_is_the_floats_exact_value(multiplier: float, clip_int: int) -> None:
    numerator, denominator = sigma_squared(multiplier, clip_int)
    assert Fraction(numerator, denominator) == (Fraction(multiplier) * clip_int) ** 2


@given(st.integers(1, 10**30), st.integers(1, 10**30))
def test_the_floor_of_a_fractions_root_is_exact(numerator: int, denominator: int) -> None:
    root = _floor_sqrt(numerator, denominator)
    assert root * root * denominator <= numerator < (root + 1) ** 2 * denominator
    assert root == isqrt(numerator // denominator)
