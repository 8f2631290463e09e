"""Two cohorts are the same, or differ by enough patients; how that is counted, and how fast."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.disclosure_differences import Members, differing, require_apart, small_difference

PEOPLE = st.sets(st.integers(0, 60) | st.integers(2**64 - 5, 2**64 - 1), max_size=40)


def members(people: "set[int] | range") -> Members:
    return np.array(sorted(people), np.uint64)


class TestCount:
    @given(ours=PEOPLE, theirs=PEOPLE, most=st.integers(1, 50))
    def test_it_is_the_size_of_the_symmetric_difference_up_to_the_most(
        self, ours: set[int], theirs: set[int], most: int
    ) -> None:
        assert differing(members(ours), members(theirs), most) == min(most, len(ours ^ theirs))

    @given(start=st.integers(0, 400), gone=st.sets(st.integers(0, 999), max_size=12))
    def test_also_where_the_common_parts_are_longer_than_a_stride(self, start: int, gone: set[int]) -> None:
        people = set(range(start, start + 1000))
        less = people - {start + g for g in gone}
        assert differing(members(people), members(less), 20) == len(gone)
        assert differing(members(less), members(people), 20) == len(gone)

    def test_it_does_not_change_with_the_order_of_the_two(self) -> None:
        assert differing(members(range(5)), members(range(3, 9)), 100) == 7
        assert differing(members(range(3, 9)), members(range(5)), 100) == 7


class TestDecision:
    @given(now=PEOPLE, earlier=st.lists(PEOPLE, max_size=5), least=st.integers(1, 12))
    def test_it_refuses_exactly_where_a_difference_is_small(
        self, now: set[int], earlier: list[set[int]], least: int
    ) -> None:
        small = [len(now ^ e) for e in earlier if 0 < len(now ^ e) < least]
        assert small_difference(members(now), map(members, earlier), least) == (small[0] if small else 0)

    def test_the_refusal_says_how_many_for_the_nodes_own_log(self) -> None:
        with pytest.raises(RefusedError) as caught:
            require_apart("visits", members(range(99)), [members(range(50)), members(range(100))], 10)
        assert caught.value.code is RefusalCode.WITHDRAWN_OR_EXPIRED
        assert "'visits' differs by 1 patients" in caught.value.detail
        assert "until 10 differ" in caught.value.detail

    def test_the_same_patients_and_others_are_no_difference(self) -> None:
        require_apart("visits", members(range(100)), [members(range(100)), members(range(90))], 10)


def test_a_thousand_cohorts_that_are_nearly_the_same_take_no_time_to_speak_of() -> None:
    """The slow case: ten of 20,000 patients differ, at the very end. Without the walk it is a sort for each."""
    people = members(range(20_000))

    def earlier() -> Iterator[Members]:
        other = members(range(10, 20_000))
        yield from (other[:-1] for _ in range(500))
        yield from (people[:-10] for _ in range(500))

    began = time.perf_counter()
    assert small_difference(people, earlier(), 10) == 0
    assert time.perf_counter() - began < 5  # 0.1 s here; sorting takes 1 s or more, and this may be a busy machine
