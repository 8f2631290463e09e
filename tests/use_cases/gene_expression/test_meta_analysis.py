"""Combining the sites' own tests, against SciPy's and formulas written out."""

import math

import numpy as np
import pytest
from gene_expression.meta_analysis import METHODS, SiteResult, fisher, random_effects, stouffer
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats


def results(p_values, signs, sizes, errors=None):
    """One gene at each site."""
    effects = np.array(signs, dtype=float)
    errors = np.ones(len(effects)) if errors is None else np.array(errors)
    return [
        SiteResult(np.array([effect]), np.array([error]), np.array([math.log10(p)]), n)
        for effect, error, p, n in zip(effects, errors, p_values, sizes, strict=True)
    ]


P_VALUES = st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=5)


@given(P_VALUES)
def test_fisher_is_scipy_s(p_values):
    found = fisher(results(p_values, [1] * len(p_values), [10] * len(p_values)))
    assert_allclose(10.0**found, stats.combine_pvalues(p_values, "fisher").pvalue, rtol=1e-9)


@given(P_VALUES, st.data())
def test_stouffer_is_that_of_one_sided_tests(p_values, data):
    k = len(p_values)
    signs = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=k, max_size=k))
    sizes = data.draw(st.lists(st.integers(2, 500), min_size=k, max_size=k))
    z = np.array(signs) * stats.norm.isf(np.array(p_values) / 2)
    expected = 2 * stats.norm.sf(abs(np.sqrt(sizes) @ z) / math.sqrt(sum(sizes)))
    assert_allclose(10.0 ** stouffer(results(p_values, signs, sizes)), expected, rtol=1e-8)


def test_random_effects_written_out():
    """Effects 1, 2 and 6 with variances 1, 1 and 4."""
    found = random_effects(results([0.5] * 3, [1.0, 2.0, 6.0], [9] * 3, [1.0, 1.0, 2.0]))
    w = np.array([1.0, 1.0, 0.25])
    mean = (1 + 2 + 1.5) / 2.25
    q = (1 - mean) ** 2 + (2 - mean) ** 2 + 0.25 * (6 - mean) ** 2
    between = (q - 2) / (2.25 - 2.0625 / 2.25)
    w = 1 / (1 / w + between)
    z = (w @ [1, 2, 6]) / math.sqrt(w.sum())
    assert between > 0
    assert_allclose(found, math.log10(2 * stats.norm.sf(z)), rtol=1e-12)


def test_random_effects_of_alike_effects_are_fixed_ones():
    found = random_effects(results([0.5] * 3, [1.0, 1.1, 0.9], [9] * 3))
    assert_allclose(found, math.log10(2 * stats.norm.sf(3 / math.sqrt(3))), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_tiny_p_values_are_told(method):
    """Far below the smallest number; three alike sites say more than one."""
    one = SiteResult(np.array([90.0]), np.array([1.0]), np.array([-1761.0]), 50)
    alone, together = METHODS[method]([one])[0], METHODS[method]([one] * 3)[0]
    assert alone == pytest.approx(-1761, rel=2e-3)
    assert together < 2.9 * alone
    assert math.isfinite(together)


def test_a_site_that_says_nothing_counts_for_nothing():
    """An infinite standard error: the random effects are those of the others, and without others there is no effect."""
    some = results([0.5] * 3, [1.0, 2.0, 6.0], [9] * 3, [1.0, 1.0, 2.0])
    nothing = results([1.0], [0.0], [9], [np.inf])
    assert_allclose(random_effects([*some, *nothing]), random_effects(some), rtol=1e-14)
    assert_allclose(random_effects(nothing * 2), 0.0, atol=0)
