"""Moderated variances against those of R's limma (3.54, squeezeVar), and the special functions against SciPy's."""

import math

import numpy as np
import pytest
from flame_strategies.errors import StrategyError
from flame_strategies.moderated import benjamini_hochberg, digamma, moderate, trigamma, trigamma_inverse
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special, stats

ALIKE = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.0])
UNLIKE = np.array([0.2, 1.5, 0.7, 3.1, 0.05, 0.9, 0.4, 2.2])
MEAN = np.array([3.0, 1, 7, 5, 2, 8, 6, 4])
TWO_MEANS = np.array([1.0, 1, 2, 2, 1, 1, 2, 2])


def squeezed(prior_df, prior, first, last):
    """What R printed: prior, and the first and last posterior variances."""
    return prior_df, prior, first, last


@pytest.mark.parametrize(
    ("variance", "degrees", "mean", "expected"),
    [
        (ALIKE, 4, None, squeezed(math.inf, 1.0, 1.0, 1.0)),
        (ALIKE, 4, MEAN, squeezed(math.inf, 1.3201179871627724, 1.3201179871627724, 1.3008678812844070)),
        (
            UNLIKE,
            10,
            None,
            squeezed(2.0153494051634691, 0.39603280333143515, 0.23288082437425880, 1.89741835263000902),
        ),
        (
            UNLIKE,
            10,
            MEAN,
            squeezed(1.6735892063746778, 0.31068420807470437, 0.215868289750062392, 1.941199276105763039),
        ),
        (
            np.append(0.0, UNLIKE[1:]),
            10,
            None,
            squeezed(0.49124076755667645, 0.010890706026369384, 0.00050994528732694212, 2.09749737388902701),
        ),
        (
            UNLIKE[:4],
            10,
            MEAN[:4],
            squeezed(1.8594638154231888, 0.52048555120286089, 0.2502494290722207, 2.6993478769655157),
        ),
        (
            UNLIKE[:2],
            10,
            MEAN[:2],
            squeezed(1.8752633004221475, 0.3265962429808279, 0.21999124418780949, 1.31470381359566990),
        ),
        (
            UNLIKE,
            10,
            TWO_MEANS,
            squeezed(2.2102708800469331, 0.22552307095821703, 0.204620118674066792, 1.942549083888614136),
        ),
        (UNLIKE[:1], 10, None, squeezed(0.0, 0.2, 0.2, 0.2)),
    ],
    ids=["alike", "alike-trend", "unlike", "trend", "a-zero", "four-genes", "two-genes", "two-means", "one-gene"],
)
def test_equals_limma(variance, degrees, mean, expected):
    """Prior degrees and variance, and posterior variances, to 13 digits."""
    found = moderate(variance, degrees, mean)
    values = (found.prior_df, found.prior_variance[0], found.variance[0], found.variance[-1])
    assert_allclose(values, expected, rtol=1e-13)
    assert found.variance.shape == variance.shape
    assert found.total_df == min(found.prior_df + degrees, degrees * len(variance))


@pytest.mark.parametrize("variance", [np.empty(0), np.array([0.0, 0, 0, 1])], ids=["none", "mostly-zero"])
def test_no_common_variance(variance):
    with pytest.raises(StrategyError, match="gene"):
        moderate(variance, 5)


@given(st.floats(1e-3, 1e8))
def test_derivatives_of_log_gamma_are_scipy_s(x):
    assert digamma(x) == pytest.approx(float(special.digamma(x)), rel=1e-13, abs=1e-14)
    assert trigamma(x) == pytest.approx(float(special.polygamma(1, x)), rel=1e-13)


@given(st.floats(1e-5, 1e5))
def test_trigamma_inverse(y):
    assert trigamma_inverse(trigamma(y)) == pytest.approx(y, rel=1e-11)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_scipy_s(p_values):
    p = np.array(p_values)
    assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-14)
