"""Genomic control against scipy and numpy, and what it says of made-up scans."""

import math

import numpy as np
import pytest
from flame_strategies.errors import StrategyError
from flame_strategies.genomic_control import MEDIAN_CHI2, chi2_of, inflation, lambda_1000
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats


def parts_of(values, cuts=(3, 10, 500)):
    return lambda: np.split(np.asarray(values, dtype=np.float64), [cut for cut in cuts if cut < len(values)])


def test_the_constant_is_the_median_of_chi_squared():
    assert pytest.approx(stats.chi2.ppf(0.5, 1), rel=1e-15) == MEDIAN_CHI2


@pytest.mark.parametrize("p", [1.0, 0.999, 0.5, 0.05, 5e-8, 1e-100, 1e-300])
def test_statistics_of_p_values_are_scipy_s(p):
    assert chi2_of(-math.log10(p)) == pytest.approx(stats.chi2.isf(p, 1), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("z", [29.9, 30.1, 40.0, 200.0])
def test_statistics_beyond_floating_point_are_right(z):
    log10p = -(stats.norm.logsf(z) + math.log(2)) / math.log(10)

    assert chi2_of(log10p) == pytest.approx(z**2, rel=1e-11)
    assert chi2_of(math.inf) == math.inf


@pytest.mark.parametrize("tests", [1, 2, 1000, 1001])
@pytest.mark.parametrize("true", [1.0, 1.3])
def test_inflation_is_the_median_statistic_s(tests, true):
    statistics = true * np.random.default_rng(tests).normal(size=tests) ** 2
    log10p = -stats.chi2.logsf(statistics, 1) / math.log(10)

    found = inflation(parts_of(log10p))

    assert found.tests == tests
    assert found.inflation == pytest.approx(np.median(statistics) / MEDIAN_CHI2, rel=1e-9)
    assert found.largest == log10p.max()
    assert found.median == np.median(log10p)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 400) | st.just(math.nan) | st.just(0.0) | st.just(-0.0), max_size=60))
def test_the_median_is_exact_whatever_the_values(values):
    found = inflation(parts_of(values))

    there = [value for value in values if not math.isnan(value)]
    assert found.tests == len(there)
    assert found.median == np.median(there) if there else math.isnan(found.inflation)


def test_missing_and_impossible_values():
    assert inflation(parts_of([math.nan, 1.0, math.inf])).largest == math.inf
    assert math.isnan(inflation(list).inflation)
    with pytest.raises(StrategyError, match="above 1"):
        inflation(parts_of([0.5, -0.1]))


def test_lambda_1000_takes_the_sample_size_out():
    assert lambda_1000(1.2, 1000, 1000) == pytest.approx(1.2)
    assert lambda_1000(1.2, 4000, 4000) == pytest.approx(1.05)
    assert lambda_1000(1.2, 500, 2000) == pytest.approx(1.25)
    assert math.isnan(lambda_1000(1.2, 0, 1000))
