"""Effects: without noise the regression on one variant, with noise standard errors that are true."""

import numpy as np
import pytest
import statsmodels.api as sm
from gwas_private import terms
from gwas_private.association import associations, benjamini_hochberg
from gwas_private.compare import pooled
from gwas_private.server_app import of_study
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tests.use_cases.gwas_private.conftest import NAMES, SITES, STUDY

ALPHA = 1e-6  # of the test of errors: a right calculation fails less than once in a million runs
BETA = 1e-4  # of each acceptance: the chance that a mechanism whose mean is at the bound passes
STANDARD = np.array([v.scale / STUDY.trait.scale for v in STUDY.variants])


def test_without_noise_it_is_the_regression_on_one_variant(patients) -> None:
    table = patients(400, 5).fillna({v.name: v.centre for v in STUDY.variants})
    found = pooled(table, STUDY)
    for j, name in enumerate(NAMES):
        fit = sm.OLS(table["trait"].to_numpy(), sm.add_constant(table[name].to_numpy())).fit()
        assert found.beta[j] == pytest.approx(fit.params[1], rel=1e-9)
        assert found.standard_error[j] == pytest.approx(fit.bse[1], rel=1e-9)
        assert found.p[j] == pytest.approx(fit.pvalues[1], rel=1e-7)
        assert found.frequency[j] == pytest.approx(table[name].mean() / 2, rel=1e-9)
    assert not found.noise_error.any()
    assert found.adjusted == pytest.approx(stats.false_discovery_control(found.p))


@given(arrays(np.float64, 7, elements=st.floats(0, 1)))
def test_adjusted_p_values_are_scipys(p: np.ndarray) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_vetted_sums_without_noise_and_clipping_give_the_pooled_rows_result(patients, release) -> None:
    """Up to truncation: at most clip_norm / 2^20 of each patient."""
    table = patients(300, 6)
    found, rows = of_study(STUDY, release(table, 50.0, 0.0), 0.0), pooled(table, STUDY)
    assert found.beta == pytest.approx(rows.beta, abs=0.02)
    assert found.patients == pytest.approx(300, abs=0.02)


def test_the_clip_norm_of_the_terms_moves_effects_little(patients, release) -> None:
    """Shortened vectors pull patients far from the centre in: by less than the standard error at 4,800 patients."""
    table = patients(4800, 7)
    clipped, rows = of_study(STUDY, release(table, terms.CLIP_NORM, 0.0), 0.0), pooled(table, STUDY)
    assert (np.abs(clipped.beta - rows.beta) < rows.standard_error).all()
    assert clipped.patients > 0.97 * len(table)


@pytest.mark.parametrize("counted", [True, False])
def test_the_standard_errors_count_the_noise(counted: bool) -> None:
    """40 made-up studies at epsilon 1 without any effect: t spreads as Student's t does.

    Two-sided chi-square test of the squares of 1,200 t; its acceptance region is 1 ± 0.2. The control leaves the
    noise's part out of the errors, and is rejected: there the squares' mean is above 3.
    """
    rng, p = np.random.default_rng(), len(NAMES)
    std = terms.noise_std(1.0) * SITES**0.5
    t = []
    for _ in range(40):
        n = 6000
        x, y = rng.normal(0.1, 0.5, (n, p)), rng.normal(-0.1, 0.5, n)
        exact = {
            "n": np.array([float(n)]), "x": x.sum(axis=0), "xx": (x * x).sum(axis=0),
            "y": np.array([y.sum()]), "yy": np.array([y @ y]), "xy": x.T @ y,
        }  # fmt: skip
        sums = {name: value + rng.normal(0, std, value.shape) for name, value in exact.items()}
        found = associations(sums, np.ones(p), np.ones(p), 1.0, std)
        assert found.usable.all()
        only_patients = np.sqrt(found.standard_error**2 - found.noise_error**2)
        t.extend(found.beta / (found.standard_error if counted else only_patients))
    squares, tails = float(np.sum(np.square(t))), stats.chi2(len(t))
    assert bool(min(tails.cdf(squares), tails.sf(squares)) > ALPHA / 2) is counted


def test_a_cohort_that_noise_hides_gives_nothing(patients, release) -> None:
    """60 patients at epsilon 0.5: the noise on the count is twice the count, and no variant gets a number.

    By chance the count passes four standard deviations of its noise less than once in ten thousand, and then every
    variant would have to.
    """
    table, std = patients(60, 8), terms.noise_std(0.5) * SITES**0.5
    found = of_study(STUDY, release(table, terms.CLIP_NORM, terms.NOISE_MULTIPLIERS[0.5]), std)
    assert not found.usable.all()
    assert np.isnan(found.beta[~found.usable]).all()


def test_a_variant_that_does_not_vary_has_no_effect() -> None:
    sums = {"n": np.array([100.0]), "x": np.array([100.0, 0.0]), "xx": np.array([100.0, 25.0])}
    sums |= {"y": np.array([0.0]), "yy": np.array([25.0]), "xy": np.array([0.0, 5.0])}
    found = associations(sums, np.ones(2), np.ones(2), 1.0, 0.0)
    assert list(found.usable) == [False, True]
    assert np.isnan(found.beta[0])
    assert np.isnan(found.adjusted[0])
    assert found.adjusted[1] == found.p[1]


def test_sums_of_other_variants_are_refused(patients, release) -> None:
    sums = release(patients(50, 1), 6.0, 0.0)
    with pytest.raises(ValueError, match="another analysis"):
        of_study(STUDY, {**sums, "xy": sums["xy"][:3]}, 0.0)


@pytest.mark.parametrize(("epsilon", "bound"), [(1.0, 0.06), (8.0, 0.010)])
def test_acceptance(patients, release, epsilon: float, bound: float) -> None:
    """6,000 synthetic patients at five DIZ: effects differ from those of the pooled rows by so much, in SD per SD.

    Passes only if a one-sided t test of 10 fresh draws rejects, at `BETA`, that the root mean square is at the bound.
    """
    table = patients(6000, 9)
    rows, multiplier = pooled(table, STUDY), terms.NOISE_MULTIPLIERS[epsilon]
    std, off = terms.noise_std(epsilon) * SITES**0.5, []
    for _ in range(10):
        found = of_study(STUDY, release(table, terms.CLIP_NORM, multiplier), std)
        off.append(np.sqrt(np.mean(((found.beta - rows.beta) * STANDARD) ** 2)))
    assert stats.ttest_1samp(off, bound, alternative="less").pvalue < BETA
