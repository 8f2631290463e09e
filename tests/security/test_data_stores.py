"""Attacks on data stores: by terms an app's author wrote, by what lies in a store, by the course of time."""

import gzip
import json
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.data.cohort import choose
from flame_fl.data.consents import Provision, consenting
from flame_fl.data.disguise import KEY_BYTES, Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.kinds.annotated_open import _codecs
from flame_fl.data.layout import Layout, Wanted, layout_of, wanted_of
from flame_fl.data.offer import Offer
from flame_fl.data.patients import read_ids
from flame_fl.data.snapshot import changed, take, verify
from flame_fl.data.spec import CohortRule, StoreSpec, Window
from flame_fl.node.agent import Agent
from flame_fl.node.config import NodeFiles
from flame_fl.node.data import Adding, DataFiles, add, refresh
from flame_fl.node.offers import NodeOffers
from flame_fl.node.wiring import Node
from tests.support.gates import (
    ENFORCED,
    FakeOffer,
    FakeOffers,
    NoNoise,
    World,
    good_update,
    make_fab,
    terms_table,
)

KEY = b"k" * KEY_BYTES
TODAY = date(2026, 6, 1)
ALL = Wanted(("*",), ("*",), ("*",))
SECRET = "s3cr3t"


def view_of(folder: Path, layout: Layout, rows: list[int], wanted: Wanted = ALL) -> Path:
    """A view of these records."""
    into = folder / "view"
    into.mkdir()
    open_kind(folder, layout).subset(np.array(rows, dtype=np.int64), wanted, Disguise(KEY), into)
    return into


def rows_of(folder: Path, rule: CohortRule, table: str = "t.csv", **how: frozenset[str]) -> list[int]:
    """Which records of a table may be used."""
    rows: list[int] = choose(open_kind(folder, Layout("table", table, "pid")), rule, **how).rows.tolist()  # type: ignore[arg-type]
    return rows


def since(day: date) -> CohortRule:
    return CohortRule(window=Window.model_validate({"column": "day", "from": day}))


# --- terms -----------------------------------------------------------------------------------------------------------


def test_a_list_of_features_in_the_bundle_does_not_ask_for_all_of_them() -> None:
    """The terms name a file, the file holds a star: the steward reads "a list", the app gets every gene."""
    stated = DataStore(table="a.h5ad", patient_id="pid", columns=(), features_file="genes.txt")
    for text in (b"*\n", b"TP53\n*\n", b" * "):
        with pytest.raises(InputError, match="every feature"):
            wanted_of(stated, {"genes.txt": text})


@pytest.mark.parametrize(
    ("kind", "column"),
    [("table", "pid"), ("table", "visit"), ("images", "path"), ("plink", "FID"), ("pgen", "SID")],
)
def test_conditions_do_not_pick_patients_by_what_pseudonyms_hide(kind: str, column: str, tmp_path: Path) -> None:
    """`where` names ten known patients: the app then knows whose the ten pseudonyms are."""
    stated = DataStore.model_validate(
        {
            "kind": kind,
            "table": "t.csv",
            "patient_id": "pid",
            "record_id": "visit",
            "columns": [],
            "where": [{"column": column, "op": "in", "values": ["p1", "p2"]}],
        }
    )
    (tmp_path / "t.csv").write_text("pid,visit,path,FID,SID\np1,p1,p1,p1,p1\n")
    offer = Offer("a", tmp_path, "s", layout_of(stated), key=KEY, pseudonyms=True)
    with pytest.raises(InputError, match="pseudonyms hide"):
        offer.cohort(stated, TODAY)


def test_many_conditions_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A thousand conditions on each of many rows: masks are not kept."""
    people = 20_000
    pq.write_table(pa.table({"pid": [f"p{i}" for i in range(people)], "x": range(people)}), tmp_path / "t.parquet")
    kind = open_kind(tmp_path, Layout("table", "t.parquet", "pid"))
    where = [Condition(column="x", op=">=", value=0)] * 1000
    tracemalloc.start()
    try:
        choose(kind, CohortRule(), where=where)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20  # kept, they would be 20 MB
    finally:
        tracemalloc.stop()


# --- what lies in a store --------------------------------------------------------------------------------------------


def test_a_quote_in_a_fam_does_not_shift_genotypes_to_other_people(tmp_path: Path) -> None:
    """PLINK knows no quotes. Read as CSV, `"F0 … F1"` is one cell: person 0 vanishes, and 1 gets 0's genotypes."""
    lines = ['"F0 I0 0 0 1 -9', 'F1" I1 0 0 1 -9', *(f"F{i} I{i} 0 0 1 -9" for i in range(2, 8))]
    (tmp_path / "c.fam").write_text("\n".join(lines) + "\n")
    (tmp_path / "c.bim").write_text("1 rs1 0 100 A G\n")
    (tmp_path / "c.bed").write_bytes(b"\x6c\x1b\x01\xfc\xff")  # person 0 alone has two copies
    layout = Layout("plink", "c.fam", "IID", None, ("c.bed",))
    assert open_kind(tmp_path, layout).patients() == [f"I{i}" for i in range(8)]
    view = view_of(tmp_path, layout, [1])
    assert (view / "c.fam").read_text().split("\t")[1] == Disguise(KEY).patient("I1")
    assert (view / "c.bed").read_bytes()[3:] == b"\x03"  # none


@pytest.mark.parametrize("packed", [False, True])
def test_a_vcf_does_not_redirect_to_other_files(packed: bool, tmp_path: Path) -> None:
    """HTSlib follows htsget tickets: a "VCF" that is a bit of JSON brings any file or URL into the view."""
    outside = tmp_path / "outside.vcf"
    outside.write_text(
        '##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\n1\t5\t" + SECRET + "\tA\tG\t.\t.\t.\tGT\t0/1\n"
    )
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "t.csv").write_text("pid\nS1\n")
    ticket = json.dumps({"htsget": {"format": "VCF", "urls": [{"url": str(outside)}]}}, separators=(",", ":")).encode()
    name = "g.vcf.gz" if packed else "g.vcf"
    (folder / name).write_bytes(gzip.compress(ticket) if packed else ticket)
    with pytest.raises(InputError, match="is not a VCF"):
        view_of(folder, Layout("vcf", "t.csv", "pid", None, (name,)), [0])


def test_a_dosage_of_a_vcf_is_a_number(tmp_path: Path) -> None:
    """The header declares DS as text, and names stand where dosages are expected."""
    (tmp_path / "t.csv").write_text("pid\nS1\n")
    (tmp_path / "g.vcf").write_text(
        '##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
        '##FORMAT=<ID=DS,Number=1,Type=String,Description="">\n'
        f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\n1\t5\trs\tA\tG\t.\t.\t.\tGT:DS\t0/1:{SECRET}\n"
    )
    view = view_of(tmp_path, Layout("vcf", "t.csv", "pid", None, ("g.vcf",)), [0])
    assert SECRET not in (view / "g.vcf").read_text()


@pytest.mark.parametrize("nobody", ["", " ", "NA", "NaN"])
def test_rows_without_a_record_id_belong_to_nobody(nobody: str, tmp_path: Path) -> None:
    """A record without an id would own every row of a further table that has none either, of whomever it is."""
    pq.write_table(pa.table({"pid": ["p1", "p2"], "rec": [nobody, "r2"]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"rec": [nobody, "r2"], "v": [SECRET, "x"]}), tmp_path / "l.parquet")
    view = view_of(tmp_path, Layout("table", "t.parquet", "pid", "rec", ("l.parquet",)), [0, 1])
    assert pq.read_table(view / "l.parquet").column("v").to_pylist() == ["x"]


@pytest.mark.parametrize("wanted", [("v",), ("v", "pid"), ("*",)])
def test_a_row_of_somebody_else_does_not_come_along_under_the_same_record_id(
    wanted: tuple[str, ...], tmp_path: Path
) -> None:
    """Visits are numbered per patient; a withdrawn one's visit 1 would come with everybody's visit 1."""
    pq.write_table(pa.table({"pid": ["p1"], "rec": ["1"]}), tmp_path / "t.parquet")
    pq.write_table(
        pa.table({"rec": ["1", "1"], "pid": ["p1", "withdrawn"], "v": ["own", SECRET]}), tmp_path / "l.parquet"
    )
    view = view_of(tmp_path, Layout("table", "t.parquet", "pid", "rec", ("l.parquet",)), [0], Wanted((), wanted))
    table = pq.read_table(view / "l.parquet")
    assert table.column("v").to_pylist() == ["own"]
    assert ("pid" in table.column_names) == (wanted != ("v",))


@pytest.mark.parametrize("nobody", ["", '""', '" "', "NA", "nan", "NULL"])
def test_what_programs_write_for_no_id_is_no_patient(nobody: str, tmp_path: Path) -> None:
    """R writes NA where an id is missing: nobody could ever opt that "patient" out."""
    (tmp_path / "t.csv").write_text(f"pid,x\np1,1\n{nobody},2\n")
    assert rows_of(tmp_path, CohortRule()) == [0]


def test_one_cell_that_is_no_date_does_not_open_the_window(tmp_path: Path) -> None:
    """It makes the column text, and as text "31.12.1999" is later than "2020-01-01"."""
    (tmp_path / "t.csv").write_text("pid,day\np1,31.12.1999\np2,05.06.2021\np3,unknown\n")
    assert rows_of(tmp_path, since(date(2020, 1, 1))) == [1]


@pytest.mark.parametrize("odd", ["?", "05.06.2021", "2021-06-05 10:00", "2021-06-05T10:00:00Z"])
def test_one_patient_does_not_decide_on_the_others_by_the_type_of_a_column(odd: str, tmp_path: Path) -> None:
    """Without p3 the column is of another type; who else is in the cohort must stay the same."""
    text = "pid,day\np1,2020-01-01T23:30:00-02:00\np2,2020-01-02T00:30:00+02:00\n"
    (tmp_path / "t.csv").write_text(text)
    without = rows_of(tmp_path, since(date(2020, 1, 2)))
    (tmp_path / "t.csv").write_text(f"{text}p3,{odd}\n")
    assert [row for row in rows_of(tmp_path, since(date(2020, 1, 2))) if row < 2] == without == [1]


def test_a_chunk_that_is_laid_into_a_zarr_folder_is_a_change(tmp_path: Path) -> None:
    """A missing chunk means zeros. Put there after the registration, it was in no list of hashed files."""
    chunks = tmp_path / "a.zarr" / "X" / "c"
    chunks.mkdir(parents=True)
    (chunks / "0").write_bytes(b"x")
    snapshot = take(tmp_path, ["a.zarr/X/c/0"], KEY, mode="in-place")
    assert not changed(snapshot)
    (chunks / "1").symlink_to("/etc/passwd")
    assert changed(snapshot)
    with pytest.raises(InputError, match="content changed"):
        verify(snapshot, KEY)


def test_blosc_is_only_read_where_its_lengths_are_checked() -> None:
    """Behind another codec its chunks would be unpacked by the length they claim, from memory behind them."""
    about = {"zarr_format": 3, "node_type": "array", "data_type": "float32"}
    assert _codecs({**about, "codecs": [{"name": "bytes"}, {"name": "blosc"}]}) == ["bytes", "blosc"]
    for after in ("crc32c", "gzip", "blosc"):
        assert _codecs({**about, "codecs": [{"name": "bytes"}, {"name": "blosc"}, {"name": after}]}) is None


# --- consent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["P1 ", " P1", "\u00a0P1"])
def test_blanks_around_an_id_do_not_keep_a_patient_in(written: str, tmp_path: Path) -> None:
    """Fixed-width exports pad ids; the steward's list, with its BOM and CRLF, is read without blanks."""
    (tmp_path / "leaving.txt").write_bytes(f"\ufeff{written}\r\n\r\n".encode())
    (tmp_path / "t.csv").write_text(f'pid\n"{written}"\nP2\n')
    assert rows_of(tmp_path, CohortRule(), opted_out=frozenset(read_ids(tmp_path / "leaving.txt"))) == [1]


def test_how_an_accent_is_coded_does_not_keep_a_patient_in(tmp_path: Path) -> None:
    """macOS writes ü as two characters, the export as one."""
    (tmp_path / "t.csv").write_text("pid\nM\u00fcller\nP2\n")
    assert rows_of(tmp_path, CohortRule(), opted_out=frozenset({"Mu\u0308ller"})) == [1]


def test_a_permit_of_tomorrow_does_not_overrule_a_refusal_of_today() -> None:
    """A Consent dated 2099 would be the newest decision for ever."""
    refusal = Provision("p", "c", False, None, None, "active", TODAY)
    permit = Provision("p", "c", True, None, None, "active", date(2099, 1, 1))
    assert consenting([refusal, permit], frozenset({"c"}), TODAY) == frozenset()
    assert consenting([permit], frozenset({"c"}), TODAY) == frozenset()
    assert consenting([refusal, permit], frozenset({"c"}), date(2099, 1, 1)) == frozenset({"p"})


class Clinic:
    """One DIZ with a real, registered store of forty patients, and a gate round it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = DataFiles(folder / "state")
        self.files.state.mkdir(mode=0o700)
        self.offers = NodeOffers(self.files.registry, self.files.patients, KEY)
        self.world = World(folder / "state", data=self.offers, noise=NoNoise())  # type: ignore[arg-type]
        self.put(40)
        self.register()

    def put(self, patients: int) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        table = pa.table({"patient_id": [f"p{i}" for i in range(patients)], "value": range(patients)})
        pq.write_table(table, self.folder / "data" / "samples.parquet")

    def register(self, **changes: object) -> str:
        stated = {
            "layout": {"table": "samples.parquet", "patient_id": "patient_id"},
            "source": {"type": "folder", "path": str(self.folder / "data")},
        }
        how = Adding(KEY, by="ada", copy=True, replace=True)
        return add(
            self.files, self.world.store, "cohort", StoreSpec.model_validate(stated | changes), how
        ).current.binding

    def pseudonym(self, patient: str) -> str:
        offer = self.offers.get("cohort")
        assert offer is not None
        return offer.disguise("a-project").patient(patient)

    def shown(self) -> list[str]:
        """Patients in the view that the last session was given."""
        ids: list[str] = pq.read_table(self.world.sandbox.specs[-1].data["cohort"] / "samples.parquet")[
            "patient_id"
        ].to_pylist()
        return ids


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.world.gate.stop()
    made.world.store.close()


FAB = make_fab()
NOISY = make_fab(terms_table(privacy=ENFORCED))


def test_an_older_version_of_a_store_respects_opt_outs_too(clinic: Clinic) -> None:
    """An analysis keeps the version it was approved for; who left since must not be in it."""
    clinic.world.decide(NOISY)
    clinic.put(60)
    refresh(clinic.files, clinic.world.store, "cohort", Adding(KEY, by="ada", copy=True))
    clinic.files.patients.opt_out(["p3"])
    clinic.world.released(NOISY)
    assert len(clinic.shown()) == 39
    assert clinic.pseudonym("p3") not in clinic.shown()


@pytest.mark.parametrize(
    "weaker", [{"pseudonyms": False}, {"cohort": {"where": [{"column": "value", "op": ">=", "value": 0}]}}]
)
def test_another_rule_does_not_slip_under_an_old_approval(weaker: dict[str, object], clinic: Clinic) -> None:
    """`data add` again, with ids as they are: what was approved before goes on with its own rule."""
    clinic.world.decide(FAB)
    hidden = clinic.pseudonym("p0")
    clinic.register(**weaker)
    clinic.world.released(FAB)
    assert hidden in clinic.shown()
    clinic.world.decide(FAB)  # only now does the new rule hold
    clinic.world.released(FAB, leg="2")
    assert (hidden in clinic.shown()) == ("pseudonyms" not in weaker)


def test_a_stored_reply_is_not_sent_again_once_the_cohort_shrank(clinic: Clinic) -> None:
    """Without a claim, also the old bytes stay here: 907."""
    clinic.world.decide(FAB)
    clinic.world.released(FAB)
    clinic.files.patients.opt_out(["p3"])
    assert clinic.world.code(FAB) is RefusalCode.WITHDRAWN_OR_EXPIRED
    assert not any((clinic.folder / "state" / "views").glob("*"))


def test_a_withdrawal_while_the_app_works_lets_nothing_of_the_patient_leave(clinic: Clinic) -> None:
    """The app sees all forty, and one of them leaves before it answers: zeros under a claim."""
    clinic.world.decide(NOISY)

    def answer(message: object) -> object:
        clinic.files.patients.opt_out(["p3"])
        return good_update()

    clinic.world.sandbox.answer = answer  # type: ignore[assignment]
    content = clinic.world.released(NOISY)
    assert not any(array.any() for array in content.arrays["arrays"].values())
    assert clinic.world.sandbox.sessions[0].closed


def test_pseudonyms_of_two_projects_cannot_be_laid_side_by_side(clinic: Clinic) -> None:
    """Nor does a view hold anything from which they were made."""
    offer = clinic.offers.get("cohort")
    assert offer is not None
    first, second = ({offer.disguise(p).patient(f"p{i}") for i in range(40)} for p in ("a-project", "another"))
    assert not first & second
    clinic.world.decide(FAB)
    clinic.world.released(FAB)
    spec = clinic.world.sandbox.specs[0]
    for path in spec.data["cohort"].rglob("*"):
        assert KEY not in path.read_bytes()
        assert b"p17" not in path.read_bytes()
    assert KEY.decode() not in repr((spec, offer, Adding(KEY, by="ada"), clinic.offers, clinic.world.audit()))


def test_consent_ends_at_midnight_in_the_middle_of_a_warm_session(clinic: Clinic) -> None:
    """No file changes then: the day alone makes the cohort another one."""
    clinic.register(cohort={"consent": {"provisions": ["1.2"]}})
    clinic.files.patients.put_provisions(
        [
            Provision(f"p{i}", "1.2", True, None, TODAY if i == 3 else None, "active", date(2020, 1, 1))
            for i in range(40)
        ]
    )
    clinic.world.decide(NOISY)
    clinic.world.released(NOISY, leg="1")
    assert len(clinic.shown()) == 40
    clinic.world.today = date(2026, 6, 2)
    assert clinic.world.gate.end_changed() == 1
    clinic.world.released(NOISY, leg="2")
    assert len(clinic.shown()) == 39


# --- what leaves -----------------------------------------------------------------------------------------------------


def test_one_damaged_record_is_not_told_under_a_claim(tmp_path: Path) -> None:
    """An app chooses by `where` whose images are copied: 908 would say whether the damaged one is among them."""

    class Damaged(FakeOffer):
        def views(self, *arguments: object) -> None:
            raise InputError("Row 7: The PNG image cannot be read.")

    world = World(tmp_path, data=FakeOffers(cohort=Damaged(tmp_path / "cohort")), noise=NoNoise())
    world.decide(NOISY)
    content = world.released(NOISY)
    assert not any(array.any() for array in content.arrays["arrays"].values())
    assert "Row 7" in world.detail
    assert [entry.state for entry in world.releases] == ["committed"]
    world.store.close()


def test_the_watch_over_withdrawals_outlives_what_it_says() -> None:
    """A log that cannot be written would end the thread, and from then on withdrawals would wait for a message."""
    looks = threading.Semaphore(0)

    class Gate:
        def end_changed(self) -> int:
            looks.release()
            return 1

    def say(text: str) -> None:
        raise BrokenPipeError

    agent = Agent(None, Gate(), None, say)  # type: ignore[arg-type]
    pauses = iter([False, False, True])
    agent._stop.wait = lambda seconds: next(pauses)  # type: ignore[method-assign, assignment, misc]
    agent.watch_sessions()
    assert looks.acquire(timeout=0)
    assert looks.acquire(timeout=0)


def test_a_short_key_makes_no_pseudonyms(tmp_path: Path) -> None:
    """A file that was cut short, on a full disk for example: its pseudonyms could be computed by anybody."""
    files = NodeFiles(tmp_path)
    files.data_key.parent.mkdir(parents=True, exist_ok=True)
    for key in (b"", b"k" * (KEY_BYTES - 1)):
        files.data_key.write_bytes(key)
        with pytest.raises(InputError, match="cannot be read"):
            _ = Node(None, files).data_key  # type: ignore[arg-type]
