"""Distributions and Wald tests against SciPy."""

import numpy as np
import pytest
from flame_strategies.glm_inference import beta_share, chi2_upper, gamma_upper, t_quantile, t_two_sided, wald
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

positive = st.floats(0.05, 500)


@given(st.floats(0, 1), positive, positive)
def test_beta(x, a, b):
    """The regularised incomplete beta function, away from cancellation in its complement."""
    assert beta_share(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-13)


@given(st.floats(0, 1000), positive)
def test_gamma(x, a):
    """Its upper incomplete gamma function, tails included where it is not a difference from 1."""
    assert gamma_upper(a, x) == pytest.approx(special.gammaincc(a, x), rel=1e-9, abs=1e-12)


@given(st.floats(-60, 60), st.integers(1, 10_000))
def test_t(t, degrees):
    """Student's distribution, far into the tails."""
    assert t_two_sided(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-8, abs=1e-300)


@given(st.floats(0.5, 0.9999), st.integers(1, 10_000))
def test_t_quantile(level, degrees):
    """As in SciPy."""
    assert t_quantile(level, degrees) == pytest.approx(stats.t.ppf(0.5 + level / 2, degrees), rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 5, 50])
@pytest.mark.parametrize("x", [0.0, 0.3, 5.0, 80.0, 600.0])
def test_chi_square(x, degrees):
    """As in SciPy, to the last tail."""
    assert chi2_upper(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-10)


def test_chi_square_of_no_degrees():
    """Models that are the same are not told apart."""
    assert chi2_upper(0.0, 0) == 1.0


@pytest.mark.parametrize("degrees", [None, 7])
def test_wald(degrees):
    """Statistics, p-values and intervals of two coefficients."""
    c = wald(("a", "b"), np.array([1.0, -2.0]), np.array([[0.25, 0.1], [0.1, 4.0]]), level=0.9, degrees=degrees)
    law = stats.norm if degrees is None else stats.t(degrees)
    np.testing.assert_allclose(c.statistic, [2, -1])
    np.testing.assert_allclose(c.p_value, 2 * law.sf([2, 1]), rtol=1e-12)
    np.testing.assert_allclose(c.upper, c.estimate + law.ppf(0.95) * np.array([0.5, 2]), rtol=1e-10)
    np.testing.assert_allclose(c.lower + c.upper, 2 * c.estimate)


def test_a_level_out_of_range():
    """Per cent are not shares."""
    with pytest.raises(ValueError, match="level is 95"):
        wald(("a",), np.ones(1), np.eye(1), level=95)
