"""What the gate remembers of the patients behind an answer (what may differ: test_disclosure_differences.py)."""

from datetime import date
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from flame_fl.contract.data_terms import DataStore
from flame_fl.data.layout import Wanted
from flame_fl.gate.cohorts import Members, StoreUse, fingerprints
from flame_fl.gate.store import Store
from tests.support.gates import FakeOffer


def members(people: set[int] | range) -> Members:
    return np.array(sorted(people), np.uint64)


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
        store.note_cohort("d1", "visits", members(people), "patients", "none")
    store.note_cohort("d1", "mice", members(range(7)), "mice", "none")
    store.note_cohort("d2", "visits", members(range(8)), "patients", "reviewed")
    store.close()
    store = Store(tmp_path / "state.db", durable=False)

    def kept(name: str, **how: str) -> list[int]:
        found = store.released_cohorts(name, **how)
        assert all(len(store.members_of(one)) == len(set(store.members_of(one))) for one in found)
        return sorted(len(store.members_of(one)) for one in found)

    assert kept("visits") == [8, 90, 100]
    assert kept("mice") == [7]
    assert kept("visits", digest="d1") == [90, 100]
    assert sha256(members(range(90)).tobytes()).hexdigest() in store.released_cohorts("visits")
    assert kept("others") == []
    store.close()


@pytest.mark.parametrize("ground", ["vetted", "enforced"])
def test_what_left_under_a_claim_has_no_difference_to_be_taken(tmp_path: Path, ground: str) -> None:
    """Its noise covers one patient more or less; comparing exactly would tell of one."""
    store = Store(tmp_path / "state.db", durable=False)
    store.note_cohort("d", "visits", members(range(100)), "patients", ground)
    assert store.released_cohorts("visits") == set()
    store.close()
