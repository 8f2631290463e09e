"""Alias tables, without chance: the probabilities they stand for, and which bits give which outcome."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.privacy.randomness import Stream
from flame_fl.privacy.tables import MASS_BITS, MAX_BITS, TABLE_DISTANCE, Table, _aliases, gaussian_table
from tests.support.masses import ideal, masses_of, total_variation

SIGMAS_SQUARED = [Fraction(1, 10**6), Fraction(9, 100), Fraction(1), Fraction(400), Fraction(300 * 300)]
MASS = 1 << MASS_BITS


def table_of(sigma_squared: Fraction) -> Table:
    return gaussian_table(sigma_squared.numerator, sigma_squared.denominator)


def distance_of(table: Table, sigma_squared: Fraction) -> Decimal:
    """From the ideal, whose tail is taken half as far again as the table's: what is beyond weighs below 1e-80."""
    return total_variation(masses_of(table), MASS, ideal(sigma_squared, table.reach * 3 // 2 + 20))


class TestProbabilities:
    @pytest.mark.parametrize("sigma_squared", SIGMAS_SQUARED, ids=str)
    def test_they_are_the_discrete_gaussians_within_the_stated_distance(self, sigma_squared: Fraction) -> None:
        assert distance_of(table_of(sigma_squared), sigma_squared) <= Decimal(TABLE_DISTANCE)

    @given(st.fractions(Fraction(1, 100), 50, max_denominator=10**6))
    def test_so_they_are_for_any_fraction(self, sigma_squared: Fraction) -> None:
        table = table_of(sigma_squared)
        assert distance_of(table, sigma_squared) <= Decimal(TABLE_DISTANCE)
        assert table.reach**2 <= 186 * sigma_squared < (table.reach + 1) ** 2

    @pytest.mark.parametrize("sigma_squared", SIGMAS_SQUARED, ids=str)
    def test_they_are_symmetric_and_sum_to_one_exactly(self, sigma_squared: Fraction) -> None:
        masses = masses_of(table_of(sigma_squared))
        assert sum(masses.values()) == MASS
        assert all(masses[x] == masses[-x] for x in masses)

    @pytest.mark.parametrize("wrong", [1 - Fraction(1, 10**30), 1 + Fraction(1, 10**30)])
    def test_the_comparison_sees_a_sigma_that_is_off_in_its_thirtieth_digit(self, wrong: Fraction) -> None:
        assert distance_of(table_of(wrong), Fraction(1)) > Decimal(TABLE_DISTANCE)

    def test_the_comparison_sees_a_threshold_that_is_off_in_its_hundredth_bit(self) -> None:
        table = table_of(Fraction(1))
        rest = list(table.rest)
        rest[3] ^= 1 << (MASS_BITS - 32 - 69)
        assert distance_of(replace(table, rest=tuple(rest)), Fraction(1)) > Decimal(TABLE_DISTANCE)

    def test_a_sigma_beyond_the_bins_is_a_bug(self) -> None:
        assert gaussian_table(300 * 300, 1).bits == MAX_BITS
        with pytest.raises(ValueError, match="too large"):
            gaussian_table(310 * 310, 1)


@given(st.integers(0, 5).flatmap(lambda bits: st.lists(st.integers(0, 1000), min_size=1 << bits, max_size=1 << bits)))
def test_any_masses_are_shared_out_exactly(weights: list[int]) -> None:
    """Bins of one capacity, each with at most two outcomes, hold every mass: no unit is lost."""
    mass = [weight * len(weights) for weight in weights]
    capacity = sum(weights)
    keep, alias = _aliases(mass, capacity)
    held = [0] * len(mass)
    for own, (kept, other) in enumerate(zip(keep, alias, strict=True)):
        assert 0 <= kept <= capacity
        held[own] += kept
        held[other] += capacity - kept
    assert held == mass


class Written(Stream):
    """A stream of chosen words, and chosen bits where a word does not decide."""

    def __init__(self, words: list[int], further: list[int]) -> None:
        self._words, self._further = words, further

    def words(self, count: int) -> npt.NDArray[np.uint32]:
        return np.array(self._words, dtype=np.uint32)

    def integer(self, size_bytes: int) -> int:
        assert size_bytes == (MASS_BITS - 32) // 8
        return self._further.pop(0)


class TestWhichBitsGiveWhichOutcome:
    """At every edge of every bin: a draw is the comparison of 160 bits with the bin's threshold."""

    @pytest.mark.parametrize("sigma_squared", SIGMAS_SQUARED, ids=str)
    def test_at_the_edges_of_each_bin(self, sigma_squared: Fraction) -> None:
        table = table_of(sigma_squared)
        size, width = 1 << table.bits, 32 - table.bits
        words, further, wanted = [], [], []
        for i, (lead, rest) in enumerate(zip(table.threshold.tolist(), table.rest, strict=True)):
            first, second = int(table.outcome[i]), int(table.outcome[size + i])
            for word in sorted({i << width, lead - 1, lead + 1, ((i + 1) << width) - 1} - {lead}):
                if word >> width == i:
                    words.append(word)
                    wanted.append(first if word < lead else second)
            for bits, outcome in ((rest - 1, first), (rest, second)):
                if bits >= 0:
                    words.append(lead)
                    further.append(bits)
                    wanted.append(outcome)
        source = Written(words, further)
        assert table.draw(source, len(words)).tolist() == wanted
        assert source._further == []  # every undecided word asked once, in order, and no other did

    def test_a_draw_is_64_bits_wide(self) -> None:
        assert table_of(Fraction(1)).draw(Stream(bytes(32)), 5).dtype == np.int64
