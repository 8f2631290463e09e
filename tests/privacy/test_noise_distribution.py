"""The sampler's distribution, two-sided: the right sigma is accepted, wrong ones and wrong shapes are rejected.

Randomness is the operating system's (`ExactNoise()`), fresh in every run. False alarms: below 1e-8 per test. Power:
stated where a wrong sampler is run, and above 0.999 throughout (tests/support/statistics.py).
"""

import numpy as np
import pytest
from scipy import stats

from flame_fl.privacy import discrete_gaussian
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise, sigma_squared
from tests.support.statistics import (
    ALPHA,
    discrete_gaussian_pmf,
    distribution_is_discrete_gaussian,
    mean_is,
    standard_deviation_is,
)

N = 10_000
SMALL = [0.5, 1.0, 2.0, 5.0]
MULTIPLIERS = [0.3, 1.0, 7.7]


def draw(sigma: float, count: int = N) -> list[int]:
    return ExactNoise().discrete_gaussian(sigma_squared(sigma, 1), count)


class TestScale:
    """At the sizes a gate uses: sigma = noise_multiplier · 2^20 integer units."""

    @pytest.mark.parametrize("multiplier", MULTIPLIERS)
    def test_the_right_sigma_is_accepted(self, multiplier: float) -> None:
        draws = ExactNoise().discrete_gaussian(sigma_squared(multiplier, CLIP_INT), N)
        assert standard_deviation_is(np.array(draws, float), multiplier * CLIP_INT)
        assert mean_is(np.array(draws, float), 0.0, multiplier * CLIP_INT)

    @pytest.mark.parametrize("multiplier", MULTIPLIERS)
    @pytest.mark.parametrize("wrong", [1.1, 1 / 1.1])
    def test_a_sigma_that_is_a_tenth_off_is_rejected(self, multiplier: float, wrong: float) -> None:
        """Power above 1 - 1e-11 at N draws."""
        draws = ExactNoise().discrete_gaussian(sigma_squared(multiplier * wrong, CLIP_INT), N)
        assert not standard_deviation_is(np.array(draws, float), multiplier * CLIP_INT)

    def test_a_bias_of_a_tenth_of_sigma_is_rejected(self) -> None:
        """Power above 1 - 1e-4: the shift is 10 standard errors, the test rejects beyond 6.1."""
        draws = np.array(ExactNoise().discrete_gaussian(sigma_squared(1.0, CLIP_INT), N), float)
        assert not mean_is(draws + 0.1 * CLIP_INT, 0.0, CLIP_INT)


class TestShape:
    """At small sigma, where discrete and rounded continuous Gaussians differ most."""

    @pytest.mark.parametrize("sigma", SMALL)
    def test_the_distribution_is_the_discrete_gaussian(self, sigma: float) -> None:
        assert distribution_is_discrete_gaussian(draw(sigma, 2 * N), sigma)

    @pytest.mark.parametrize("sigma", SMALL)
    @pytest.mark.parametrize("wrong", [1.1, 1 / 1.1])
    def test_a_sigma_that_is_a_tenth_off_is_rejected(self, sigma: float, wrong: float) -> None:
        """Noncentrality above 300 at 2 N draws for each pair here; the test rejects beyond 100: power above 0.999."""
        assert not distribution_is_discrete_gaussian(draw(sigma * wrong, 2 * N), sigma)

    @pytest.mark.parametrize("sigma", [0.5, 1.0])
    def test_a_rounded_continuous_gaussian_is_rejected(self, sigma: float) -> None:
        """Noncentrality above 300 at 100,000 draws; the test rejects beyond 56: power above 0.999."""
        rounded = np.rint(np.random.default_rng().normal(0.0, sigma, 100_000)).astype(int)
        assert not distribution_is_discrete_gaussian(rounded, sigma)

    def test_counting_zero_twice_is_rejected(self) -> None:
        """The mistake that the sampler's last step is there to avoid: P[0] doubled before normalisation."""
        draws = draw(2.0, 2 * N)
        zeros = [0] * draws.count(0)
        assert not distribution_is_discrete_gaussian((draws + zeros)[-2 * N :], 2.0)

    @pytest.mark.parametrize("sigma", [1.0, 2.0])
    def test_a_sampler_with_a_broken_coin_is_rejected(self, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
        """A seeded mistake in the series behind exp(-1): every test above would see it."""
        right = discrete_gaussian._bernoulli_exp_unit
        monkeypatch.setattr(
            discrete_gaussian, "_bernoulli_exp_unit", lambda bits, a, b: right(bits, a, b) or bits.getrandbits(4) == 0
        )
        assert not distribution_is_discrete_gaussian(draw(sigma, 2 * N), sigma)


class TestIndependence:
    def test_neighbouring_draws_are_uncorrelated(self) -> None:
        draws = np.array(draw(100.0), float)
        assert mean_is(draws[1:] * draws[:-1] / 100.0**2, 0.0, 1.0)

    def test_signs_are_even(self) -> None:
        draws = np.array(draw(100.0))
        positive = int(np.count_nonzero(draws > 0))
        assert stats.binomtest(positive, int(np.count_nonzero(draws)), 0.5).pvalue > ALPHA


class TestCoins:
    """The exact coins, against their probabilities, at the edges where a mistake would hide."""

    @pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 3), (1, 1), (4, 3), (5, 1), (10**30 + 1, 10**30)])
    def test_a_coin_of_exp_has_its_probability(self, a: int, b: int) -> None:
        bits = ExactNoise()._bits
        heads = sum(discrete_gaussian._bernoulli_exp(bits, a, b) for _ in range(N))
        assert stats.binomtest(heads, N, float(np.exp(-a / b))).pvalue > ALPHA

    @pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 1000])
    def test_a_uniform_draw_is_uniform(self, n: int) -> None:
        bits = ExactNoise()._bits
        counts = np.bincount([discrete_gaussian._uniform(bits, n) for _ in range(N)], minlength=n)
        assert len(counts) == n
        assert n == 1 or stats.chisquare(counts).pvalue > ALPHA


def test_the_yardstick_itself_is_a_distribution() -> None:
    """Moments of the pmf used above against the theory: variance below sigma², and close to it from sigma 1 on."""
    for sigma in SMALL:
        support, probabilities = discrete_gaussian_pmf(sigma)
        variance = float(np.sum(probabilities * support**2))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
        assert variance <= sigma**2 * (1 + 1e-12)
        assert sigma < 1 or variance == pytest.approx(sigma**2, rel=1e-6)
