"""The noise's distribution, two-sided: the right sigma is accepted, wrong ones and wrong shapes are rejected.

Randomness is the operating system's (`ExactNoise()`), fresh in every run. Each test of a right sampler rejects it with
probability `ALPHA` = 1e-9 or less, Pearson's approximation included below 1e-8. Power: at least `POWER` = 0.999 against
each wrong sampler that is run; where it follows from a noncentral chi-square distribution the tests work it out.
"""

import random
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from flame_fl.privacy import discrete_gaussian, tables
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise, _plan, sigma_squared
from flame_fl.privacy.randomness import Stream, fresh_key
from tests.support.exact_gaussian import bernoulli_exp, exact_gaussian
from tests.support.statistics import (
    ALPHA,
    discrete_gaussian_pmf,
    distribution_is_discrete_gaussian,
    mean_is,
    standard_deviation_is,
)

Draws = npt.NDArray[np.int64]
N = 100_000
POWER = 0.999
SMALL = [0.3, 1.0, 20.0]
LARGE = [300.0, 5000.0, float(1 << 20), float(1 << 24)]  # one table, and sums of two, three and four
WRONG = [0.9, 1.1]
CELLS = 64


def draw(sigma: float, count: int = N) -> Draws:
    return ExactNoise().discrete_gaussian(sigma_squared(sigma, 1), count)


def cells(sigma: float) -> npt.NDArray[np.float64]:
    """Edges, between integers, of about `CELLS` cells of equal probability; of as many as there are likely values."""
    edges = np.unique(np.floor(stats.norm.ppf(np.arange(1, CELLS) / CELLS, scale=sigma)) + 0.5)
    return edges if sigma >= 1 else np.array([-0.5, 0.5])


def probabilities(sigma: float, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the cells. From sigma 300 on the discrete and the continuous Gaussian differ here by less than 1e-6."""
    if sigma >= 300:
        return np.diff(stats.norm.cdf(edges, scale=sigma), prepend=0.0, append=1.0)
    support, pmf = discrete_gaussian_pmf(sigma)
    return np.bincount(np.searchsorted(edges, support), weights=pmf, minlength=len(edges) + 1)


def fits(draws: Draws, sigma: float) -> bool:
    """Pearson's chi-square test that these are draws of N_Z(0, sigma²)."""
    edges = cells(sigma)
    counts = np.bincount(np.searchsorted(edges, draws), minlength=len(edges) + 1)
    return bool(stats.chisquare(counts, len(draws) * probabilities(sigma, edges)).pvalue > ALPHA)


def power(sigma: float, wrong: float, count: int) -> float:
    """Of `fits` against draws of another sigma."""
    edges = cells(sigma)
    right, other = probabilities(sigma, edges), probabilities(wrong * sigma, edges)
    critical = stats.chi2.isf(ALPHA, len(edges))
    return float(stats.ncx2.sf(critical, len(edges), count * np.sum((other - right) ** 2 / right)))


class TestScale:
    @pytest.mark.parametrize("sigma", SMALL + LARGE)
    def test_the_right_sigma_is_accepted(self, sigma: float) -> None:
        assert fits(draw(sigma), sigma)

    @pytest.mark.parametrize("sigma", SMALL + LARGE)
    @pytest.mark.parametrize("wrong", WRONG)
    def test_a_sigma_that_is_a_tenth_off_is_rejected(self, sigma: float, wrong: float) -> None:
        assert power(sigma, wrong, N) > POWER
        assert not fits(draw(wrong * sigma), sigma)

    @pytest.mark.parametrize("multiplier", [0.3, 1.0, 7.7])
    def test_at_a_gates_scale_the_standard_deviation_is_the_terms(self, multiplier: float) -> None:
        """At 100,000 draws the acceptance region is sigma · (1 ± 1.4 %)."""
        draws = ExactNoise().discrete_gaussian(sigma_squared(multiplier, CLIP_INT), N).astype(float)
        assert standard_deviation_is(draws, multiplier * CLIP_INT)
        assert mean_is(draws, 0.0, multiplier * CLIP_INT)

    @pytest.mark.parametrize("multiplier", [0.3, 1.0, 7.7])
    @pytest.mark.parametrize("wrong", [0.97, 1.03])
    def test_at_a_gates_scale_three_per_cent_are_seen(self, multiplier: float, wrong: float) -> None:
        """Power above 1 - 1e-11: 3 % are 13 standard errors, and the test rejects beyond 6.1."""
        draws = ExactNoise().discrete_gaussian(sigma_squared(multiplier * wrong, CLIP_INT), N).astype(float)
        assert not standard_deviation_is(draws, multiplier * CLIP_INT)

    def test_a_bias_of_a_twentieth_of_sigma_is_rejected(self) -> None:
        """Power above 1 - 1e-11: the shift is 16 standard errors, the test rejects beyond 6.1."""
        assert not mean_is(draw(1e6).astype(float) + 5e4, 0.0, 1e6)


class TestShape:
    """Value by value, where discrete and rounded continuous Gaussians differ most."""

    @pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 5.0])
    def test_every_value_has_its_probability(self, sigma: float) -> None:
        assert distribution_is_discrete_gaussian(draw(sigma), sigma)

    @pytest.mark.parametrize("sigma", [0.5, 1.0])
    def test_a_rounded_continuous_gaussian_is_rejected(self, sigma: float) -> None:
        """Noncentrality above 300 at 100,000 draws; the test rejects beyond 56: power above 0.999."""
        rounded = np.rint(np.random.default_rng().normal(0.0, sigma, N)).astype(int)
        assert not distribution_is_discrete_gaussian(rounded, sigma)

    def test_counting_zero_twice_is_rejected(self) -> None:
        """A mistake that mirroring a half distribution makes: P[0] doubled before normalisation."""
        draws = draw(2.0)
        assert not distribution_is_discrete_gaussian(np.append(draws, draws[draws == 0])[-N:], 2.0)

    @pytest.mark.parametrize("sigma", [300.0, 5000.0, float(1 << 20)])
    def test_the_last_digits_are_uniform(self, sigma: float) -> None:
        """Modulo the step between tables, and modulo 2 and 10: of a smooth distribution no residue is preferred."""
        for modulus in {2, 10, *_plan(*sigma_squared(sigma, 1)).steps}:
            assert stats.chisquare(np.bincount(draw(sigma) % modulus, minlength=modulus)).pvalue > ALPHA

    def test_tables_too_narrow_for_their_step_leave_gaps_that_are_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A seeded mistake, s² = 0.05: residues modulo the step differ by a factor. Power above 1 - 1e-11."""
        monkeypatch.setattr(discrete_gaussian, "SMOOTH_SQUARED", Fraction(1, 20))
        monkeypatch.setattr(discrete_gaussian, "_plan", _plan.__wrapped__)
        (step,) = discrete_gaussian._plan(*sigma_squared(5000.0, 1)).steps
        assert stats.chisquare(np.bincount(draw(5000.0) % step, minlength=step)).pvalue < ALPHA


class TestMistakes:
    """Samplers with one thing wrong: what the tests above would say."""

    def test_a_table_that_is_used_without_its_aliases(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every bin's own outcome: uniform on the support. Power above 1 - 1e-11."""
        monkeypatch.setattr(tables.Table, "draw", lambda self, stream, count: self.outcome[stream.words(count) >> 27])
        assert _plan(1, 1).last.bits == 5
        assert not fits(draw(1.0), 1.0)

    def test_a_sum_that_forgets_its_fine_part(self) -> None:
        """Multiples of the step only: the variance is right to a thousandth, the last digits are not."""
        coarse = draw(5000.0) // 136 * 136
        assert standard_deviation_is(coarse.astype(float), 5000.0)
        assert stats.chisquare(np.bincount(coarse % 136, minlength=136)).pvalue < ALPHA

    def test_a_stream_that_begins_again_for_every_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key stream used twice: each draw is the one of `_CHUNK` draws ago. Power: 1."""
        key, words = fresh_key(), Stream.words
        monkeypatch.setattr(Stream, "words", lambda self, count: words(Stream(key), count))
        assert not independent(draw(20.0), discrete_gaussian._CHUNK, 20.0)


class TestIndependence:
    @pytest.mark.parametrize("sigma", [1.0, 20.0, float(1 << 20)])
    @pytest.mark.parametrize("lag", [1, 2, 16, discrete_gaussian._CHUNK])
    def test_draws_say_nothing_of_later_ones(self, sigma: float, lag: int) -> None:
        """Chi-square test of independence of (x_i, x_{i+lag}), in 8 by 8 cells or as many as sigma has values."""
        assert independent(draw(sigma), lag, sigma)

    def test_a_tenth_of_the_last_draw_in_the_next_is_seen(self) -> None:
        """Noncentrality above N · 0.008 = 800 at 49 degrees of freedom; the test rejects beyond 132: power > 0.999."""
        draws = draw(float(1 << 20)).astype(float)
        assert not independent(draws[1:] + 0.1 * draws[:-1], 1, 1.005 * (1 << 20))

    def test_two_calls_say_nothing_of_each_other(self) -> None:
        one, other = draw(float(1 << 20)), draw(float(1 << 20))
        assert independent(np.column_stack([one, other]).ravel(), 1, float(1 << 20))
        assert np.count_nonzero(one == other) < 10  # by chance more: below 1e-15

    def test_signs_are_even(self) -> None:
        draws = draw(100.0)
        positive = int(np.count_nonzero(draws > 0))
        assert stats.binomtest(positive, int(np.count_nonzero(draws)), 0.5).pvalue > ALPHA


def octiles(sigma: float) -> npt.NDArray[np.float64]:
    return np.unique(np.floor(stats.norm.ppf(np.arange(1, 8) / 8, scale=sigma)) + 0.5)


def independent(draws: npt.NDArray[np.float64] | Draws, lag: int, sigma: float) -> bool:
    edges = octiles(sigma)
    where, size = np.searchsorted(edges, draws), len(edges) + 1
    pairs = np.bincount(where[:-lag] * size + where[lag:], minlength=size * size)
    return bool(stats.chi2_contingency(pairs.reshape(size, size)).pvalue > ALPHA)


class TestOracle:
    """Against an exact sampler that shares nothing with ours, and against what would be wrong."""

    COUNT = 10_000

    @pytest.mark.parametrize("sigma", [3, 300, 1 << 20])
    def test_the_two_have_one_distribution(self, sigma: int) -> None:
        assert alike(draw(float(sigma), self.COUNT), exact_gaussian(sigma**2, 1, self.COUNT), sigma)

    @pytest.mark.parametrize("wrong", WRONG)
    def test_a_sigma_that_is_a_tenth_off_is_rejected(self, wrong: float) -> None:
        """Power above 0.999: the variances' logarithms are 0.2 apart, at a standard error of 0.02; beyond 6.1."""
        assert not alike(draw(wrong * 300, self.COUNT), exact_gaussian(300**2, 1, self.COUNT), 300)

    @pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 3), (1, 1), (4, 3), (5, 1), (10**30 + 1, 10**30)])
    def test_its_coins_have_their_probability(self, a: int, b: int) -> None:
        bits = random.SystemRandom()
        heads = sum(bernoulli_exp(bits, a, b) for _ in range(self.COUNT))
        assert stats.binomtest(heads, self.COUNT, float(np.exp(-a / b))).pvalue > ALPHA


def alike(one: Draws, other: Draws, sigma: float) -> bool:
    """Whether two samples may have one distribution: the ratio of their variances, and a chi-square test on octiles."""
    apart = np.log(np.mean(one.astype(float) ** 2) / np.mean(other.astype(float) ** 2))
    z = apart / np.sqrt(2 / len(one) + 2 / len(other))
    counts = [np.bincount(np.searchsorted(octiles(sigma), sample)) for sample in (one, other)]
    return bool(2 * stats.norm.sf(abs(z)) > ALPHA and stats.chi2_contingency(counts).pvalue > ALPHA)


def test_the_yardstick_itself_is_a_distribution() -> None:
    """Moments of the pmf used above against the theory: variance below sigma², and close to it from sigma 1 on."""
    for sigma in (0.3, 0.5, 1.0, 2.0, 5.0, 20.0):
        support, pmf = discrete_gaussian_pmf(sigma)
        variance = float(np.sum(pmf * support**2))
        assert pmf.sum() == pytest.approx(1.0, abs=1e-12)
        assert variance <= sigma**2 * (1 + 1e-12)
        assert sigma < 1 or variance == pytest.approx(sigma**2, rel=1e-6)
