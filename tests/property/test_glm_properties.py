"""Where the rows lie, in which units and in which order, does not change a federated regression."""

import numpy as np
import pytest
from federated_statistics import site_cox, site_glm
from flame_strategies.cox import fit_cox
from flame_strategies.glm import fit_glm
from flame_strategies.glm_design import Categorical, Design, DesignError, Separated
from flame_strategies.glm_elastic_net import fit_glm_path
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.support.tables import TableSites, split_table

N = 60
RNG = np.random.default_rng(11)
GROUP = RNG.integers(0, 3, N)
LEVELS = {"group": ("a", "b", "c")}
DATA = {"u": RNG.normal(size=N), "v": RNG.normal(3, 2, size=N)}
LINEAR = 0.5 * DATA["u"] - 0.3 * DATA["v"] + np.array([0, 0.6, -0.4])[GROUP]
DATA |= {
    "gaussian": LINEAR + RNG.normal(size=N),
    "logistic": (RNG.random(N) < 1 / (1 + np.exp(-LINEAR))).astype(float),
    "poisson": RNG.poisson(np.exp(LINEAR)).astype(float),
    "time": np.ceil(RNG.exponential(6 * np.exp(-LINEAR))).clip(max=20),
    "event": (RNG.random(N) < 0.7).astype(float),
}
PATIENTS = [f"P{i}" for i in range(N)]
COLUMNS = ("u", "v")
FACTOR = Categorical("group", ("a", "b", "c"))
ANSWERS = {**site_glm.ANSWERS, **site_cox.ANSWERS}
FAMILIES = ("gaussian", "logistic", "poisson")

homes = st.lists(st.integers(0, 4), min_size=N, max_size=N)


def exchange(home, order=None, **columns):
    order = np.arange(N) if order is None else np.asarray(order)
    data = {name: values[order] for name, values in {**DATA, **columns}.items()}
    patients = [PATIENTS[row] for row in order]
    return TableSites(split_table(data, np.asarray(home), {"group": GROUP[order]}, LEVELS, patients), ANSWERS)


def design(outcome):
    return Design(outcome, COLUMNS, (FACTOR,))


WHOLE = {family: fit_glm(exchange([0] * N), design(family), family) for family in FAMILIES}
WHOLE_COX = fit_cox(exchange([0] * N), design("time"), "event", grid=np.arange(1, 21))
TERMS = {"num_lambdas": 5, "lambda_min_ratio": 0.05, "folds": 3}
WHOLE_PATH = {family: fit_glm_path(exchange([0] * N), design(family), family, **TERMS) for family in FAMILIES[1:]}


@pytest.mark.parametrize("family", FAMILIES)
@given(homes, st.permutations(range(N)))
@settings(max_examples=20)
def test_any_split_gives_the_pooled_regression(family, home, order):
    """Rows in any order on up to five sites, empty ones included."""
    fit, whole = fit_glm(exchange(home, order), design(family), family), WHOLE[family]
    assert_allclose(fit.coefficients.estimate, whole.coefficients.estimate, rtol=1e-9, atol=1e-11)
    assert_allclose(fit.coefficients.covariance, whole.coefficients.covariance, rtol=1e-9, atol=1e-11)
    assert_allclose([fit.loglik, fit.deviance, fit.pearson], [whole.loglik, whole.deviance, whole.pearson], rtol=1e-10)
    assert fit.exchanges == whole.exchanges


@given(homes, st.permutations(range(N)))
@settings(max_examples=20)
def test_any_split_gives_the_pooled_cox_regression(home, order):
    """Risk sets reach across sites."""
    fit = fit_cox(exchange(home, order), design("time"), "event", grid=np.arange(1, 21))
    assert_allclose(fit.coefficients.estimate, WHOLE_COX.coefficients.estimate, rtol=1e-9, atol=1e-11)
    assert_allclose(fit.coefficients.covariance, WHOLE_COX.coefficients.covariance, rtol=1e-9, atol=1e-11)
    assert fit.loglik == pytest.approx(WHOLE_COX.loglik, rel=1e-11)
    assert_allclose(fit.baseline, WHOLE_COX.baseline, rtol=1e-8)


@pytest.mark.parametrize("family", FAMILIES[1:])
@given(homes, st.permutations(range(N)))
@settings(max_examples=8)
def test_any_split_gives_the_pooled_path(family, home, order):
    """Same support, coefficients, cross-validation and choice."""
    path, whole = fit_glm_path(exchange(home, order), design(family), family, **TERMS), WHOLE_PATH[family]
    assert_array_equal(path.support, whole.support)
    assert_allclose(path.standardised, whole.standardised, atol=1e-8)
    assert_allclose(path.cv_deviance, whole.cv_deviance, rtol=1e-8)
    assert (path.best, path.best_one_se) == (whole.best, whole.best_one_se)


scales = st.floats(1e-6, 1e6)
shifts = st.floats(-1e3, 1e3)


@pytest.mark.parametrize("family", FAMILIES)
@given(scales, shifts)
@settings(max_examples=20)
def test_units_of_a_column_only_change_its_coefficient(family, scale, shift):
    """Slope by the scale, intercept by the shift; everything else stays, as do the exchanges."""
    column = (DATA["u"] + shift) * scale
    fit, whole = fit_glm(exchange(np.arange(N) % 3, u=column), design(family), family), WHOLE[family]
    slope = fit.coefficients.estimate[1] * scale
    assert slope == pytest.approx(whole.coefficients.estimate[1], rel=1e-7)
    assert fit.coefficients.estimate[0] + slope * shift == pytest.approx(whole.coefficients.estimate[0], rel=1e-6)
    assert_allclose(fit.coefficients.estimate[2:], whole.coefficients.estimate[2:], rtol=1e-8)
    assert_allclose(fit.coefficients.statistic[1:], whole.coefficients.statistic[1:], rtol=1e-7)
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-9)
    assert fit.exchanges == whole.exchanges


@given(st.integers(0, 2**32 - 1), st.integers(12, 50), st.sampled_from([0.5, 2.0, 8.0, 30.0]))
@settings(max_examples=40)
def test_a_logistic_fit_is_at_a_maximum_or_says_that_there_is_none(seed, n, strength):
    """On random data, many of them separable: a fit has no gradient left; separation is never called a fit."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    y = (rng.random(n) < 1 / (1 + np.exp(-strength * x @ rng.normal(size=2)))).astype(float)
    tables = split_table({"y": y, "u": x[:, 0], "v": x[:, 1]}, rng.integers(0, 3, n))
    if len(set(y)) == 1:
        with pytest.raises(DesignError, match="y is the same"):
            fit_glm(TableSites(tables, ANSWERS), Design("y", COLUMNS), "logistic")
        return
    try:
        fit = fit_glm(TableSites(tables, ANSWERS), Design("y", COLUMNS), "logistic")
    except Separated:
        # the hyperplane that a nearly unpenalised fit finds tells the outcomes apart
        path = fit_glm_path(TableSites(tables, ANSWERS), Design("y", COLUMNS), "logistic", l1_ratio=0, lambdas=[1e-7])
        linear = path.coefficients[0] @ np.column_stack([np.ones(n), x]).T
        assert ((2 * y - 1) * linear > 0).all()
    else:
        X = np.column_stack([np.ones(n), x])
        mu = 1 / (1 + np.exp(-X @ fit.coefficients.estimate))
        assert_allclose(X.T @ (y - mu), 0, atol=1e-7)
        assert fit.loglik < -1e-3


@pytest.mark.parametrize("family", FAMILIES[:2])
@given(homes, st.integers(0, N - 1), st.floats(-1e4, 1e4))
@settings(max_examples=20)
def test_no_sites_sums_exceed_the_number_of_rows(family, home, outlier, value):
    """The bound that fixed-point encoding needs, whatever the data: N, and N/4 for a logistic Hessian."""
    column = DATA["u"].copy()
    column[outlier] = value
    sites = exchange(home, u=column)
    largest = {"gradient": 0.0, "hessian": 0.0}

    def watching(message, content):
        sums = sites(message, content)
        for reply in sites.replies.values():
            for name in largest.keys() & reply.keys():
                largest[name] = max(largest[name], np.abs(reply[name]).max())
        return sums

    fit_glm(watching, design(family), family)
    assert largest["gradient"] <= N * (1 + 1e-9)
    assert 0 < largest["hessian"] <= N * (1 + 1e-9) / (4 if family == "logistic" else 1)
