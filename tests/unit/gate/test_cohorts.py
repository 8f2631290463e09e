"""Answers about cohorts that differ by a few patients, laid beside each other, would show those few."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.data.cohort import Cohort
from flame_fl.data.layout import Wanted
from flame_fl.gate.cohorts import Members, StoreUse, fingerprints, require_no_difference
from flame_fl.gate.store import Store
from tests.support.gates import FakeOffer

PEOPLE = st.sets(st.integers(0, 40), max_size=30)


def members(people: set[int] | range) -> Members:
    return np.array(sorted(people), np.uint64)


def cohort(people: set[int] | range) -> Cohort:
    found = members(people)
    return Cohort(found.astype(np.int64), len(found), found)


def refused(now: set[int] | range, *released: set[int] | range, least: int = 10) -> str:
    with pytest.raises(RefusedError) as caught:
        require_no_difference("visits", cohort(now), [members(r) for r in released], least)
    assert caught.value.code is RefusalCode.WITHDRAWN_OR_EXPIRED
    return caught.value.detail


def test_nothing_was_released_yet() -> None:
    require_no_difference("visits", cohort(range(5)), [], 10)


def test_the_same_patients_again() -> None:
    require_no_difference("visits", cohort(range(100)), [members(range(100))], 10)


@pytest.mark.parametrize("gone", [1, 9])
def test_a_few_went(gone: int) -> None:
    """The store and the numbers are for the node's own log."""
    detail = refused(range(100 - gone), range(100))
    assert "'visits'" in detail
    assert f"differs by {gone} patients" in detail
    assert "until 10 differ" in detail


def test_a_few_came() -> None:
    refused(range(101), range(100))


def test_enough_differ() -> None:
    require_no_difference("visits", cohort(range(90)), [members(range(100))], 10)


def test_who_came_and_who_went_both_count() -> None:
    """Five of each: neither side alone is enough, the difference shows ten together."""
    require_no_difference("visits", cohort(range(5, 105)), [members(range(100))], 10)
    refused(range(4, 104), range(100))


def test_every_earlier_release_counts() -> None:
    """Also one long ago: it is still in somebody's hands."""
    refused(range(100), range(50), range(99), range(10))


@given(now=PEOPLE, released=st.lists(PEOPLE, max_size=4), least=st.integers(1, 12))
def test_it_refuses_exactly_where_a_difference_is_small(now: set[int], released: list[set[int]], least: int) -> None:
    small = any(0 < len(now ^ earlier) < least for earlier in released)
    try:
        require_no_difference("s", cohort(now), [members(r) for r in released], least)
    except RefusedError:
        assert small
    else:
        assert not small


def test_fingerprints_by_store(tmp_path: Path) -> None:
    stated = DataStore(table="samples.parquet", patient_id="patient_id", columns=("*",))
    offer = FakeOffer(tmp_path)
    uses = {name: StoreUse(offer, stated, Wanted(), offer.cohort(stated, date(2026, 1, 1))) for name in ("a", "b")}
    before = fingerprints(uses)
    assert before["a"] == before["b"]
    offer.people = range(99)
    uses["b"] = StoreUse(offer, stated, Wanted(), offer.cohort(stated, date(2026, 1, 1)))
    assert fingerprints(uses)["a"] == before["a"]
    assert fingerprints(uses)["b"] != before["b"]


def test_the_state_keeps_every_cohort_once(tmp_path: Path) -> None:
    """By analysis and by store, also after a restart."""
    store = Store(tmp_path / "state.db", durable=False)
    for people in (range(100), range(100), range(90)):
        store.note_cohort("d1", "visits", members(people))
    store.note_cohort("d1", "labs", members(range(7)))
    store.note_cohort("d2", "visits", members(range(8)))
    store.close()
    store = Store(tmp_path / "state.db", durable=False)
    kept = sorted(found.tolist() for found in store.released_cohorts("d1", "visits"))
    assert kept == [list(range(90)), list(range(100))]
    assert [found.tolist() for found in store.released_cohorts("d2", "visits")] == [list(range(8))]
    assert store.released_cohorts("d3", "visits") == []
    store.close()
