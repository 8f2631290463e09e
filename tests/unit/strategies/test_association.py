"""Linear tests from sums against statsmodels on the samples themselves, and odd variants."""

import numpy as np
import pytest
import statsmodels.api as sm
from flame_strategies.association import LinearTests, NullSums, VariantSums, linear_tests
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

NAMES = ("beta", "se", "t", "log10_p")


def sums_of(z, y, g):
    """The sums over all samples, and by variant what samples without a call (NaN) take away."""
    upper = np.triu_indices(z.shape[1])
    there = np.isfinite(g)
    copies = np.where(there, g, 0.0)
    lost = ~there.T
    variants = VariantSums.of(
        {
            "g": copies.sum(axis=0).astype(np.int64),
            "gg": (copies**2).sum(axis=0).astype(np.int64),
            "zg": copies.T @ z[:, 1:],
            "gy": copies.T @ y,
            "mzz": lost @ (z[:, upper[0]] * z[:, upper[1]]),
            "mzy": lost @ (z * y[:, None]),
            "myy": lost @ y**2,
        }
    )
    return NullSums(z.T @ z, z.T @ y, float(y @ y)), variants


def expected(z, y, g):
    found = []
    for column in g.T:
        there = np.isfinite(column)
        fit = sm.OLS(y[there], np.column_stack([z[there], column[there]])).fit()
        found.append((fit.params[-1], fit.bse[-1], fit.tvalues[-1], np.log10(fit.pvalues[-1])))
    return np.array(found).T


def made_up(n, m, q, seed, missing=0.05):
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.ones(n), rng.normal(size=(n, q - 1))])
    g = rng.binomial(2, rng.uniform(0.1, 0.9, m), (n, m)).astype(np.float64)
    y = z @ rng.normal(size=q) + 0.3 * g[:, 0] + rng.normal(size=n)
    g[rng.random(g.shape) < missing * (np.arange(m) % 2)] = np.nan  # every other variant has all calls
    return z, y, g


@given(st.integers(1, 7), st.integers(0, 1000))
def test_is_statsmodels_on_the_samples(q, seed):
    z, y, g = made_up(60, 6, q, seed)
    found = linear_tests(*sums_of(z, y, g))
    assert found.fits.all()
    assert_array_equal(found.n, np.isfinite(g).sum(axis=0))
    for name, of in zip(NAMES, expected(z, y, g), strict=True):
        assert_allclose(getattr(found, name), of, rtol=1e-10, atol=1e-10, err_msg=name)


def test_a_perfect_variant_has_a_p_below_the_smallest_number():
    z, _, g = made_up(4000, 1, 3, 0)
    rng = np.random.default_rng(1)
    found = linear_tests(*sums_of(z, 5 * g[:, 0] + rng.normal(size=4000), g))
    assert found.log10_p[0] < -1000
    assert 10.0 ** found.log10_p[0] == 0


def none_of(tests: LinearTests, place: int) -> bool:
    return not tests.fits[place] and all(np.isnan(getattr(tests, name)[place]) for name in NAMES)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_constant_variant_has_no_result(value):
    z, y, g = made_up(60, 4, 3, 2)
    g[:, 2] = value
    found = linear_tests(*sums_of(z, y, g))
    assert none_of(found, 2)
    assert_array_equal(found.fits, [True, True, False, True])


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_variant_that_is_a_covariate_has_no_result(missing):
    z, y, g = made_up(80, 4, 3, 3, missing)
    z = np.column_stack([z, np.nan_to_num(g[:, 1])])
    found = linear_tests(*sums_of(z, y, g))
    assert none_of(found, 1)
    assert found.fits.sum() == 3


def test_a_covariate_that_is_constant_among_a_variant_s_samples_leaves_no_result():
    """Only samples with a call are in a variant's test: here all of them have the same value of the second column."""
    z, y, g = made_up(60, 4, 2, 4, 0.0)
    z[:, 1] = np.arange(60) < 20
    g[:20, 1] = np.nan
    found = linear_tests(*sums_of(z, y, g))
    assert none_of(found, 1)
    assert found.fits.sum() == 3


def test_without_degrees_of_freedom_there_is_no_result():
    z, y, g = made_up(30, 3, 4, 5, 0.0)
    g[5:, 1] = np.nan  # 5 samples, 5 coefficients
    found = linear_tests(*sums_of(z, y, g))
    assert none_of(found, 1)
    assert found.fits[[0, 2]].all()


@given(st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_centres_and_units_of_covariates_do_not_matter(shift, unit):
    z, y, g = made_up(60, 5, 3, 6)
    other = z.copy()
    other[:, 1:] = (z[:, 1:] - shift) / unit
    once, again = linear_tests(*sums_of(z, y, g)), linear_tests(*sums_of(other, y, g))
    assert_allclose(again.t, once.t, rtol=1e-6)
