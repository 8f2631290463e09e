"""The partial likelihood from sums against its definition, row by row."""

import numpy as np
import pytest
from flame_strategies.cox_ties import RiskSums, partial_likelihood
from flame_strategies.glm_design import triangle
from numpy.testing import assert_allclose

TRIANGLE = triangle(2)


def case(seed):
    rng = np.random.default_rng(seed)
    Z, b = rng.normal(size=(40, 2)), rng.normal(size=2)
    return Z, b, rng.integers(0, 6, 40), rng.random(40) < 0.6


def by_definition(b, Z, time, event, *, efron):
    """Loops over times and their events; only the likelihood."""
    r, total = np.exp(Z @ b), 0.0
    for at in np.unique(time[event]):
        dead = event & (time == at)
        for place in range(dead.sum()):
            share = place / dead.sum() if efron else 0
            total -= np.log(r[time >= at].sum() - share * r[dead].sum())
        total += np.log(r[dead]).sum()
    return total


def from_sums(b, Z, time, event, *, efron):
    r = np.exp(Z @ b)

    def sums(rows):
        def at(k):
            rows_k = rows & (time == k)
            product = (Z[rows_k] * r[rows_k, None]).T @ Z[rows_k]
            return r[rows_k].sum(), r[rows_k] @ Z[rows_k], product[TRIANGLE]

        return RiskSums(*(np.array(part) for part in zip(*map(at, range(6)), strict=True)))

    deaths = np.bincount(time[event], minlength=6)
    at_risk = sums(np.ones(40, dtype=bool)).at_risk()
    return partial_likelihood(b, deaths, Z[event].sum(axis=0), at_risk, sums(event) if efron else None)


@pytest.mark.parametrize("efron", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_likelihood_and_derivatives(seed, efron):
    """The likelihood to the last digits; gradient and information against differences of it."""
    Z, b, time, event = case(seed)
    value = from_sums(b, Z, time, event, efron=efron)
    assert value.loglik == pytest.approx(by_definition(b, Z, time, event, efron=efron), rel=1e-12)
    h = 1e-5
    for j, step in enumerate(h * np.eye(2)):
        above, below = (from_sums(b + sign * step, Z, time, event, efron=efron) for sign in (1, -1))
        assert value.gradient[j] == pytest.approx((above.loglik - below.loglik) / (2 * h), rel=1e-6, abs=1e-6)
        assert_allclose(value.information[j], -(above.gradient - below.gradient) / (2 * h), rtol=1e-5, atol=1e-6)


def test_one_event_at_a_time_makes_no_difference():
    """Breslow and Efron differ in ties only."""
    Z, b, time, event = case(7)
    alone = np.zeros(40, dtype=bool)
    for k in range(6):
        alone[np.flatnonzero(event & (time == k))[:1]] = True
    efron, breslow = (from_sums(b, Z, time, alone, efron=kind) for kind in (True, False))
    assert efron.loglik == pytest.approx(breslow.loglik, rel=1e-13)
    assert_allclose(efron.information, breslow.information, rtol=1e-12)
