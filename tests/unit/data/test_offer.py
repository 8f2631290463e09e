"""A store as the gate sees it: what is bound, whose records, and views of them."""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.errors import InputError
from flame_fl.data.consents import Provision
from flame_fl.data.layout import Layout, Wanted, layout_of, wanted_of
from flame_fl.data.offer import FixedOffers, Offer
from flame_fl.data.patients import PatientRegister
from flame_fl.data.spec import CohortRule, ConsentRule

TODAY = date(2026, 6, 1)
KEY = b"n" * 32
CODE = "1.2.3"
LAYOUT = Layout("table", "visits.parquet", "pid", "visit", ("labs.csv",))
STATED = DataStore(
    table="visits.parquet", patient_id="pid", record_id="visit", columns=("age",), files=("labs.csv",), features=("hb",)
)
Make = Callable[..., Offer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    place.mkdir()
    table = {
        "pid": ["p1", "p1", "p2", "p3", None],
        "visit": ["v1", "v2", "v3", "v4", "v5"],
        "age": [30, 31, 40, 50, 60],
        "name": ["Ada", "Ada", "Bert", "Cleo", "Dora"],
        "day": [date(2020, 1, 1), date(2020, 3, 1), date(2020, 1, 1), date(2020, 1, 1), date(2020, 1, 1)],
    }
    pq.write_table(pa.table(table), place / "visits.parquet")
    (place / "labs.csv").write_text("visit,hb,secret\nv1,1.0,x1\nv2,2.0,x2\nv3,3.0,x3\nv4,4.0,x4\nv5,5.0,x5\n")
    (place / "notes.txt").write_text("nobody registered this")
    return place


@pytest.fixture
def register(tmp_path: Path) -> PatientRegister:
    return PatientRegister(tmp_path / "patients")


@pytest.fixture
def make(folder: Path, register: PatientRegister) -> Make:
    def made(**changes: Any) -> Offer:
        fields: dict[str, Any] = {
            "layout": LAYOUT, "rule_sha256": "r" * 64, "patients": register, "key": KEY, "pseudonyms": True,
        }  # fmt: skip
        return Offer("visits", folder, "s" * 64, **(fields | changes))

    return made


def view(offer: Offer, into: Path, stated: DataStore = STATED, project: str = "a-project") -> Path:
    offer.view(offer.cohort(stated, TODAY).rows, stated, wanted_of(stated, {}), project, into)
    return into


def column(folder: Path, name: str) -> list[Any]:
    return pq.read_table(folder / "visits.parquet").column(name).to_pylist()  # type: ignore[no-any-return]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestBinding:
    def test_the_bytes_and_the_rule_are_bound(self, make: Make) -> None:
        assert make().binding == f"{'s' * 64}/{'r' * 64}"
        assert make(rule_sha256="").binding == "s" * 64

    @pytest.mark.parametrize(
        "change",
        [{"kind": "vcf"}, {"table": "other.parquet"}, {"patient_id": "visit"}, {"record_id": None},
         {"record_id": "age"}, {"files": ("labs.csv", "more.csv")}],
    )  # fmt: skip
    def test_a_store_laid_out_otherwise_does_not_fit(self, make: Make, change: dict[str, Any]) -> None:
        """Patients would be counted otherwise, or a file would be one that nobody registered."""
        assert make().fits(STATED)
        assert not make().fits(STATED.model_copy(update=change))

    def test_fewer_files_fit(self, make: Make) -> None:
        assert make().fits(STATED.model_copy(update={"files": (), "features": ()}))

    def test_without_a_layout_the_terms_say_it(self, make: Make) -> None:
        """A simulation: one's own data."""
        offer = make(layout=None)
        assert offer.fits(STATED)
        assert offer.cohort(STATED, TODAY).patients == 3
        with pytest.raises(InputError, match="'visits' is not described"):
            offer.kind()


class TestCohort:
    def test_records_that_belong_to_nobody_are_not_used(self, make: Make) -> None:
        found = make().cohort(STATED, TODAY)
        assert (found.rows.tolist(), found.patients) == ([0, 1, 2, 3], 3)

    def test_a_withdrawal_holds_for_the_next_look(self, make: Make, register: PatientRegister) -> None:
        """And it is taken back the same way; a look in between costs no reading."""
        offer = make()
        whole = offer.cohort(STATED, TODAY)
        assert offer.cohort(STATED, TODAY) is whole
        register.opt_out(["p1"])
        less = offer.cohort(STATED, TODAY)
        assert (less.rows.tolist(), less.differs_by(whole.members)) == ([2, 3], 1)
        register.opt_in(["p1"])
        assert offer.cohort(STATED, TODAY).fingerprint == whole.fingerprint

    def test_consents_hold_for_their_days(self, make: Make, register: PatientRegister) -> None:
        """With the day that is asked about, not with the one of the registration."""
        rule = CohortRule(consent=ConsentRule(provisions=(CODE,)))
        offer = make(rule=rule)
        assert offer.cohort(STATED, TODAY).patients == 0
        register.put_provisions(
            [Provision("p2", CODE, True, date(2020, 1, 1), date(2026, 6, 1), "active", date(2020, 1, 1))]
        )
        assert offer.cohort(STATED, TODAY).rows.tolist() == [2]
        assert offer.cohort(STATED, date(2026, 6, 2)).patients == 0
        assert make(rule=rule, patients=None).cohort(STATED, TODAY).patients == 0

    def test_the_analysis_narrows(self, make: Make) -> None:
        stated = STATED.model_validate(STATED.model_dump() | {"where": [{"column": "age", "op": ">", "value": 30}]})
        assert make().cohort(stated, TODAY).rows.tolist() == [1, 2, 3]

    def test_members_are_hashed_under_the_nodes_key(self, make: Make) -> None:
        """The same patient is the same member in every store of a node, and in none of another node's."""
        one, again, other = (make(key=k).cohort(STATED, TODAY).members.tolist() for k in (KEY, KEY, b"m" * 32))
        assert one == again
        assert not set(one) & set(other)
        assert len(set(one)) == 3

    def test_a_register_that_cannot_be_read_lets_nobody_be_used(self, make: Make, register: PatientRegister) -> None:
        offer = make()
        offer.cohort(STATED, TODAY)
        register.opt_out(["p1"])
        (register.folder / "opt-out.txt").write_bytes(b"\xff")
        with pytest.raises(InputError, match="opt-out"):
            offer.cohort(STATED, TODAY)

    def test_many_analyses_do_not_fill_the_memory(self, make: Make) -> None:
        offer = make()
        for least in range(70):
            offer.cohort(STATED.model_copy(update={"min_patients": least + 1}), TODAY)
        assert len(offer._cohorts) == 64

    def test_files_that_changed_give_no_cohort(self, make: Make) -> None:
        def no(*, fully: bool = False) -> None:
            raise InputError("changed")

        with pytest.raises(InputError, match="changed"):
            make(unchanged=no).cohort(STATED, TODAY)


class TestView:
    def test_what_was_approved_and_nothing_else(self, make: Make, tmp_path: Path) -> None:
        """No other column, feature, file or patient; ids are pseudonyms."""
        into = view(make(), tmp_path / "view")
        assert sorted(bytes_of(into)) == ["labs.csv", "store.json", "visits.parquet"]
        assert pq.read_table(into / "visits.parquet").column_names == ["pid", "visit", "age"]
        assert (into / "labs.csv").read_text().splitlines()[0].replace('"', "") == "visit,hb"
        everything = b"".join(bytes_of(into).values())
        for word in (b"Ada", b"secret", b"x1", b"Dora", b"p1", b"p2", b"v1", b"v5", b"nobody registered"):
            assert word not in everything, word
        assert column(into, "age") == [30, 31, 40, 50]

    def test_files_that_are_not_named_are_not_there(self, make: Make, tmp_path: Path) -> None:
        stated = STATED.model_copy(update={"files": (), "features": ()})
        assert sorted(bytes_of(view(make(), tmp_path / "view", stated))) == ["store.json", "visits.parquet"]

    def test_an_app_finds_out_what_it_has(self, make: Make, tmp_path: Path) -> None:
        """From the terms and the registration; no count, no hash, no version."""
        said = json.loads((view(make(shift_days=5), tmp_path / "view") / "store.json").read_text())
        assert said == {
            "flame_store": 1, "name": "visits", "kind": "table", "table": "visits.parquet", "patient_id": "pid",
            "record_id": "visit", "files": ["labs.csv"], "pseudonyms": True, "dates_shifted": True,
        }  # fmt: skip

    def test_pseudonyms_are_one_set_per_project(self, make: Make, tmp_path: Path) -> None:
        """Two projects cannot lay their views beside each other; one project can, also after a restart."""
        one = view(make(), tmp_path / "1")
        again = view(make(), tmp_path / "2")
        other = view(make(), tmp_path / "3", project="other")
        assert bytes_of(one) == bytes_of(again)
        assert not set(column(one, "pid")) & set(column(other, "pid"))
        assert not set(column(one, "visit")) & set(column(other, "visit"))
        assert len(set(column(one, "pid"))) == 3

    def test_plain_ids_only_where_the_steward_said_so(self, make: Make, tmp_path: Path) -> None:
        into = view(make(pseudonyms=False, shift_days=5), tmp_path / "view")
        assert column(into, "pid") == ["p1", "p1", "p2", "p3"]
        said = json.loads((into / "store.json").read_text())
        assert (said["pseudonyms"], said["dates_shifted"]) == (False, False)

    def test_dates_of_a_patient_move_together(self, make: Make, tmp_path: Path) -> None:
        stated = STATED.model_copy(update={"columns": ("day",)})
        moved = column(view(make(shift_days=1000), tmp_path / "view", stated), "day")
        assert (moved[1] - moved[0]).days == 60
        assert moved[0] != date(2020, 1, 1) or moved[2] != date(2020, 1, 1)
        assert all(abs((day - date(2020, 1, 1)).days) <= 1000 for day in (moved[0], moved[2], moved[3]))
        assert len({moved[0], moved[2], moved[3]}) > 1

    def test_a_sandboxs_user_reads_it_and_changes_nothing(self, make: Make, tmp_path: Path) -> None:
        """Whatever the administrator's umask is."""
        before = os.umask(0o077)
        try:
            into = view(make(), tmp_path / "view")
        finally:
            os.umask(before)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (into, *into.rglob("*"))}
        assert modes == {"view": 0o755, "labs.csv": 0o444, "store.json": 0o444, "visits.parquet": 0o444}

    def test_the_files_are_checked_in_full_before(self, make: Make, tmp_path: Path) -> None:
        """Not after the view was made of them."""
        seen: list[bool] = []

        def no(*, fully: bool = False) -> None:
            seen.append(fully)
            if fully:
                raise InputError("changed")

        with pytest.raises(InputError, match="changed"):
            view(make(unchanged=no), tmp_path / "view")
        assert seen == [False, True]
        assert not (tmp_path / "view").exists()

    @pytest.mark.parametrize(("field", "word"), [("columns", "weight"), ("features", "weight")])
    def test_what_is_not_there_is_named(self, make: Make, tmp_path: Path, field: str, word: str) -> None:
        with pytest.raises(InputError, match="'weight'"):
            view(make(), tmp_path / "view", STATED.model_copy(update={field: (word,)}))

    def test_a_view_of_nobody(self, make: Make, tmp_path: Path) -> None:
        """An empty block has the same columns."""
        make().view(np.array([], np.int64), STATED, Wanted(("age",), ("hb",)), "p", tmp_path / "view")
        assert pq.read_table(tmp_path / "view" / "visits.parquet").num_rows == 0
        assert pq.read_table(tmp_path / "view" / "visits.parquet").column_names == ["pid", "visit", "age"]

    def test_the_key_is_in_no_text(self, make: Make) -> None:
        assert "nnnn" not in repr(make()) + repr(make().disguise("p"))


def test_what_is_wanted_may_be_a_file_of_the_bundle() -> None:
    stated = STATED.model_copy(update={"features": (), "features_file": "genes.txt"})
    assert wanted_of(stated, {"genes.txt": b"a\n\n b \r\na\n"}) == Wanted(("age",), ("a", "b"))
    for bundle in ({}, {"genes.txt": b"\xff"}):
        with pytest.raises(InputError, match=r"no text file 'genes\.txt'"):
            wanted_of(stated, bundle)


def test_a_layout_is_the_terms_own() -> None:
    assert layout_of(STATED) == LAYOUT


def test_fixed_offers_have_one_version_each(make: Make) -> None:
    offer = make()
    offers = FixedOffers({"b": offer, "a": replace(offer, name="a")})
    assert list(offers.names()) == ["a", "b"]
    assert offers.get("b") is offer
    assert offers.get("b", offer.binding) is offer
    assert offers.get("b", "another") is None
    assert offers.get("c") is None
