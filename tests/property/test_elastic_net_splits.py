"""Where the rows lie does not change the federated elastic net."""

import numpy as np
from flame_strategies import fit_elastic_net, fit_fista
from flame_strategies.in_memory import InMemorySites, SiteRows
from flame_strategies.sums import add_up
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

N, P = 36, 10
RNG = np.random.default_rng(17)
X = RNG.normal(size=(N, P)) + RNG.normal(size=(N, 1))
Y = X[:, :3] @ np.array([1.0, -2.0, 0.5]) + 0.2 * RNG.normal(size=N)
X[RNG.random(X.shape) < 0.1] = np.nan
IDS = [f"patient-{i // 2}" for i in range(N)]
TERMS = {"num_lambdas": 6, "lambda_min_ratio": 0.05, "folds": 3}
WHOLE = fit_elastic_net(InMemorySites([SiteRows(X, Y, IDS)]), **TERMS)

splits = st.lists(st.integers(0, 4), min_size=N, max_size=N)
orders = st.permutations(range(N))


def site(rows):
    rows = list(rows)
    return SiteRows(X[rows], Y[rows], [IDS[row] for row in rows])


@given(splits, orders)
@settings(max_examples=60, deadline=None)
def test_any_split_of_the_rows_gives_the_pooled_path(homes, order):
    """Rows in any order on up to five sites, empty ones included: same support, coefficients, errors and choice."""
    sites = [site(row for row in order if homes[row] == home) for home in range(5)]
    path = fit_elastic_net(InMemorySites(sites), **TERMS)
    assert_allclose(path.lambdas, WHOLE.lambdas, rtol=1e-11)
    assert_array_equal(path.coefficients != 0, WHOLE.coefficients != 0)
    assert_allclose(path.coefficients, WHOLE.coefficients, rtol=0, atol=1e-10)
    assert_allclose(path.cv_mse, WHOLE.cv_mse, rtol=1e-9)
    assert (path.best, path.best_one_se) == (WHOLE.best, WHOLE.best_one_se)


@given(splits, st.permutations(range(5)))
@settings(max_examples=30, deadline=None)
def test_permuting_the_sites_changes_nothing(homes, order):
    """The same rows under other node ids."""
    sites = [site(np.flatnonzero(np.array(homes) == home)) for home in range(5)]
    paths = [fit_elastic_net(InMemorySites(given), **TERMS) for given in (sites, [sites[i] for i in order])]
    assert_array_equal(paths[0].coefficients != 0, paths[1].coefficients != 0)
    assert_allclose(paths[0].coefficients, paths[1].coefficients, rtol=0, atol=1e-11)


@given(splits)
@settings(max_examples=15, deadline=None)
def test_gradients_of_any_split_lead_to_the_pooled_solution(homes):
    """The same for the fit by gradients, at the middle of the path."""
    sites = [site(np.flatnonzero(np.array(homes) == home)) for home in range(5)]
    fit = fit_fista(InMemorySites(sites), float(WHOLE.lambdas[3]), tolerance=1e-10, max_rounds=5000)
    assert_allclose(fit.coefficients, WHOLE.coefficients[3], rtol=0, atol=1e-8)


@given(st.permutations(range(5)))
def test_sums_have_the_same_bits_in_whatever_order_replies_come(order):
    """Nodes are summed by id, so a permuted mapping gives identical floating-point sums."""
    values = {node: {"x": RNG.normal(size=7) * 10.0**node} for node in range(5)}
    permuted = {node: values[node] for node in order}
    assert_array_equal(add_up(values)["x"], add_up(permuted)["x"])
