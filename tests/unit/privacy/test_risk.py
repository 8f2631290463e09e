"""Privacy as risk: closed forms and loss distributions against densities, integration, published values, each other."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from flame_fl.privacy.accounting import PrivacyEvent, Relation, epsilon_of, pld_epsilon
from flame_fl.privacy.risk import FALSE_ALARMS, Risk, bound_risk, gaussian_risk, mu_of, risk_of, tight_epsilon

ADD_OR_REMOVE = Relation.ADD_OR_REMOVE_ONE_PATIENT

RHO = st.floats(0, 50, allow_nan=False)
EPSILON = st.floats(0, 30, allow_nan=False)
DELTA = st.floats(0, 0.5, allow_nan=False)
RATE = st.floats(1e-4, 0.5, allow_nan=False)
BENCHMARK = PrivacyEvent(1.2, ADD_OR_REMOVE, 0.025, 1200)


def gaussian(multiplier: float) -> PrivacyEvent:
    return PrivacyEvent(multiplier, ADD_OR_REMOVE)


def mixture_test(multiplier: float, rate: float, fpr: float) -> Risk:
    """One sampled step by integration, the worse of both directions: the likelihood ratio grows with the output."""
    sigma, x = multiplier, np.linspace(-12 * multiplier, 1 + 12 * multiplier, 400_001)
    absent = stats.norm.sf(x, 0, sigma)
    present = rate * stats.norm.sf(x, 1, sigma) + (1 - rate) * absent
    advantage = float(np.max(present - absent))
    upper = np.interp(fpr, absent[::-1], present[::-1])  # "present" is said above a threshold
    lower = np.interp(fpr, 1 - present, 1 - absent)  # "absent" is said below one
    return Risk(advantage, float(max(upper, lower)))


@pytest.mark.parametrize("rho", [1e-4, 0.02, 0.5, 2.0, 18.0])
def test_the_advantage_is_the_total_variation_of_two_normals(rho: float) -> None:
    """½ ∫ |p − q| of N(0, 1) and N(mu, 1), integrated numerically."""
    mu = mu_of(rho)
    half_difference, _ = integrate.quad(
        lambda x: abs(stats.norm.pdf(x) - stats.norm.pdf(x, mu)) / 2, -12, 12 + mu, points=[mu / 2], limit=200
    )
    assert gaussian_risk(rho).advantage == pytest.approx(half_difference, abs=1e-9)


@given(rho=RHO, fpr=RATE)
def test_the_true_positive_rate_is_that_of_the_likelihood_ratio_test(rho: float, fpr: float) -> None:
    """SciPy's own normal distribution: reject above the threshold that N(0, 1) exceeds with probability fpr."""
    mu = mu_of(rho)
    assert gaussian_risk(rho, fpr).tpr == pytest.approx(stats.norm.sf(stats.norm.isf(fpr) - mu), rel=1e-9)


@given(rho=RHO, fpr=RATE)
def test_no_threshold_beats_the_advantage(rho: float, fpr: float) -> None:
    """TPR − FPR at any rate is at most the largest one."""
    risk = gaussian_risk(rho, fpr)
    assert risk.tpr - fpr <= risk.advantage + 1e-12


@given(one=RHO, two=RHO)
def test_more_releases_never_mean_less_risk(one: float, two: float) -> None:
    """Both figures grow with rho."""
    low, high = sorted((one, two))
    assert gaussian_risk(low).advantage <= gaussian_risk(high).advantage
    assert gaussian_risk(low).tpr <= gaussian_risk(high).tpr


@given(one=EPSILON, two=EPSILON, small=DELTA, large=DELTA)
def test_a_larger_epsilon_or_delta_never_means_less_risk(one: float, two: float, small: float, large: float) -> None:
    """The bounds grow with both."""
    lows, highs = (min(one, two), min(small, large)), (max(one, two), max(small, large))
    assert bound_risk(*lows).advantage <= bound_risk(*highs).advantage + 1e-15
    assert bound_risk(*lows).tpr <= bound_risk(*highs).tpr + 1e-15


@pytest.mark.parametrize("delta", [1e-9, 1e-6, 1e-5, 1e-3])
@given(rho=st.floats(1e-6, 5))
def test_the_bound_of_the_accountants_epsilon_covers_the_exact_figures(delta: float, rho: float) -> None:
    """The pair (epsilon, delta) says less of a Gaussian release than mu, never more."""
    bound, exact = bound_risk(epsilon_of({gaussian(1 / mu_of(rho)): 1}, delta), delta), gaussian_risk(rho)
    assert exact.advantage <= bound.advantage + 1e-9
    assert exact.tpr <= bound.tpr + 1e-9


@given(eps=st.floats(0.001, 20), delta=st.floats(0, 0.3), fpr=RATE)
def test_randomised_response_reaches_the_bound(eps: float, delta: float, fpr: float) -> None:
    """The mechanism of Kairouz, Oh and Viswanath: with delta it tells all, else a coin with odds e^epsilon."""
    true = np.array([delta, (1 - delta) * math.exp(eps) / (1 + math.exp(eps)), (1 - delta) / (1 + math.exp(eps)), 0])
    other = true[::-1]
    advantage = np.abs(true - other).sum() / 2
    # the best test at this rate: outcomes in the order of their likelihood ratio, the last one by a coin
    tpr = np.interp(fpr, np.cumsum(other), np.cumsum(true))
    assume(fpr < 1 - delta)
    assert bound_risk(eps, delta, fpr).advantage == pytest.approx(advantage, abs=1e-9)
    assert bound_risk(eps, delta, fpr).tpr == pytest.approx(tpr, abs=1e-9)


def test_nothing_released_tells_nothing() -> None:
    """No advantage, and as many hits as false alarms."""
    assert gaussian_risk(0.0) == Risk(0.0, FALSE_ALARMS)
    assert bound_risk(0.0, 0.0) == Risk(0.0, FALSE_ALARMS)


@pytest.mark.parametrize("eps", [800.0, 1e6, math.inf])
def test_an_endless_epsilon_tells_everything(eps: float) -> None:
    """Without an overflow."""
    assert bound_risk(eps, 0.0) == Risk(1.0, 1.0)
    assert gaussian_risk(1e12) == Risk(1.0, 1.0)


@pytest.mark.parametrize(
    ("noise", "releases", "advantage", "tpr"), [(2.0, 1, 0.3829, 0.0924), (20.0, 10, 0.1256, 0.0222)]
)
def test_known_figures_of_site_releases(noise: float, releases: int, advantage: float, tpr: float) -> None:
    """Sensitivity is 2 · clip_norm: one release at noise 2 has mu = 1, ten at noise 20 have mu = 0.316."""
    risk = risk_of({PrivacyEvent(noise / 2, Relation.REPLACE_ONE_SITE): releases})
    assert (risk.advantage, risk.tpr) == (pytest.approx(advantage, abs=1e-4), pytest.approx(tpr, abs=1e-4))


class TestEvents:
    @given(rho=st.floats(1e-6, 50), count=st.integers(1, 50))
    def test_gaussian_events_are_exact(self, rho: float, count: int) -> None:
        """Any split of the same zCDP into releases is the same risk."""
        risk = risk_of({gaussian(mu_of(rho / count) ** -1): count})
        exact = gaussian_risk(rho)
        assert (risk.advantage, risk.tpr) == (pytest.approx(exact.advantage), pytest.approx(exact.tpr))

    def test_none_tell_nothing(self) -> None:
        """Also events that happened no times."""
        assert risk_of({}) == risk_of({gaussian(1.0): 0}) == Risk(0.0, FALSE_ALARMS)
        assert tight_epsilon({}, 1e-5) == 0.0

    @pytest.mark.parametrize("multiplier", [0.5, 1.0, 3.0])
    @pytest.mark.parametrize("rate", [0.025, 0.3])
    def test_one_sampled_step_against_integration(self, multiplier: float, rate: float) -> None:
        """The mixture's own best test, never below it and hardly above."""
        exact = mixture_test(multiplier, rate, FALSE_ALARMS)
        risk = risk_of({PrivacyEvent(multiplier, ADD_OR_REMOVE, rate): 1})
        assert exact.advantage - 1e-6 <= risk.advantage <= exact.advantage + 1e-4
        assert exact.tpr - 1e-6 <= risk.tpr <= exact.tpr + 1e-3

    @pytest.mark.parametrize("mu", [0.3, 1.0, 4.0])
    def test_hardly_sampled_steps_are_gaussian(self, mu: float) -> None:
        """Everybody but one in a million in every batch: the loss distribution meets the closed form."""
        risk = risk_of({PrivacyEvent(2.0 / mu, ADD_OR_REMOVE, 1 - 1e-6, 4): 1})
        exact = gaussian_risk(mu**2 / 2)
        assert risk.advantage == pytest.approx(exact.advantage, rel=1e-5)
        assert risk.tpr == pytest.approx(exact.tpr, rel=1e-4)

    @pytest.mark.parametrize(("rate", "steps", "multiplier"), [(0.001, 50, 0.7), (0.1, 20, 1.5), (0.5, 3, 4.0)])
    def test_it_lies_between_one_step_and_no_sampling(self, rate: float, steps: int, multiplier: float) -> None:
        """And below what the pair (epsilon, delta) says."""
        event = PrivacyEvent(multiplier, ADD_OR_REMOVE, rate, steps)
        one, all_of_them = risk_of({PrivacyEvent(multiplier, ADD_OR_REMOVE, rate): 1}), risk_of({event: 1})
        unsampled, pair = gaussian_risk(steps / (2 * multiplier**2)), bound_risk(tight_epsilon({event: 1}, 1e-5), 1e-5)
        assert one.advantage - 1e-4 <= all_of_them.advantage <= unsampled.advantage
        assert one.tpr - 1e-4 <= all_of_them.tpr <= unsampled.tpr
        assert all_of_them.advantage <= pair.advantage + 1e-9
        assert all_of_them.tpr <= pair.tpr + 1e-9

    def test_more_events_are_more_risk(self) -> None:
        """Gaussian and sampled ones together, too."""
        risks = [risk_of(e) for e in ({BENCHMARK: 1}, {BENCHMARK: 2}, {BENCHMARK: 2, gaussian(1.0): 1})]
        assert [r.tpr for r in risks] == sorted({r.tpr for r in risks})
        assert [r.advantage for r in risks] == sorted({r.advantage for r in risks})

    def test_what_would_not_fit_into_memory_is_bounded(self) -> None:
        """Hardly any noise: the figure without sampling, at once."""
        loud = PrivacyEvent(1e-4, ADD_OR_REMOVE, 0.5, 1000)
        assert risk_of({loud: 1000}) == Risk(1.0, 1.0)
        assert tight_epsilon({loud: 1000}, 1e-5) > 1e12

    def test_the_benchmark_case(self) -> None:
        """q = 0.025, sigma = 1.2, 1,200 steps: five such projects are below epsilon = 10, if fixed beforehand."""
        assert tight_epsilon({BENCHMARK: 5}, 1e-5) == pytest.approx(9.8107, abs=1e-3)
        assert tight_epsilon({BENCHMARK: 6}, 1e-5) > 10

    @pytest.mark.parametrize(
        "events",
        [{gaussian(0.5): 3}, {gaussian(2.0): 7, gaussian(5.0): 2}, {BENCHMARK: 1}, {BENCHMARK: 2, gaussian(1.5): 3}],
    )
    def test_the_tight_epsilon_is_that_of_dp_accounting(self, events) -> None:
        """Merging Gaussian releases into one loses nothing; and it is never above the Rényi figure."""
        assert tight_epsilon(events, 1e-5) == pytest.approx(pld_epsilon(events, 1e-5), rel=1e-3)
        assert tight_epsilon(events, 1e-5) <= epsilon_of(events, 1e-5)

    @pytest.mark.parametrize(("mu", "delta"), [(1.0, 1e-5), (5.0, 1e-5), (0.1, 1e-9), (12.0, 1e-6)])
    def test_the_gaussian_epsilon_meets_its_delta(self, mu: float, delta: float) -> None:
        """Balle and Wang 2018, theorem 8, with SciPy's logarithms of tails."""
        eps = tight_epsilon({gaussian(1 / mu): 1}, delta)
        got = stats.norm.cdf(mu / 2 - eps / mu) - math.exp(eps + stats.norm.logcdf(-mu / 2 - eps / mu))
        assert got == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_risk(-1.0),
        lambda: gaussian_risk(math.nan),
        lambda: gaussian_risk(1.0, 0.0),
        lambda: bound_risk(-0.1, 0.0),
        lambda: bound_risk(1.0, 1.1),
        lambda: bound_risk(1.0, math.nan),
        lambda: bound_risk(1.0, 0.0, 1.0),
        lambda: risk_of({}, 0.0),
    ],
)
def test_what_is_no_privacy_parameter_is_refused(call) -> None:
    """Rather than answered with a figure."""
    with pytest.raises(ValueError, match="must"):
        call()
