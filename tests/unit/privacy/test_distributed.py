"""Noise in shares: the parts are exact fractions, the distance of their sum is bounded as the theorem says."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.privacy.distributed import LEAST_SHARE_SIGMA_SQUARED, distance_of_sum, share_of
from tests.support.statistics import discrete_gaussian_pmf, distribution_is_discrete_gaussian


def sum_of_shares(variance: float, shares: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Support and probabilities of the sum of discrete Gaussians, by convolution."""
    support, one = discrete_gaussian_pmf(math.sqrt(variance))
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    reach = shares * int(support[-1])
    return np.arange(-reach, reach + 1), total


def tau(variance: float, shares: int) -> float:
    """The theorem's bound, with one coordinate and a sampler without error, read back from the distance."""
    return math.log1p(distance_of_sum((Fraction(variance).numerator, Fraction(variance).denominator), shares, 1, 0.0))


@given(numerator=st.integers(1, 2**60), denominator=st.integers(1, 1000), honest=st.integers(1, 1000))
def test_so_many_shares_make_the_whole(numerator: int, denominator: int, honest: int) -> None:
    """Exactly; or they are too small and refused."""
    whole = Fraction(numerator, denominator)
    if whole < LEAST_SHARE_SIGMA_SQUARED * honest:
        with pytest.raises(ValueError, match="below 4"):
            share_of((numerator, denominator), honest)
        return
    assert Fraction(*share_of((numerator, denominator), honest)) * honest == whole


@pytest.mark.parametrize("shares", [2, 3, 5])
@pytest.mark.parametrize("variance", [0.25, 0.5, 1.0])
def test_the_theorem_holds_at_every_integer(variance: float, shares: int) -> None:
    """The logarithm of the ratio to a discrete Gaussian of the whole variance, computed by convolution.

    Where the bound says nothing (it is above 1) it must not be smaller than the truth either.
    """
    support, found = sum_of_shares(variance, shares)
    middle = np.abs(support) <= 6 * math.sqrt(variance * shares) + 1  # beyond, float64 has no digits left
    ideal_support, ideal = discrete_gaussian_pmf(math.sqrt(variance * shares))
    wanted = ideal[np.searchsorted(ideal_support, support[middle])]
    ratio = np.abs(np.log(found[middle] / wanted))
    assert ratio.max() <= tau(variance, shares) * (1 + 1e-9) + 1e-9
    assert ratio.max() > 1e-10 or variance == 1.0  # the two do differ: the comparison is not with itself


def test_the_total_variation_over_coordinates_is_bounded() -> None:
    """Of one coordinate by convolution, of D by the union of D."""
    for variance, shares in ((0.5, 3), (1.0, 2), (1.0, 4)):
        support, found = sum_of_shares(variance, shares)
        ideal_support, ideal = discrete_gaussian_pmf(math.sqrt(variance * shares))
        inside = np.abs(support) <= ideal_support[-1]
        wanted = np.zeros(len(support))
        wanted[inside] = ideal[np.searchsorted(ideal_support, support[inside])]
        apart = np.abs(found - wanted).sum() / 2
        fraction = Fraction(variance)
        for coordinates in (1, 1000):
            bound = distance_of_sum((fraction.numerator, fraction.denominator), shares, coordinates, 0.0)
            assert coordinates * apart <= bound + 1e-12 * coordinates


def test_every_shares_sampler_counts() -> None:
    """So many samplers are off, each by so much; the theorem's part comes on top."""
    assert distance_of_sum((10**12, 1), 7, 10, 1e-9) == pytest.approx(7e-9)
    assert distance_of_sum((1, 1), 7, 10, 1e-9) > 7e-9


def test_one_share_is_the_whole_and_nothing_is_off() -> None:
    """Where each site adds all of it."""
    assert distance_of_sum((16, 1), 1, 10**6, 0.0) == 0.0
    assert share_of((16, 1), 1) == (16, 1)


@pytest.mark.parametrize("honest", [2, 10, 1000])
def test_at_the_least_share_tau_is_negligible(honest: int) -> None:
    """sigma = 4: below 1e-66 for up to a thousand sites, so that even 10^9 coordinates cost nothing."""
    assert 0 < distance_of_sum((LEAST_SHARE_SIGMA_SQUARED, 1), honest, 1, 0.0) < 1e-60
    assert distance_of_sum((LEAST_SHARE_SIGMA_SQUARED, 1), honest, 10**9, 0.0) < 1e-50


def test_less_variance_more_shares_and_more_coordinates_are_further_off() -> None:
    """The bound moves the right way."""
    base = distance_of_sum((1, 1), 3, 10, 0.0)
    assert distance_of_sum((1, 2), 3, 10, 0.0) > base
    assert distance_of_sum((1, 1), 4, 10, 0.0) > base
    assert distance_of_sum((1, 1), 3, 20, 0.0) > base


def test_drawn_shares_add_up_to_a_discrete_gaussian() -> None:
    """Fresh randomness, 40,000 sums of three with sigma = 4 each; false alarms below 1e-8."""
    noise = ExactNoise()
    total = sum(noise.discrete_gaussian((16, 1), 40_000) for _ in range(3))
    assert distribution_is_discrete_gaussian(np.asarray(total), math.sqrt(48))


@pytest.mark.parametrize(("variance", "shares"), [((16, 1), 2), ((16, 1), 4), ((12, 1), 3)])
def test_wrong_shares_are_found(variance: tuple[int, int], shares: int) -> None:
    """One too few or too many, or each too small: a power of 1 - 1e-9 and more."""
    noise = ExactNoise()
    total = sum(noise.discrete_gaussian(variance, 40_000) for _ in range(shares))
    assert not distribution_is_discrete_gaussian(np.asarray(total), math.sqrt(48))
