"""Tails of the normal distribution and of Student's t against SciPy's, and where those end against mpmath's digits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from flame_strategies.tails import Vector, log10_chi_squared, log10_normal, log10_student
from hypothesis import given
from hypothesis import strategies as st
from mpmath import betainc, erfc, log10, mp, mpf, sqrt
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats


@given(st.floats(-35, 35))
def test_normal_is_scipy_s(z):
    expected = (stats.norm.logsf(abs(z)) + math.log(2)) / math.log(10)
    assert_allclose(log10_normal(z), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("z", [4.999999, 5.0, 38.0, 200.0, 1e5])
def test_normal_where_numbers_end(z):
    with mp.workdps(60):
        exact = float(log10(erfc(mpf(z) / sqrt(2))))
    assert_allclose(log10_normal([z]), [exact], rtol=1e-13)


def test_normal_keeps_the_shape_and_odd_values():
    found = log10_normal([[0.0, np.nan], [np.inf, -np.inf]])
    assert_array_equal(found, [[0.0, np.nan], [-np.inf, -np.inf]])


def test_chi_squared_of_one_degree_is_scipy_s():
    x = np.array([0.0, 0.3, 3.84, 40.0, 900.0])
    assert_allclose(log10_chi_squared(x), stats.chi2.logsf(x, 1) / math.log(10), rtol=1e-12, atol=1e-15)


@given(st.lists(st.tuples(st.floats(-30, 30), st.integers(1, 100_000)), min_size=1, max_size=20))
def test_student_is_scipy_s_each_with_its_own_degrees(pairs):
    t, degrees = np.array(pairs, dtype=np.float64).T
    expected = (stats.t.logsf(np.abs(t), degrees) + np.log(2)) / np.log(10)
    there = expected > -200
    assert_allclose(log10_student(t, degrees)[there], expected[there], rtol=1e-9, atol=1e-11)


def test_student_near_and_far_is_exact():
    """From no difference to p values far below the smallest number, one value and one degree beside the other."""
    t, degrees = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e-9, 60, 6), [0.7, 2.5, 53.27, 4000.0, 1e6]))
    with mp.workdps(40):
        x = [mpf(d) / (mpf(d) + mpf(value) ** 2) for value, d in zip(t.tolist(), degrees.tolist(), strict=True)]
        pairs = zip(x, degrees.tolist(), strict=True)
        exact = [float(log10(betainc(mpf(d) / 2, 0.5, 0, at, regularized=True))) for at, d in pairs]
    assert min(exact) < -400
    assert_allclose(log10_student(t, degrees), exact, rtol=1e-12, atol=1e-11)


def test_student_s_odd_values():
    found = log10_student([0.0, np.inf, -np.inf, np.nan, 1.0, 1.0], [5.0, 6.0, 5.0, 5.0, np.nan, 0.0])
    assert_array_equal(found, [0.0, -np.inf, -np.inf, np.nan, np.nan, np.nan])
    assert_array_equal(log10_student([1.0, 2.0], -1.0), [np.nan, np.nan])


TAILS: list[tuple[Callable[[Vector], Vector], str]] = [(np.positive, "right"), (np.negative, "left")]


@pytest.mark.parametrize(("turn", "side"), TAILS, ids=["right", "left"])
def test_tails_of_the_normal_distribution(turn: Callable[[Vector], Vector], side: str) -> None:
    z = np.concatenate([np.linspace(0, 12, 241), [20.0, 38.0, 100.0, 1e4]])
    expected = (stats.norm.logsf(z) + np.log(2)) / np.log(10)
    assert_allclose(log10_normal(turn(z)), expected, rtol=1e-13, atol=1e-15)


def test_tails_of_what_is_no_number() -> None:
    assert_array_equal(log10_normal(np.array([np.nan, np.inf, -np.inf])), [np.nan, -np.inf, -np.inf])
