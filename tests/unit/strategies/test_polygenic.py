"""Polygenic scores from summed products against scikit-learn and numpy on the pooled rows."""

import math

import numpy as np
import pytest
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.polygenic import FoldProducts, fit_ridge, fit_sparse, null_mse
from flame_strategies.polygenic_evaluation import area, evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score

FOLDS = 4


def study(n=240, m=12, seed=0, constant=False):
    """Covariates with the ones first (n, q), calls (n, m), outcome (n,), folds (n,)."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.1, 0.5, m)
    X = rng.binomial(2, frequency, size=(n, m)).astype(np.float64)
    X[:, 1] = np.where(rng.random(n) < 0.8, X[:, 0], X[:, 1])  # two variants that go together
    if constant:
        X[:, 3] = 1.0
    Z = np.column_stack([np.ones(n), rng.normal(size=n), rng.random(n) < 0.5])
    y = Z @ [0.3, 0.5, -0.4] + X[:, [0, 4, 7]] @ [0.5, -0.4, 0.3] + rng.normal(size=n)
    return Z, X, y, rng.integers(0, FOLDS, n)


def products(Z, X, y, folds):
    """Sums by fold, as the sites' answers add up."""
    by = [(Z[folds == k], X[folds == k], y[folds == k]) for k in range(FOLDS)]
    return FoldProducts(
        zz=np.stack([z.T @ z for z, x, y in by]),
        xz=np.stack([x.T @ z for z, x, y in by]),
        zy=np.stack([z.T @ y for z, x, y in by]),
        xx=np.stack([x.T @ x for z, x, y in by]),
        xy=np.stack([x.T @ y for z, x, y in by]),
        yy=np.stack([y @ y for z, x, y in by]),
    )


def ridge(Z, X, y, penalty, scale):
    """Scikit-learn's, with the covariates projected out."""
    left, out = (a - Z @ np.linalg.lstsq(Z, a, rcond=None)[0] for a in (X / scale, y))
    b = Ridge(alpha=penalty * len(y), fit_intercept=False, solver="svd").fit(left, out).coef_ / scale
    return b, np.linalg.lstsq(Z, y - X @ b, rcond=None)[0]


def test_ridge_and_its_cross_validation_are_scikit_learn_s():
    Z, X, y, folds = study()
    path = [3.0, 0.3, 0.03]

    fit = fit_ridge(products(Z, X, y, folds), path)

    scale = X.std(axis=0)
    squares = np.zeros((3, len(y)))
    for place, penalty in enumerate(path):
        for k in range(FOLDS):
            train, test = folds != k, folds == k
            b, g = ridge(Z[train], X[train], y[train], penalty, scale)
            squares[place, test] = (y[test] - Z[test] @ g - X[test] @ b) ** 2
    assert_allclose(fit.cv_mse, squares.mean(axis=1), rtol=1e-10)
    b, g = ridge(Z, X, y, path[fit.best], scale)
    assert_allclose(fit.weights, b, rtol=1e-9, atol=1e-12)
    assert_allclose(fit.covariates, g, rtol=1e-9)
    assert fit.cv_mse[fit.best] < fit.null_mse


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_the_lasso_and_the_elastic_net_are_scikit_learn_s(l1_ratio):
    Z, X, y, folds = study(seed=1)

    fit = fit_sparse(products(Z, X, y, folds), l1_ratio=l1_ratio)

    scale, spread = X.std(axis=0), y.std()
    left, out = (a - Z @ np.linalg.lstsq(Z, a, rcond=None)[0] for a in (X / scale, y / spread))
    penalty = fit.penalties[fit.best]
    theirs = ElasticNet(alpha=penalty, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-14, max_iter=100_000)
    b = theirs.fit(left, out).coef_ * spread / scale
    assert_allclose(fit.weights, b, atol=1e-7)
    assert_allclose(fit.covariates, np.linalg.lstsq(Z, y - X @ b, rcond=None)[0], atol=1e-6)
    assert fit.cv_mse[fit.best] < fit.null_mse
    assert 0 < np.count_nonzero(fit.weights) < X.shape[1] or l1_ratio < 1


def test_the_covariates_alone_are_least_squares():
    Z, X, y, folds = study(seed=2)
    squares = 0.0
    for k in range(FOLDS):
        model = LinearRegression().fit(Z[folds != k, 1:], y[folds != k])
        squares += ((y[folds == k] - model.predict(Z[folds == k, 1:])) ** 2).sum()

    assert null_mse(products(Z, X, y, folds)) == pytest.approx(squares / len(y), rel=1e-11)


def test_a_variant_without_variation_gets_no_weight():
    Z, X, y, folds = study(constant=True)
    X[:, 5] = Z[:, 2]  # a covariate again
    of = products(Z, X, y, folds)

    for fit in (fit_ridge(of), fit_sparse(of)):
        assert fit.weights[3] == 0
        assert fit.weights[5] == 0
        assert fit.weights[0] != 0
    with pytest.raises(StrategyError, match="varies"):
        fit_ridge(of.variants(np.isin(np.arange(X.shape[1]), [3, 5])))


def test_what_does_not_fit_together_is_refused():
    of = products(*study())

    with pytest.raises(UnusableReply, match="fit together"):
        FoldProducts(of.zz, of.xz, of.zy, of.xx[:, 1:], of.xy, of.yy)
    with pytest.raises(ValueError, match="less than the one before"):
        fit_ridge(of, [0.1, 0.2])
    with pytest.raises(StrategyError, match="collinear"):
        fit_ridge(FoldProducts(of.zz * 0, of.xz, of.zy, of.xx, of.xy, of.yy))
    with pytest.raises(UnusableReply, match="4 x 4"):
        evaluate(np.eye(3))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 2))
def test_the_evaluation_is_that_of_the_rows(seed, strength):
    rng = np.random.default_rng(seed)
    u, s = rng.normal(size=(2, 60))
    y = 1.5 + u + strength * s + rng.normal(size=60)
    rows = np.column_stack([np.ones(60), u, s, y])

    found = evaluate(rows.T @ rows)

    both, alone = (LinearRegression().fit(X, y).score(X, y) for X in (np.column_stack([u, s]), u[:, None]))
    line = np.polyfit(u + s, y, 1)
    assert found.n == 60
    assert found.r2 == pytest.approx(r2_score(y, u + s), abs=1e-10)
    assert found.r2_covariates == pytest.approx(r2_score(y, u), abs=1e-10)
    assert found.correlation == pytest.approx(np.corrcoef(s, y)[0, 1], abs=1e-10)
    assert found.added == pytest.approx(both - alone, abs=1e-9)
    assert [found.slope, found.intercept] == pytest.approx(line, rel=1e-8)


def test_a_score_that_is_the_same_for_all_predicts_nothing():
    rng = np.random.default_rng(3)
    rows = np.column_stack([np.ones(50), rng.normal(size=50), np.full(50, 0.3), rng.normal(size=50)])

    found = evaluate(rows.T @ rows)

    assert math.isnan(found.correlation)
    assert found.added == 0
    assert math.isnan(evaluate(np.zeros((4, 4))).r2)


@pytest.mark.parametrize("bins", [2, 20, 10_000])
def test_the_area_is_scikit_learn_s_within_its_bound(bins):
    rng = np.random.default_rng(bins)
    case = rng.random(400) < 0.3
    score = rng.normal(size=400) + case
    places = np.searchsorted(np.linspace(-3, 4, bins - 1), score)
    counts = np.stack([np.bincount(places[case == of], minlength=bins) for of in (False, True)])

    found, bound = area(counts)

    assert abs(found - roc_auc_score(case, score)) <= bound + 1e-12
    assert found == pytest.approx(roc_auc_score(case, places), abs=1e-12)
    assert math.isnan(area(counts * [[0], [1]])[0])
