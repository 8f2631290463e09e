"""Accounting against closed forms: zCDP of the Gaussian, and the direction of every rounding."""

import math

import pytest

from flame_fl.privacy.accounting import (
    GaussianRelease,
    composed_epsilon,
    epsilon,
    noise_multiplier_for,
    rho_cap,
    site_release,
)


@pytest.mark.parametrize("multiplier", [0.1, 1.0, 7.5])
def test_a_site_release_pays_for_the_diameter(multiplier: float) -> None:
    """rho = (2C)² / (2 (mC)²) = 2 / m²."""
    assert site_release(multiplier).rho == pytest.approx(2 / multiplier**2, rel=1e-15)


@pytest.mark.parametrize("rho", [1e-6, 0.01, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-10])
def test_epsilon_is_below_the_textbook_bound_and_above_the_divergence(rho: float, delta: float) -> None:
    """Bun and Steinke (2016): epsilon ≤ rho + 2 sqrt(rho log(1/delta)); the Rényi route only tightens it."""
    bound = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    assert 0 < epsilon(rho, delta) <= bound * (1 + 1e-3) + math.log(1 / delta) / 4999


def test_nothing_released_costs_nothing() -> None:
    assert epsilon(0.0, 1e-5) == 0.0
    assert composed_epsilon([], 1e-5) == 0.0


@pytest.mark.parametrize(("rho", "delta"), [(-1.0, 0.1), (1.0, 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_impossible_arguments_are_a_bug(rho: float, delta: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        epsilon(rho, delta)


def test_releases_compose_by_adding_rho() -> None:
    assert composed_epsilon([GaussianRelease(2.0)] * 4, 1e-5) == pytest.approx(epsilon(0.5, 1e-5), rel=1e-12)


@pytest.mark.parametrize("cap", [0.01, 0.5, 1.0, 8.0, 100.0, 1e4])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-12])
def test_the_cap_is_never_above_what_it_stands_for_and_hardly_below(cap: float, delta: float) -> None:
    limit = rho_cap(cap, delta)
    assert limit == 0.0 or epsilon(limit, delta) <= cap
    assert epsilon(limit * (1 + 1e-6) + 1e-12, delta) > cap * (1 - 1e-6)


def test_summing_many_costs_in_floating_point_never_passes_the_cap() -> None:
    """A million equal debits whose true sum is the cap's: the margin covers what float64 loses on the way."""
    limit = rho_cap(8.0, 1e-5)
    each = limit / 1_000_000
    total = 0.0
    for _ in range(1_000_000):
        total += each
    assert abs(total - limit) < 1e-9 * limit


@pytest.mark.parametrize("releases", [1, 3, 12, 100])
@pytest.mark.parametrize("target", [0.5, 2.0, 8.0])
def test_the_calibrated_noise_admits_all_releases_and_wastes_little(releases: int, target: float) -> None:
    multiplier = noise_multiplier_for(target, 1e-5, releases)
    total = releases * site_release(multiplier).rho
    assert total <= rho_cap(target, 1e-5)
    assert total > 0.99 * rho_cap(target, 1e-5)


def test_an_event_is_stored_as_data() -> None:
    assert GaussianRelease(0.5).as_json() == {
        "event": "gaussian",
        "noise_multiplier": 0.5,
        "relation": "replace-one-site",
    }
