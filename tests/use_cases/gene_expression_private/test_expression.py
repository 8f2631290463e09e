"""Fold changes: without noise the t test, with noise standard errors that are true."""

import numpy as np
import pytest
from gene_expression_private import terms
from gene_expression_private.compare import pooled_changes
from gene_expression_private.expression import benjamini_hochberg, fold_changes, smallest_found
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tests.use_cases.gene_expression_private.conftest import GENES, SITES

ALPHA = 1e-6  # of the test of errors: a right calculation fails less than once in a million runs
BETA = 1e-4  # of each acceptance: the chance that a mechanism whose mean is at the bound passes
SCALES = np.array([gene.scale for gene in GENES])
NAMES = [gene.name for gene in GENES]


def test_without_noise_it_is_the_t_test_with_pooled_variance(patients) -> None:
    table = patients(300, 5)
    found = pooled_changes(table, GENES)
    cases, controls = (table[table["case"] == k][NAMES] for k in (1, 0))
    expected = stats.ttest_ind(cases, controls, equal_var=True)
    assert found.log2_fold_change == pytest.approx((cases.mean() - controls.mean()).to_numpy(), abs=1e-11)
    assert found.t == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-8)
    assert found.adjusted == pytest.approx(stats.false_discovery_control(expected.pvalue), rel=1e-8)
    assert not found.noise_error.any()


@given(arrays(np.float64, 7, elements=st.floats(0, 1)))
def test_adjusted_p_values_are_scipys(p: np.ndarray) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_vetted_sums_without_noise_and_clipping_give_the_pooled_rows_result(patients, groups) -> None:
    """Up to truncation: at most clip_norm / 2^20 of each patient."""
    table = patients(300, 6)
    found, pooled = fold_changes(groups(table, 50.0, 0.0), SCALES, 0.0), pooled_changes(table, GENES)
    assert found.log2_fold_change == pytest.approx(pooled.log2_fold_change, abs=1e-3)
    assert found.patients == pytest.approx(pooled.patients, abs=0.02)


def test_the_clip_norm_of_the_terms_moves_fold_changes_little(patients, groups) -> None:
    """Shortened vectors pull patients far from the centre in: by less than the standard error at 4,800 patients."""
    table = patients(4800, 7)
    clipped = fold_changes(groups(table, terms.CLIP_NORM[terms.EXPRESSION], 0.0), SCALES, 0.0)
    pooled = pooled_changes(table, GENES)
    assert np.abs(clipped.log2_fold_change - pooled.log2_fold_change).max() < pooled.standard_error.min()
    assert clipped.patients.sum() > 0.97 * len(table)


def test_the_standard_errors_count_the_noise() -> None:
    """40 made-up studies at epsilon 1 without any true change: t spreads as Student's t does.

    Two-sided chi-square test of the squares of 1,200 t, each from its own gene; its acceptance region is 1 ± 0.2, and
    errors without the noise's part would give 3.
    """
    rng, p = np.random.default_rng(), len(GENES)
    std = terms.noise_std(terms.EXPRESSION, 1.0) * SITES**0.5
    t = []
    for _ in range(40):
        x = [rng.normal(0.2, 0.5, (n, p)) for n in (2900, 1900)]
        sums = {
            "n": np.array([len(one) for one in x]) + rng.normal(0, std, 2),
            "x": np.array([one.sum(axis=0) for one in x]) + rng.normal(0, std, (2, p)),
            "xx": np.array([(one * one).sum(axis=0) for one in x]) + rng.normal(0, std, (2, p)),
        }
        found = fold_changes(sums, SCALES, std)
        assert found.usable
        t.extend(found.t)
    squares, tails = float(np.sum(np.square(t))), stats.chi2(len(t))
    assert min(tails.cdf(squares), tails.sf(squares)) > ALPHA / 2
    assert np.mean(found.noise_error**2 / found.standard_error**2) > 0.5


def test_a_group_that_noise_hides_gives_nothing(patients, groups) -> None:
    """60 patients at epsilon 0.5: the noise on a group's count is four times the group, and no gene gets a number.

    By chance both counts pass the threshold of four standard deviations less than once in 10 million.
    """
    table, multiplier = patients(60, 8), terms.NOISE_MULTIPLIERS[terms.EXPRESSION][0.5]
    std = terms.noise_std(terms.EXPRESSION, 0.5) * SITES**0.5
    found = fold_changes(groups(table, terms.CLIP_NORM[terms.EXPRESSION], multiplier), SCALES, std)
    assert not found.usable
    assert np.isnan(found.log2_fold_change).all()
    assert np.isnan(found.p).all()


def test_a_variance_that_noise_made_negative_is_none() -> None:
    """The gene's standard error stays above 0; where the median gene has none, nothing is said."""
    n, p = np.array([1000.0, 1000.0]), 4
    xx = np.full((2, p), 250.0)
    xx[:, 0] = -300.0
    found = fold_changes({"n": n, "x": np.zeros((2, p)), "xx": xx}, np.ones(p), 50.0)
    assert (found.standard_error > 0).all()
    assert not fold_changes({"n": n, "x": np.zeros((2, p)), "xx": -xx}, np.ones(p), 50.0).usable


def test_sums_of_other_genes_are_refused() -> None:
    with pytest.raises(ValueError, match="another analysis"):
        fold_changes({"n": np.ones(2), "x": np.ones((2, 3)), "xx": np.ones((2, 3))}, np.ones(4), 0.0)


def test_smallest_found_is_the_textbooks() -> None:
    expected = stats.norm.ppf(1 - 0.025 / 30) + stats.norm.ppf(0.8)
    assert smallest_found(0.1, 30) == pytest.approx(0.1 * expected, rel=1e-4)


@pytest.mark.parametrize(("epsilon", "bound"), [(1.0, 0.15), (8.0, 0.03)])
def test_acceptance(patients, groups, epsilon: float, bound: float) -> None:
    """4,800 synthetic patients at five DIZ: fold changes differ from those of the pooled rows by so much, in log2.

    Passes only if a one-sided t test of 10 fresh draws rejects, at `BETA`, that the root mean square is at the bound.
    Usual are 0.07 and 0.012, give or take 0.01 and 0.002: a right mechanism fails less than once in a million.
    """
    table = patients(4800, 9)
    pooled, multiplier = pooled_changes(table, GENES), terms.NOISE_MULTIPLIERS[terms.EXPRESSION][epsilon]
    clip_norm, std = terms.CLIP_NORM[terms.EXPRESSION], terms.noise_std(terms.EXPRESSION, epsilon) * SITES**0.5
    off = []
    for _ in range(10):
        found = fold_changes(groups(table, clip_norm, multiplier), SCALES, std)
        off.append(np.sqrt(np.mean((found.log2_fold_change - pooled.log2_fold_change) ** 2)))
    assert stats.ttest_1samp(off, bound, alternative="less").pvalue < BETA
