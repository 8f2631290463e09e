"""Principal components over sites against scikit-learn on the pooled rows."""

import numpy as np
import pytest
from federated_statistics.site_statistics import ANSWERS
from flame_strategies.errors import StrategyError
from flame_strategies.pca import fit_pca
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA

from tests.support.tables import TableSites, split_table

NAMES = ("a", "b", "c", "d")


def rows(n=300, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4)) * [5, 2, 1, 0.3] + offset
    return X, rng.integers(0, 5, n)


def sites(X, homes, names=NAMES):
    return TableSites(split_table(dict(zip(names, X.T, strict=True)), homes), ANSWERS)


def aligned(found, pooled):
    """The pooled components with the signs of the found ones."""
    return pooled * np.sign((found * pooled).sum(axis=1))[:, None]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_components_and_variances_equal_scikit_learn_in_two_exchanges(scaled, offset):
    X, homes = rows(offset=offset)
    exchange = sites(X, homes)

    found = fit_pca(exchange, NAMES, scaled=scaled)

    Z = (X - X.mean(axis=0)) / (X.std(axis=0, ddof=1) if scaled else 1.0)
    pooled = PCA(svd_solver="full").fit(Z)
    assert exchange.asked == ["query.moments", "query.cross"]
    assert found.rows == len(X)
    assert_allclose(found.centre, X.mean(axis=0), rtol=1e-10, atol=1e-10)
    assert_allclose(found.scale, X.std(axis=0, ddof=1) if scaled else np.ones(4), rtol=1e-10)
    assert_allclose(found.explained_variance, pooled.explained_variance_, rtol=1e-10)
    assert_allclose(found.explained_variance_ratio, pooled.explained_variance_ratio_, rtol=1e-10)
    assert_allclose(found.components, aligned(found.components, pooled.components_), atol=1e-9)
    assert_allclose(np.abs(found.scores(X)), np.abs(pooled.transform(Z)), rtol=1e-6, atol=1e-6)


def test_real_data_with_thirty_correlated_columns():
    X = load_breast_cancer().data
    names = tuple(f"x{j}" for j in range(X.shape[1]))

    found = fit_pca(sites(X, np.arange(len(X)) % 5, names), names, scaled=True)

    pooled = PCA(svd_solver="full").fit((X - X.mean(axis=0)) / X.std(axis=0, ddof=1))
    assert_allclose(found.explained_variance, pooled.explained_variance_, rtol=1e-10)
    assert_allclose(found.components, aligned(found.components, pooled.components_), atol=1e-10)


def test_fewer_components_are_the_first_ones_and_shares_stay_those_of_all():
    X, homes = rows()

    whole, part = fit_pca(sites(X, homes), NAMES), fit_pca(sites(X, homes), NAMES, components=2)

    assert part.components.tolist() == whole.components[:2].tolist()
    assert part.explained_variance_ratio.tolist() == whole.explained_variance_ratio[:2].tolist()
    assert part.explained_variance_ratio.sum() < 1
    assert whole.explained_variance_ratio.sum() == pytest.approx(1)
    assert_allclose(whole.components @ whole.components.T, np.eye(4), atol=1e-12)


def test_the_largest_loading_of_each_component_is_positive():
    X, homes = rows(seed=3)

    found = fit_pca(sites(X, homes), NAMES)

    assert (found.components[np.arange(4), np.abs(found.components).argmax(axis=1)] > 0).all()


def test_only_complete_rows_count():
    X, homes = rows()
    X[::7, 1] = np.nan

    found = fit_pca(sites(X, homes), NAMES)

    complete = X[~np.isnan(X).any(axis=1)]
    pooled = PCA(svd_solver="full").fit(complete)
    assert found.rows == len(complete)
    assert_allclose(found.explained_variance, pooled.explained_variance_, rtol=1e-10)


def test_the_split_over_sites_does_not_matter():
    X, homes = rows()

    one, many = fit_pca(sites(X, np.zeros(len(X), int)), NAMES), fit_pca(sites(X, homes), NAMES)

    assert_allclose(one.components, many.components, atol=1e-12)


def test_what_cannot_be_a_component_is_refused():
    X, homes = rows()
    X[:, 3] = 4.0

    with pytest.raises(StrategyError, match="d do not vary"):
        fit_pca(sites(X, homes), NAMES, scaled=True)
    with pytest.raises(StrategyError, match="No column varies"):
        fit_pca(sites(np.ones((20, 4)), np.arange(20) % 2), NAMES)
    with pytest.raises(StrategyError, match="1 rows have all columns"):
        fit_pca(sites(np.vstack([X[:1], X[1:] * np.nan]), homes), NAMES)
    with pytest.raises(ValueError, match="5 components"):
        fit_pca(sites(X, homes), NAMES, components=5)
