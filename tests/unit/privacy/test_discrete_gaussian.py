"""How large sigmas are put together and how far from ideal that is, without chance. tests/privacy draws samples."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.privacy import discrete_gaussian
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import (
    BASE_SQUARED,
    SMOOTH_SQUARED,
    SUM_DISTANCE,
    ExactNoise,
    Plan,
    _base,
    _largest_step,
    _plan,
    sigma_squared,
)
from flame_fl.privacy.tables import MASS_BITS, TABLE_DISTANCE, Table
from tests.support.masses import EXACT, ideal, masses_of, total_variation

PI_SQUARED = Decimal(
    "9.869604401089358618834490999876151135313699407240790626413349376220044822419205243001773403718552232"
)
LARGE = st.fractions(BASE_SQUARED, 1 << 100, max_denominator=10**9)


class TestExactNoise:
    def test_a_seed_is_for_tests_and_says_so(self) -> None:
        assert ExactNoise().seeded is False
        assert ExactNoise(seed_for_tests=0).seeded is True

    def test_a_seed_repeats_its_calls_and_no_call_repeats_another(self) -> None:
        sources = [ExactNoise(seed_for_tests=3) for _ in range(2)]
        calls = [[noise.discrete_gaussian((10**12, 1), 20).tolist() for noise in sources] for _ in range(2)]
        assert calls[0][0] == calls[0][1]
        assert calls[1][0] == calls[1][1]
        assert calls[0][0] != calls[1][0]

    @pytest.mark.parametrize("sigma", [(0, 1), (-1, 1), (1, 0), (1, -1)])
    def test_a_sigma_that_is_not_positive_is_a_bug(self, sigma: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="positive"):
            ExactNoise().discrete_gaussian(sigma, 1)

    @pytest.mark.parametrize("sigma_squared", [(1, 10**6), (1, 1), (10**8, 1), (1 << 80, 1)])
    @pytest.mark.parametrize("count", [0, 1, 2, (1 << 14) - 1, 1 << 14, (1 << 14) + 1])
    def test_there_are_as_many_draws_as_asked_for(self, sigma_squared: tuple[int, int], count: int) -> None:
        draws = ExactNoise().discrete_gaussian(sigma_squared, count)
        assert draws.shape == (count,)
        assert draws.dtype == np.int64

    def test_a_very_small_sigma_draws_zeros(self) -> None:
        assert not ExactNoise().discrete_gaussian((1, 10**6), 1000).any()
        assert not ExactNoise().discrete_gaussian((1, 10**4000), 1000).any()

    def test_the_largest_noise_that_terms_allow_fits_64_bits(self) -> None:
        plan = _plan(*sigma_squared(1e6, CLIP_INT))
        assert 13 * 10**6 * CLIP_INT < plan.reach < 1 << 62

    def test_noise_that_may_not_fit_is_a_bug_and_never_wraps(self) -> None:
        with pytest.raises(ValueError, match="62 bits"):
            ExactNoise().discrete_gaussian((1 << 118, 1), 1)


@given(st.floats(min_value=1e-4, max_value=1e6), st.integers(1, 1 << 24))
def test_sigma_is_the_floats_exact_value(multiplier: float, clip_int: int) -> None:
    numerator, denominator = sigma_squared(multiplier, clip_int)
    assert Fraction(numerator, denominator) == (Fraction(multiplier) * clip_int) ** 2


class TestSteps:
    @given(LARGE)
    def test_a_step_is_the_largest_that_stays_smooth(self, sigma_squared: Fraction) -> None:
        """s² = B²·sigma2²/sigma² ≥ 4.8 for k, and below for k + 1."""

        def smoothness(step: int) -> Fraction:
            return BASE_SQUARED * ((sigma_squared - BASE_SQUARED) / step**2) / sigma_squared

        step = _largest_step(sigma_squared)
        assert step == 0 or smoothness(step) >= SMOOTH_SQUARED
        assert smoothness(step + 1) < SMOOTH_SQUARED

    @given(st.fractions(Fraction(1, 10**9), BASE_SQUARED))
    def test_what_fits_a_table_takes_no_step(self, sigma_squared: Fraction) -> None:
        assert _largest_step(sigma_squared) == 0

    @pytest.mark.parametrize(("multiplier", "tables"), [(2**-20, 1), (1e-3, 2), (0.5, 3), (5.0, 3), (50.0, 4)])
    def test_noise_at_a_gates_scale_takes_few_tables(self, multiplier: float, tables: int) -> None:
        assert len(_plan(*sigma_squared(multiplier, CLIP_INT)).steps) + 1 == tables

    @settings(max_examples=20)
    @given(LARGE)
    def test_the_moments_are_the_discrete_gaussians_to_thirty_digits(self, sigma_squared: Fraction) -> None:
        """Exact moments of the plan's own masses. At this size a discrete Gaussian's are sigma² and 3 sigma⁴."""
        variance, fourth = moments(_plan(sigma_squared.numerator, sigma_squared.denominator))
        assert abs(variance / sigma_squared - 1) < Fraction(1, 10**30)
        assert abs(fourth / (3 * sigma_squared**2) - 1) < Fraction(1, 10**30)


def moments(plan: Plan) -> tuple[Fraction, Fraction]:
    """E X² and E X⁴ of a sum of independent symmetric parts, in exact arithmetic."""

    def of(table: Table) -> tuple[Fraction, Fraction]:
        masses = masses_of(table).items()
        return tuple(Fraction(sum(m * x**p for x, m in masses), 1 << MASS_BITS) for p in (2, 4))  # type: ignore[return-value]

    second, fourth = of(plan.last)
    for step in reversed(plan.steps):
        base_second, base_fourth = of(_base())
        second, fourth = step**2 * second, step**4 * fourth
        second, fourth = second + base_second, fourth + 6 * second * base_second + base_fourth
    return second, fourth


def distribution_of(plan: Plan) -> dict[int, int]:
    """P[X = x] of a plan with one step, in units of 2^-320, exactly."""
    (step,) = plan.steps
    masses: dict[int, int] = {}
    base = masses_of(_base())
    for y, weight in masses_of(plan.last).items():
        for x, mass in base.items():
            masses[x + step * y] = masses.get(x + step * y, 0) + mass * weight
    return masses


class TestDistance:
    @pytest.mark.parametrize("sigma", [Fraction(3001, 10), Fraction(900)])
    def test_a_sum_is_as_close_to_the_discrete_gaussian_as_stated(self, sigma: Fraction) -> None:
        """Every probability of the sum against the ideal one: no sample, no bound used."""
        plan = _plan((sigma**2).numerator, (sigma**2).denominator)
        assert len(plan.steps) == 1
        apart = total_variation(distribution_of(plan), 1 << 2 * MASS_BITS, ideal(sigma**2, 16 * int(sigma)))
        assert 0 < apart <= Decimal(plan.distance)

    def test_steps_that_are_too_large_are_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A seeded mistake: s² = 2.4, half of what it must be, and the distance is above the stated one."""
        monkeypatch.setattr(discrete_gaussian, "SMOOTH_SQUARED", SMOOTH_SQUARED / 2)
        plan = _plan.__wrapped__(810_000, 1)
        apart = total_variation(distribution_of(plan), 1 << 2 * MASS_BITS, ideal(Fraction(810_000), 16 * 900))
        assert apart > 1000 * Decimal(plan.distance)

    def test_what_a_sum_costs_is_the_formulas_value(self) -> None:
        with localcontext(EXACT):
            smooth = Decimal(SMOOTH_SQUARED.numerator) / SMOOTH_SQUARED.denominator
            e = 2 * sum((-2 * PI_SQUARED * smooth * m * m).exp() for m in range(1, 20))
            assert Decimal("1.4e-41") < e / (1 - e) <= Decimal(SUM_DISTANCE)

    def test_it_adds_up_over_tables_sums_and_draws(self) -> None:
        one = ExactNoise().distance(sigma_squared(1.0, CLIP_INT), 1)
        assert one == pytest.approx(3 * TABLE_DISTANCE + 2 * SUM_DISTANCE)
        assert ExactNoise().distance(sigma_squared(1.0, CLIP_INT), 10**7) == pytest.approx(1e7 * one)
        assert ExactNoise().distance((1, 1), 5) == pytest.approx(5 * TABLE_DISTANCE)
        assert ExactNoise().distance((1, 1), 0) == 0.0

    def test_it_is_a_probability_at_most(self) -> None:
        assert ExactNoise().distance((1, 1), 10**60) == 1.0

    def test_it_is_known_before_any_noise_is_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It depends on sigma and count alone, so that it can be charged before the data are seen."""
        noise = ExactNoise()
        monkeypatch.setattr(noise, "_key", None)
        assert noise.distance((1 << 40, 1), 1000) < 1e-35
