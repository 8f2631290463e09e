"""Privacy as risk: the closed forms against densities, against direct integration, and against each other."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from flame_fl.privacy.accounting import epsilon, site_release
from flame_fl.privacy.risk import FALSE_ALARMS, Risk, bound_risk, gaussian_risk, mu_of

RHO = st.floats(0, 50, allow_nan=False)
EPSILON = st.floats(0, 30, allow_nan=False)
DELTA = st.floats(0, 0.5, allow_nan=False)
RATE = st.floats(1e-4, 0.5, allow_nan=False)


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
    bound, exact = bound_risk(epsilon(rho, delta), delta), gaussian_risk(rho)
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
    risk = gaussian_risk(releases * site_release(noise).rho)
    assert (risk.advantage, risk.tpr) == (pytest.approx(advantage, abs=1e-4), pytest.approx(tpr, abs=1e-4))


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
    ],
)
def test_what_is_no_privacy_parameter_is_refused(call) -> None:
    """Rather than answered with a figure."""
    with pytest.raises(ValueError, match="must"):
        call()
