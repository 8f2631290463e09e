"""The auditors, audited: on ideal Gaussians they stay under the truth, and see what exceeds it."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.support.auditing import (
    Finding,
    gaussian_bounds,
    gaussian_epsilon,
    one_run_epsilon,
    one_run_p_value,
    require_claim,
    trade_off_bound,
)

DELTA = 1e-5


def gaussians(mu: float, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1.0, size), rng.normal(0.0, 1.0, size)


class TestBounds:
    @pytest.mark.parametrize("mu", [0.0, 0.5, 1.0, 3.0])
    def test_the_interval_misses_no_more_often_than_it_says(self, mu: float) -> None:
        """At alpha = 5 % over 200 samples, at most 20 misses: the seeds are fixed, so this cannot fail by chance."""
        missed = [
            not low <= mu <= high
            for seed in range(200)
            for low, high in [gaussian_bounds(*gaussians(mu, 200, seed), alpha=0.05)]
        ]
        assert sum(missed) <= 20

    @pytest.mark.parametrize("mu", [0.0, 0.5, 1.0, 3.0])
    def test_the_bound_without_assumptions_is_too_large_no_more_often_than_it_says(self, mu: float) -> None:
        above = [trade_off_bound(*gaussians(mu, 500, seed), alpha=0.05) > mu for seed in range(200)]
        assert sum(above) <= 20

    @pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
    def test_both_come_close_with_fifty_thousand(self, mu: float) -> None:
        one, other = gaussians(mu, 50_000, 1)
        low, high = gaussian_bounds(one, other)
        assert mu * 0.9 < low < mu < high < mu * 1.1
        assert trade_off_bound(one, other) > mu * 0.9 - 0.05

    def test_nothing_needs_to_be_gaussian_for_the_second_one(self) -> None:
        """Laplace noise of scale 1 between inputs 1 apart is 1-DP, and no test of that shows more than this mu."""
        rng = np.random.default_rng(2)
        one, other = rng.laplace(1.0, 1.0, 20_000), rng.laplace(0.0, 1.0, 20_000)
        limit = 2 * stats.norm.isf(1 / (1 + math.e))
        assert 0.5 < trade_off_bound(one, other) < limit

    def test_without_noise_anything_is_told(self) -> None:
        assert gaussian_bounds(np.ones(5), np.zeros(5)) == (math.inf, math.inf)
        assert gaussian_bounds(np.ones(5), np.ones(5))[0] == 0.0

    def test_the_order_of_the_two_does_not_matter(self) -> None:
        one, other = gaussians(1.0, 3000, 3)
        assert trade_off_bound(one, other) == trade_off_bound(other, one)
        assert gaussian_bounds(one, other) == pytest.approx(gaussian_bounds(other, one))


class TestEpsilon:
    @pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 2.0])
    def test_it_is_the_exact_epsilon_of_a_gaussian_release(self, mu: float) -> None:
        """Against dp-accounting's privacy loss distributions, which round up by at most their grid."""
        from dp_accounting import dp_event, pld

        accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
        accountant.compose(dp_event.GaussianDpEvent(1 / mu))
        assert gaussian_epsilon(mu, DELTA) == pytest.approx(accountant.get_epsilon(DELTA), abs=2e-3)

    def test_the_ends(self) -> None:
        assert gaussian_epsilon(0.0, DELTA) == 0.0
        assert math.isinf(gaussian_epsilon(math.inf, DELTA))


class TestClaims:
    def test_a_true_claim_stands(self) -> None:
        epsilon = gaussian_epsilon(1.0, DELTA)
        bounds = require_claim(*gaussians(1.0, 50_000, 4), mu=1.0, epsilon=epsilon, delta=DELTA, tight=True)
        assert all(0.85 * epsilon < bound < epsilon for bound in bounds)

    @pytest.mark.parametrize("truth", [math.sqrt(2), 2.0, 0.5])
    def test_a_false_one_falls(self, truth: float) -> None:
        """2,000 of each. Twice the leak, the leak of two releases for one, and twice the noise."""
        epsilon = gaussian_epsilon(1.0, DELTA)
        with pytest.raises(Finding):
            require_claim(*gaussians(truth, 2000, 5), mu=1.0, epsilon=epsilon, delta=DELTA, tight=True)

    @pytest.mark.parametrize("truth", [1 / 1.1, 1.1])
    @pytest.mark.parametrize("seed", range(5))
    def test_a_tenth_is_found_with_fifty_thousand(self, truth: float, seed: int) -> None:
        """The interval's half width is 0.036 and a standard error 0.0067 there: power above 1 - 1e-15."""
        with pytest.raises(Finding):
            require_claim(*gaussians(truth, 50_000, seed), mu=1.0, epsilon=99.0, delta=DELTA, tight=True)


class TestOneRun:
    def test_chance_proves_nothing(self) -> None:
        assert one_run_epsilon(1000, 1000, 500, DELTA) == 0.0

    def test_all_right_proves_what_the_binomial_says(self) -> None:
        """With delta = 0 and every guess right: (e^ε / (1 + e^ε))^n = alpha."""
        bound = one_run_epsilon(100, 100, 100, delta=0.0, alpha=0.05)
        assert (1 / (1 + math.exp(-bound))) ** 100 == pytest.approx(0.05, rel=1e-3)

    def test_delta_makes_it_weaker_and_more_right_guesses_stronger(self) -> None:
        assert one_run_epsilon(200, 100, 99, 1e-4) < one_run_epsilon(200, 100, 99, 0.0)
        assert one_run_p_value(200, 100, 90, 1.0, DELTA) > one_run_p_value(200, 100, 95, 1.0, DELTA)

    def test_randomised_response_stays_under_its_own_epsilon(self) -> None:
        """500 canaries through randomised response at ε = 2, 60 times at alpha = 5 %; the seed is fixed."""
        rng = np.random.default_rng(6)
        right = rng.binomial(500, 1 / (1 + math.exp(-2.0)), size=60)
        bounds = [one_run_epsilon(500, 500, int(v), 0.0, alpha=0.05) for v in right]
        assert sum(bound > 2.0 for bound in bounds) <= 8
        assert np.median(bounds) > 1.6
