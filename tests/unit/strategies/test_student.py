"""Tails of Student's t against SciPy's, and where those end against 40 digits of mpmath."""

import numpy as np
import pytest
from flame_strategies.student import log10_tails
from hypothesis import given
from hypothesis import strategies as st
from mpmath import betainc, log10, mp, mpf
from numpy.testing import assert_allclose
from scipy import stats


@given(st.floats(-30, 30), st.floats(0.5, 1e6))
def test_is_scipy_s(t, degrees):
    expected = (stats.t.logsf(abs(t), degrees) + np.log(2)) / np.log(10)
    if expected > -200:
        assert_allclose(log10_tails(np.array([t]), degrees), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("degrees", [0.7, 1.0, 2.5, 30.3, 53.27, 4000.0, 1e6])
def test_is_exact_near_and_far(degrees):
    """To 1e-11, from no difference to p values far below the smallest number."""
    t = np.concatenate([[0.0], np.geomspace(1e-9, 60, 12)])
    with mp.workdps(40):
        x = [mpf(degrees) / (mpf(degrees) + mpf(value) ** 2) for value in t.tolist()]
        exact = [float(log10(betainc(mpf(degrees) / 2, 0.5, 0, at, regularized=True))) for at in x]
    assert_allclose(log10_tails(t, degrees), exact, rtol=1e-12, atol=1e-11)


def test_odd_values():
    found = log10_tails(np.array([0.0, np.inf, -np.inf, np.nan]), 5.0)
    np.testing.assert_array_equal(found, [0.0, -np.inf, -np.inf, np.nan])
    with pytest.raises(ValueError, match="degrees of freedom"):
        log10_tails(np.zeros(1), 0.0)
