"""Counts: which leave, which do not, and what can be worked out from those that do."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.disclosure_cells import CellNoise, Cells, as_counts, protect

NOISE = CellNoise(b"k" * 32, "c" * 64, "m" * 64)
TABLES = arrays.arrays(
    np.int64,
    arrays.array_shapes(min_dims=0, max_dims=3, max_side=5),
    elements=st.integers(0, 3) | st.integers(0, 40) | st.integers(0, 10_000),
)


def protected(table: Any, **changes: Any) -> Cells:
    return protect(np.array(table, np.int64), "array 'a'/'h'", Disclosure.model_validate(changes), NOISE)


class TestCounts:
    @pytest.mark.parametrize(
        "values",
        [np.array([1.5]), np.array([-1]), np.array([-1.0]), np.array([2.0**60]), np.array([2**63], np.uint64)],
        ids=str,
    )
    def test_what_is_no_count_is_refused(self, values: Any) -> None:
        with pytest.raises(RefusedError) as caught:
            as_counts(values, "array 'a'/'h'")
        assert caught.value.code is RefusalCode.RELEASE_REJECTED
        assert caught.value.detail == "array 'a'/'h' is no count"

    @pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint64", "bool"])
    def test_whole_numbers_of_any_dtype_are(self, dtype: str) -> None:
        assert as_counts(np.array([0, 1, 1], dtype), "x").tolist() == [0, 1, 1]
        assert as_counts(np.zeros((0, 3), dtype), "x").shape == (0, 3)


class TestSuppress:
    def test_small_ones_leave_as_zero(self) -> None:
        cells = protected([4, 5, 0, 10, 30])
        assert cells.values.tolist() == [0, 0, 0, 0, 30]
        assert (cells.small, cells.complementary) == (2, 1)

    def test_hidden_ones_that_are_enough_together_need_no_other(self) -> None:
        assert protected([9, 9, 20]).values.tolist() == [0, 0, 20]

    def test_a_table_without_small_cells_leaves_as_it_is(self) -> None:
        cells = protected([[10, 0], [20, 30]])
        assert cells.values.tolist() == [[10, 0], [20, 30]]
        assert (cells.small, cells.complementary) == (0, 0)

    def test_one_number_by_itself(self) -> None:
        assert protected(9).values.tolist() == 0
        assert protected(10).values.tolist() == 10

    def test_without_complements_the_margin_gives_the_cell_away(self) -> None:
        left = protected([3, 50, 60], complementary=False, exemption="a reason").values
        assert 113 - left.sum() == 3

    @given(counts=TABLES)
    def test_no_lines_sum_tells_what_is_hidden_in_it(self, counts: Any) -> None:
        """In each row, column and layer nothing is hidden; or two cells or more are, with ten patients or more; or all
        others are 0, and what is hidden looks like them.
        """
        counts = np.asarray(counts)
        left = protect(counts, "x", Disclosure(), NOISE).values
        assert np.isin(left[counts != left], 0).all()
        assert not ((left > 0) & (left < 10)).any()
        for axis in range(counts.ndim):
            lines = np.moveaxis(counts, axis, -1).reshape(-1, counts.shape[axis])
            shown = np.moveaxis(left, axis, -1).reshape(lines.shape)
            for line, seen in zip(lines, shown, strict=True):
                hidden = line[line != seen]
                alone = np.count_nonzero(line) == len(hidden)
                assert not len(hidden) or alone or (len(hidden) >= 2 and hidden.sum() >= 10)


class TestRound:
    def test_to_the_nearest_multiple(self) -> None:
        cells = protected([0, 4, 5, 14, 15, 104], counts="round")
        assert cells.values.tolist() == [0, 0, 10, 10, 20, 100]
        assert cells.small == 2

    @given(counts=TABLES, base=st.integers(10, 100))
    def test_it_moves_by_half_the_multiple_at_most(self, counts: Any, base: int) -> None:
        left = protected(counts, counts="round", round_to=base).values
        assert not np.any(np.asarray(left) % base)
        assert np.all(np.abs(left - counts) <= base / 2)


class TestRefuse:
    def test_a_small_cell_lets_nothing_leave(self) -> None:
        with pytest.raises(RefusedError, match="RELEASE_REJECTED") as caught:
            protected([3, 4, 50], counts="refuse")
        assert caught.value.detail == "array 'a'/'h' has 2 cells of fewer than 10 patients"

    def test_none_lets_all_leave(self) -> None:
        assert protected([0, 50], counts="refuse").values.tolist() == [0, 50]


class TestNoise:
    COUNTS = np.arange(0, 500).reshape(5, 100)

    def draws(self, noise: CellNoise = NOISE, place: str = "x", most: int = 6) -> Any:
        return noise.draw(place, self.COUNTS, most)

    def test_the_same_question_has_the_same_noise(self) -> None:
        again = CellNoise(NOISE.key, NOISE.cohort, NOISE.message)
        assert np.array_equal(self.draws(), self.draws(again))

    @pytest.mark.parametrize(
        ("key", "cohort", "message", "place"),
        [
            (b"l" * 32, "c" * 64, "m" * 64, "x"),
            (b"k" * 32, "d" * 64, "m" * 64, "x"),
            (b"k" * 32, "c" * 64, "n" * 64, "x"),
            (b"k" * 32, "c" * 64, "m" * 64, "y"),
        ],
        ids=["key", "cohort", "message", "place"],
    )
    def test_another_key_cohort_message_or_place_has_other_noise(
        self, key: bytes, cohort: str, message: str, place: str
    ) -> None:
        """Two draws are equal with a probability below 1/4 each; of 500, more than half are with one below 1e-30."""
        assert (self.draws() == self.draws(CellNoise(key, cohort, message), place)).mean() < 0.5

    def test_the_first_layer_stays_where_only_the_message_is_another(self) -> None:
        """What averaging over messages leads to: a whole number for each count, and 0 for a quarter of them only."""
        counts = np.arange(100)
        first = []
        for cohort in ("c" * 64, "d" * 64):
            messages = (CellNoise(NOISE.key, cohort, f"{m:064x}") for m in range(800))
            mean = np.mean([noise.draw("x", counts, 6) for noise in messages], axis=0)
            # six times the standard deviation of the second layer's mean
            assert np.abs(mean - np.rint(mean)).max() < 0.34
            assert 0.05 < (np.rint(mean) == 0).mean() < 0.5
            first.append(np.rint(mean))
        assert (first[0] == first[1]).mean() < 0.5  # another cohort has another

    def test_its_distribution_is_that_of_two_differences_of_uniform_draws(self) -> None:
        """200,000 draws at different counts; each value's frequency is within 6 standard errors (alpha below 1e-7).

        A layer of another size, or one layer alone, moves the frequency of 0 by more than 0.02: 25 standard errors.
        """
        half = np.convolve(np.full(4, 1 / 4), np.full(4, 1 / 4))
        expected = np.convolve(half, half)
        counts = np.arange(200_000)
        draws = NOISE.draw("x", counts, 6)
        seen = np.bincount(draws + 6, minlength=13) / len(counts)
        assert len(seen) == 13
        assert np.all(np.abs(seen - expected) < 6 * np.sqrt(expected * (1 - expected) / len(counts)))

    @given(counts=TABLES)
    def test_what_leaves_is_near_and_never_small(self, counts: Any) -> None:
        left = np.asarray(protected(counts, counts="noise").values)
        assert not ((left > 0) & (left < 10)).any()
        assert np.all((np.abs(left - counts) <= 6) | ((left == 0) & (counts < 16)))

    def test_nobody_stays_nobody(self) -> None:
        assert not protected(np.zeros(1000), counts="noise").values.any()
