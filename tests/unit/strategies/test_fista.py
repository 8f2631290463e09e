"""Sums of gradients lead to the same elastic net."""

import numpy as np
import pytest
from flame_strategies import UnusableReply, fit_elastic_net, fit_fista
from flame_strategies.in_memory import InMemorySites, SiteRows
from numpy.testing import assert_allclose

RNG = np.random.default_rng(12)
N, P = 80, 40
X = RNG.normal(size=(N, 2)) @ RNG.normal(size=(2, P)) + RNG.normal(size=(N, P))
Y = X[:, :4] @ RNG.normal(size=4) + 0.2 * RNG.normal(size=N)
X = X * np.exp(RNG.normal(size=P)) + 3
X[:, 9] = 2.0
X[RNG.random(X.shape) < 0.05] = np.nan


def sites():
    return InMemorySites([SiteRows(X[i::3], Y[i::3], [f"P{j}" for j in range(i, N, 3)]) for i in range(3)])


@pytest.fixture(scope="module")
def exact():
    return {r: fit_elastic_net(sites(), l1_ratio=r, num_lambdas=9, lambda_min_ratio=0.05) for r in (1.0, 0.5)}


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("index", [0, 3, 8])
def test_equals_the_covariance_mode(exact, l1_ratio, index):
    """Same support and coefficients as the exact path, in the data's own units too."""
    path = exact[l1_ratio]
    fit = fit_fista(sites(), float(path.lambdas[index]), l1_ratio=l1_ratio, tolerance=1e-11, max_rounds=20_000)
    assert fit.converged
    assert (fit.coefficients != 0).tolist() == (path.coefficients[index] != 0).tolist()
    assert_allclose(fit.coefficients, path.coefficients[index], atol=1e-9)
    assert_allclose(fit.model().predict(X), path.model(index).predict(X), rtol=1e-9)


def test_stops_by_the_optimality_conditions(exact):
    """A looser tolerance takes fewer rounds, and the gap it reports is within it."""
    penalty = float(exact[0.5].lambdas[6])
    rounds = []
    for tolerance in (1e-2, 1e-5, 1e-9):
        fit = fit_fista(sites(), penalty, tolerance=tolerance)
        assert fit.converged
        assert fit.kkt_gap <= tolerance
        rounds.append(fit.rounds)
    assert rounds[0] < rounds[1] < rounds[2]


def test_too_few_rounds_are_said(exact):
    """The result of an unfinished fit carries `converged` False and its gap."""
    fit = fit_fista(sites(), float(exact[0.5].lambdas[6]), max_rounds=10)
    assert fit.rounds == 10
    assert not fit.converged
    assert fit.kkt_gap > 1e-6


def test_a_warm_start_at_the_solution_needs_no_step(exact):
    """Moments and one gradient are enough to see that nothing is left to do."""
    path = exact[1.0]
    fit = fit_fista(sites(), float(path.lambdas[5]), l1_ratio=1.0, tolerance=1e-9, start=path.coefficients[5])
    assert fit.rounds == 2


def test_restart_and_momentum_beat_plain_gradient_steps(exact):
    """Fewer rounds than proximal gradient with the best constant step to the same gap."""
    path = exact[1.0]
    penalty, tolerance = float(path.lambdas[8]), 1e-8
    reference = path.reference
    Z = (np.where(np.isnan(X), reference.centre, X) - reference.centre) / reference.scale * reference.usable
    v = (Y - reference.y_centre) / reference.y_scale
    step = N / np.linalg.norm(Z, 2) ** 2
    b, plain = np.zeros(P), 2
    while True:
        r = Z.T @ (v - Z @ b) / N
        gap = np.where(b != 0, np.abs(r - penalty * np.sign(b)), np.maximum(np.abs(r) - penalty, 0)).max() / penalty
        if gap <= tolerance:
            break
        moved = b + step * r
        b, plain = np.sign(moved) * np.maximum(np.abs(moved) - step * penalty, 0), plain + 1
    assert fit_fista(sites(), penalty, l1_ratio=1.0, tolerance=tolerance).rounds < plain / 2


def test_a_reply_without_gradient_is_refused():
    """The array's name and shape are said."""
    all_sites = sites()

    def exchange(message_type, content):
        sums = all_sites(message_type, content)
        return {"gradient": sums["gradient"][:-1]} if message_type == "query.gradient" else sums

    with pytest.raises(UnusableReply, match="gradient"):
        fit_fista(exchange, 0.1)


@pytest.mark.parametrize("terms", [{"penalty": 0.0}, {"penalty": 0.1, "tolerance": 0.0}])
def test_arguments_out_of_range_are_refused(terms):
    """A penalty or tolerance of 0 would never end."""
    with pytest.raises(ValueError, match="above 0"):
        fit_fista(sites(), **terms)
