"""The exact test against the definition in whole numbers, and against what it says of itself."""

import math
from fractions import Fraction

import numpy as np
import pytest
from flame_strategies.hardy_weinberg import exact_test, exact_test_of_x
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

COUNTS = st.integers(0, 16)


def choose(n: int, k: int) -> int:
    return math.comb(n, k) if 0 <= k <= n else 0


def distribution(n: int, copies: int) -> dict[int, Fraction]:
    """P(h) for every possible number of heterozygous samples."""
    found = {}
    for h in range(copies % 2, min(copies, 2 * n - copies) + 1, 2):
        two = (copies - h) // 2
        found[h] = Fraction(choose(n, h) * choose(n - h, two) * 2**h, choose(2 * n, copies))
    return found


@given(COUNTS, COUNTS, COUNTS)
def test_is_the_definition(none, one, two):
    of = distribution(none + one + two, one + 2 * two)
    assert sum(of.values()) == 1
    expected = float(sum(p for p in of.values() if p <= of[one]))
    assert_allclose(exact_test([none], [one], [two]), expected, rtol=1e-11)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_of_x_is_the_definition(none, one, two, without, have):
    women, men, copies = none + one + two, without + have, one + 2 * two + have
    everyone = men + 2 * women
    pairs = {
        (m, h): Fraction(choose(men, m) * choose(everyone - men, copies - m), choose(everyone, copies)) * p
        for m in range(max(0, copies - 2 * women), min(men, copies) + 1)
        for h, p in distribution(women, copies - m).items()
    }
    assert sum(pairs.values()) == 1
    expected = float(sum(p for p in pairs.values() if p <= pairs[have, one]))
    assert_allclose(exact_test_of_x(([none], [one], [two]), ([without], [have])), expected, rtol=1e-11)


@given(st.lists(st.tuples(*[st.integers(0, 400)] * 3), min_size=1, max_size=4))
@settings(max_examples=30)
def test_side_by_side_is_one_by_one_and_the_alleles_are_alike(counts):
    none, one, two = np.array(counts).T
    found = exact_test(none, one, two)
    assert ((found > 0) & (found <= 1)).all()
    assert_array_equal(found, [exact_test([a], [h], [b])[0] for a, h, b in counts])
    assert_allclose(exact_test(two, one, none), found, rtol=1e-9)


def test_a_clear_deviation_is_a_small_p():
    """No heterozygous sample among 300: as unlikely as can be, but for nothing but heterozygous ones."""
    of = distribution(300, 300)
    expected = float(sum(p for p in of.values() if p <= of[0]))
    assert 0 < expected < 1e-80
    assert exact_test([150], [0], [150])[0] == pytest.approx(expected, rel=1e-9)
    assert exact_test([1000], [0], [1000])[0] < 1e-300


def test_large_numbers():
    """A million samples in equilibrium but for one: the peak has p of 1, and neighbours less."""
    found = exact_test([640_000, 640_100], [320_000, 319_800], [40_000, 40_100])
    assert found[0] == 1.0
    assert 0.5 < found[1] < 0.6  # 200 fewer heterozygous ones, of a standard deviation of 320


def test_nobody_and_one_allele():
    assert_array_equal(exact_test([0, 7, 0], [0, 0, 0], [0, 0, 9]), [1.0, 1.0, 1.0])
    assert_array_equal(exact_test_of_x(([0, 7], [0, 0], [0, 0]), ([0, 5], [0, 0])), [1.0, 1.0])
