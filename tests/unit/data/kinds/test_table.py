"""Tables as data stores: a view has what was asked for and nothing else, and no trace of anybody else."""

import os
import zlib
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.disguise import Disguise, block_of
from flame_fl.data.kinds.table import TableKind
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.schema import Column, Features, StoreSchema
from tests.support.rows import rows_of

SECRET = Disguise(b"k" * 32, 30)
EVERYTHING = Wanted(columns=ALL, features=ALL)
FORMATS = ("csv", "tsv", "parquet")


def store(folder: Path, form: str = "parquet", patients: Iterable[int] = range(6), **options: Any) -> TableKind:
    """Two visits of each patient, laboratory values by visit, genes by patient."""
    folder.mkdir(parents=True, exist_ok=True)
    of = [p for p in patients for _ in range(2)]
    visits = [f"v{p}-{i % 2}" for i, p in enumerate(of)]
    born = [date(1950, 1, 1) + timedelta(days=100 * p) for p in of]
    main = pa.table(
        {
            "patient": pa.array([f"p{p:03d}" for p in of], pa.string()),
            "visit": pa.array(visits, pa.string()),
            "age": pa.array([40 + p for p in of], pa.int64()),
            "site": pa.array([f"site-{p}" for p in of], pa.string()).dictionary_encode(),
            "born": pa.array(born, pa.date32()),
            "seen": pa.array(
                [f"{d:%d.%m.%Y}" if p % 2 else "unbekannt" for p, d in zip(of, born, strict=True)], pa.string()
            ),
            "code": pa.array([f"00{p}" for p in of], pa.string()),
        }
    ).replace_schema_metadata({"pandas": f"{len(of)} rows CANARY"})
    lab = pa.table(
        {
            "visit": pa.array(list(reversed(visits)), pa.string()),
            "hb": pa.array([p / 3 if p % 4 else None for p in reversed(of)], pa.float64()),
            "note": pa.array([f"note-{p}" for p in reversed(of)], pa.string()),
        }
    )
    people = list(dict.fromkeys(of))
    genes = pa.table(
        {"patient": [f"p{p:03d}" for p in people], **{f"g{i}": [float(p * i) for p in people] for i in range(4)}}
    )
    for name, table in (("main", main), ("lab", lab), ("genes", genes)):
        path = folder / f"{name}.{form}"
        if form == "parquet":
            pq.write_table(table, path, **options)
        else:
            records.write(path, records.plain(table))
    files = (f"lab.{form}", f"genes.{form}")
    return TableKind(folder, Layout("table", f"main.{form}", "patient", "visit", files))


def view(
    kind: TableKind, into: Path, patients: set[str], wanted: Wanted = EVERYTHING, disguise: Disguise = SECRET
) -> dict[str, bytes]:
    into.mkdir(parents=True)
    kind.subset(rows_of(kind.patients(), patients), wanted, disguise, into)
    return {str(p.relative_to(into)): p.read_bytes() for p in into.rglob("*") if p.is_file()}


# What it says of itself


@pytest.mark.parametrize("form", FORMATS)
def test_a_store_says_names_and_types_and_no_value(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path, form)
    schema = kind.schema()
    assert [(c.name, c.type) for c in schema.columns][:4] == [
        ("patient", "string"), ("visit", "string"), ("age", "int"), ("site", "string"),
    ]  # fmt: skip
    assert [(f.file, f.names, f.type) for f in schema.features] == [
        (f"lab.{form}", ("hb", "note"), "other"),
        (f"genes.{form}", ("g0", "g1", "g2", "g3"), "float" if form == "parquet" else schema.features[1].type),
    ]
    assert schema.layout == kind.layout
    assert "site-" not in schema.model_dump_json()
    assert kind.snapshot() == tuple(sorted([f"main.{form}", f"lab.{form}", f"genes.{form}"]))


def test_patients_are_in_the_order_of_the_table(tmp_path: Path) -> None:
    assert store(tmp_path, patients=[3, 1]).patients() == ["p003", "p003", "p001", "p001"]


def test_columns_for_filters_are_typed(tmp_path: Path) -> None:
    table = store(tmp_path, "csv").records(["born", "age"])
    assert table.column("born").to_pylist()[0] == date(1950, 1, 1)
    assert table.column("age").to_pylist()[0] == 40


# What a view has


@pytest.mark.parametrize("form", FORMATS)
def test_a_view_has_what_was_asked_for_and_nothing_else(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    wanted = Wanted(columns=("age",), features=("hb", "g2"))
    files = view(kind, tmp_path / "view", {"p001", "p004"}, wanted, Disguise())
    assert set(files) == set(kind.snapshot())
    shown = TableKind(tmp_path / "view", kind.layout)
    assert shown.schema().columns == tuple(c for c in kind.schema().columns if c.name in {"patient", "visit", "age"})
    assert shown.records(["patient", "visit", "age"]).to_pylist() == [
        {"patient": f"p00{p}", "visit": f"v{p}-{i}", "age": 40 + p} for p in (1, 4) for i in (0, 1)
    ]
    lab = records.read(tmp_path / "view" / f"lab.{form}", ["visit", "hb"]).to_pylist()
    assert [(row["visit"], row["hb"]) for row in lab] == [
        ("v4-1", None), ("v4-0", None), ("v1-1", pytest.approx(1 / 3)), ("v1-0", pytest.approx(1 / 3)),
    ]  # fmt: skip
    genes = records.read(tmp_path / "view" / f"genes.{form}", ["patient", "g2"])
    assert genes.to_pylist() == [{"patient": "p001", "g2": 2}, {"patient": "p004", "g2": 8}]
    assert records.schema_of(tmp_path / "view" / f"genes.{form}").names == ["patient", "g2"]


@pytest.mark.parametrize("form", FORMATS)
def test_without_wishes_there_are_ids_alone(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    view(kind, tmp_path / "view", {"p001"}, Wanted())
    names = {p.name: records.schema_of(p).names for p in (tmp_path / "view").iterdir()}
    assert names == {f"main.{form}": ["patient", "visit"], f"lab.{form}": ["visit"], f"genes.{form}": ["patient"]}


@pytest.mark.parametrize("form", FORMATS)
def test_ids_are_pseudonyms_everywhere_and_still_fit(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    files = view(kind, tmp_path / "view", {"p001", "p002"})
    assert not [name for name, data in files.items() if b"p001" in data or b"v1-0" in data]
    shown = TableKind(tmp_path / "view", kind.layout)
    table = shown.records(["patient", "visit"])
    assert set(table.column("patient").to_pylist()) == {SECRET.patient("p001"), SECRET.patient("p002")}
    assert set(records.ids(tmp_path / "view" / f"lab.{form}", "visit")) == set(table.column("visit").to_pylist())
    assert records.ids(tmp_path / "view" / f"genes.{form}", "patient") == [
        SECRET.patient("p001"),
        SECRET.patient("p002"),
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_dates_move_with_their_patient_in_a_column_of_mixed_text_too(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    view(kind, tmp_path / "view", {"p001", "p002"})
    shown = records.read(tmp_path / "view" / f"main.{form}", ["born", "seen"], typed=False).to_pylist()
    expected = date(1950, 1, 1) + timedelta(days=100 + SECRET.days("p001"))
    assert str(shown[0]["born"]) == expected.isoformat()
    assert shown[0]["seen"] == f"{expected:%d.%m.%Y}"
    assert shown[2]["seen"] == "unbekannt"


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_text_stays_as_it_is_written(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    view(kind, tmp_path / "view", {"p001"}, Wanted(columns=("code",)))
    assert records.read(tmp_path / "view" / f"main.{form}", ["code"], typed=False).column(0).to_pylist() == ["001"] * 2


def test_a_further_table_with_both_ids_hides_both(tmp_path: Path) -> None:
    kind = store(tmp_path / "store")
    lab = pa.table({"visit": ["v1-0", "v2-0"], "patient": ["p001", "p002"], "hb": [1.0, 2.0]})
    pq.write_table(lab, tmp_path / "store" / "lab.parquet")
    files = view(kind, tmp_path / "view", {"p001"})
    assert b"p001" not in b"".join(files.values())
    shown = pq.read_table(tmp_path / "view" / "lab.parquet").to_pylist()
    assert shown == [{"visit": SECRET.record("v1-0"), "patient": SECRET.patient("p001"), "hb": 1.0}]


def test_files_below_folders_keep_their_place(tmp_path: Path) -> None:
    (tmp_path / "store" / "a").mkdir(parents=True)
    records.write(tmp_path / "store" / "a" / "t.csv", pa.table({"p": ["1"], "x": [1]}))
    kind = TableKind(tmp_path / "store", Layout("table", "a/t.csv", "p"))
    assert set(view(kind, tmp_path / "view", {"1"})) == {"a/t.csv"}


@pytest.mark.parametrize("form", FORMATS)
def test_a_view_of_nobody_has_all_files_and_no_row(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    view(kind, tmp_path / "view", set())
    assert TableKind(tmp_path / "view", kind.layout).patients() == []
    assert set(os.listdir(tmp_path / "view")) == set(kind.snapshot())  # noqa: PTH208


@pytest.mark.parametrize("form", FORMATS)
def test_a_further_table_without_rows(tmp_path: Path, form: str) -> None:
    kind = store(tmp_path / "store", form)
    records.write(
        tmp_path / "store" / f"lab.{form}",
        pa.table({"visit": pa.array([], pa.string()), "hb": pa.array([], pa.float64())}),
    )
    assert set(view(kind, tmp_path / "view", {"p001"})) == set(kind.snapshot())


# What a view does not depend on


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wanted", [EVERYTHING, Wanted(columns=("site", "seen"), features=("note", "g1"))])
def test_another_patient_s_removal_changes_no_bit(tmp_path: Path, form: str, wanted: Wanted) -> None:
    """Decision 33: every block but that patient's."""
    blocks = {f"p{p:03d}": block_of(b"b" * 32, f"p{p:03d}", 3) for p in range(12)}
    gone = 5
    full = store(tmp_path / "full", form, range(12))
    less = store(tmp_path / "less", form, [p for p in range(12) if p != gone])
    seen = set()
    for block in set(blocks.values()) - {blocks[f"p{gone:03d}"]}:
        members = {p for p, b in blocks.items() if b == block}
        before = view(full, tmp_path / f"{block}-before", members, wanted)
        assert before == view(less, tmp_path / f"{block}-after", members, wanted)
        seen.add(zlib.crc32(repr(sorted(before.items())).encode()))
    assert len(seen) == 2


@settings(max_examples=30)
@given(st.sets(st.integers(0, 30), min_size=1), st.integers(1, 20), st.integers(1, 20), st.data())
def test_nor_do_others_or_row_groups_or_encodings_of_the_source(
    tmp_path_factory: pytest.TempPathFactory, others: set[int], one: int, other: int, data: st.DataObject
) -> None:
    """The same patients within another cohort, in other row groups, compressed in another way."""
    folder = tmp_path_factory.mktemp("views")
    own = data.draw(st.sets(st.sampled_from(sorted(others)), min_size=1))
    members = {f"p{p:03d}" for p in own}
    cells = data.draw(st.sampled_from([20, 100, 10_000]))
    with pytest.MonkeyPatch.context() as patch:
        a = store(folder / "a", patients=sorted(others), row_group_size=one, use_dictionary=True, compression="zstd")
        b = store(folder / "b", patients=sorted(own), row_group_size=other, use_dictionary=False, data_page_size=64)
        patch.setattr(records, "_BATCH_CELLS", cells)
        assert view(a, folder / "va", members) == view(b, folder / "vb", members)


def test_groups_of_a_view_do_not_depend_on_those_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what is read at a time, and so where it ends, differs."""
    kind = store(tmp_path / "store", patients=range(30))
    monkeypatch.setattr(records, "_BATCH_CELLS", 60)
    first = view(kind, tmp_path / "one", {f"p{p:03d}" for p in range(5, 25)})
    sizes = {pq.ParquetFile(tmp_path / "one" / "main.parquet").metadata.row_group(i).num_rows for i in range(5)}
    assert sizes == {8}
    for group in (1, 3, 7, 60):
        again = store(tmp_path / f"store-{group}", patients=range(30), row_group_size=group)
        assert view(again, tmp_path / f"again-{group}", {f"p{p:03d}" for p in range(5, 25)}) == first


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_anybody_else_is_in_a_view(tmp_path: Path, form: str) -> None:
    """Neither values, nor categories, nor metadata: of patient 3 in a view of patient 1."""
    kind = store(tmp_path / "store", form, compression="none") if form == "parquet" else store(tmp_path / "store", form)
    source = b"".join(p.read_bytes() for p in (tmp_path / "store").iterdir())
    shown = b"".join(view(kind, tmp_path / "view", {"p001"}).values())
    text = b"".join(str(pq.read_table(p).to_pydict()).encode() for p in (tmp_path / "view").glob("*.parquet"))
    for word in (b"site-3", b"note-3", b"p003", b"v3-0", b"003"):
        assert word in source
        assert word not in shown
        assert word not in text
    assert b"CANARY" not in shown
    assert b"pandas" not in shown
    assert b"site-1" in shown + text


def test_no_time_stamp_is_in_a_view(tmp_path: Path) -> None:
    """Twice the same, at different times."""
    kind = store(tmp_path / "store")
    one = view(kind, tmp_path / "one", {"p001"})
    os.utime(tmp_path / "store" / "main.parquet", (0, 0))
    assert view(kind, tmp_path / "two", {"p001"}) == one


def test_the_source_is_not_touched(tmp_path: Path) -> None:
    kind = store(tmp_path / "store")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "store").iterdir()}
    view(kind, tmp_path / "view", {"p001"})
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "store").iterdir()} == before


def test_a_record_id_of_two_patients_does_not_share_their_rows(tmp_path: Path) -> None:
    """The node refuses such a store when it is added; the simulator and other callers do not."""
    (tmp_path / "store").mkdir()
    records.write(tmp_path / "store" / "t.csv", pa.table({"p": ["a", "b"], "r": ["1", "1"]}))
    records.write(tmp_path / "store" / "lab.csv", pa.table({"r": ["1"], "note": ["of b"]}))
    kind = TableKind(tmp_path / "store", Layout("table", "t.csv", "p", "r", ("lab.csv",)))
    try:
        files = view(kind, tmp_path / "view", {"a"})
    except InputError:
        return
    assert b"of b" not in files["lab.csv"]


# Bad stores


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("layout", "match"), [({"patient_id": "id"}, "'id'"), ({"record_id": "rec"}, "'rec'")])
def test_an_id_column_that_is_not_there(tmp_path: Path, form: str, layout: dict[str, str], match: str) -> None:
    kind = store(tmp_path / "store", form)
    wrong = TableKind(kind.folder, Layout(**{**kind.layout.__dict__, **layout}))
    with pytest.raises(InputError, match=match):
        wrong.schema()
    with pytest.raises(InputError, match=match):
        wrong.subset(np.array([0]), EVERYTHING, SECRET, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_ids_that_are_fractions(tmp_path: Path) -> None:
    pq.write_table(pa.table({"p": [1.0, 2.0], "x": [1, 2]}), tmp_path / "t.parquet")
    kind = TableKind(tmp_path, Layout("table", "t.parquet", "p"))
    with pytest.raises(InputError, match="holds no ids"):
        kind.patients()


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        (Wanted(columns=("bmi",)), "'bmi'"),
        (Wanted(features=("g9",)), "'g9'"),
        (Wanted(features=("hb", "g1", "g9")), "'g9'"),
    ],
)
def test_something_wanted_that_is_not_there(tmp_path: Path, wanted: Wanted, match: str) -> None:
    kind = store(tmp_path / "store")
    with pytest.raises(InputError, match=match):
        view(kind, tmp_path / "view", {"p001"}, wanted)


def test_features_wanted_of_a_store_that_has_none(tmp_path: Path) -> None:
    kind = store(tmp_path / "store")
    alone = TableKind(kind.folder, Layout("table", "main.parquet", "patient"))
    with pytest.raises(InputError, match="'hb'"):
        view(alone, tmp_path / "view", {"p001"}, Wanted(features=("hb",)))


def test_a_further_table_that_belongs_to_nobody(tmp_path: Path) -> None:
    kind = store(tmp_path / "store")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "store" / "lab.parquet")
    with pytest.raises(InputError, match="neither the record id's column nor"):
        kind.schema()
    with pytest.raises(InputError, match="neither the record id's column nor"):
        view(kind, tmp_path / "view", {"p001"})


@pytest.mark.parametrize("name", ["main.parquet", "lab.parquet"])
@pytest.mark.parametrize("fault", ["gone", "link", "cut", "twice", "folder"])
def test_a_file_that_is_not_as_it_should_be(tmp_path: Path, name: str, fault: str) -> None:
    kind = store(tmp_path / "store")
    path = tmp_path / "store" / name
    match fault:
        case "gone":
            path.unlink()
        case "link":
            path.rename(tmp_path / "elsewhere.parquet")
            path.symlink_to(tmp_path / "elsewhere.parquet")
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "twice":
            table = pq.read_table(path)
            pq.write_table(
                pa.Table.from_arrays([*table.columns, table.column(0)], [*table.column_names, table.column_names[0]]),
                path,
            )
        case "folder":
            path.unlink()
            path.mkdir()
    with pytest.raises(InputError, match=name):
        kind.schema()
    with pytest.raises(InputError, match=name):
        view(kind, tmp_path / "view", {"p001"})


@pytest.mark.parametrize("name", ["../main.parquet", "/etc/passwd"])
def test_a_layout_that_leads_out(tmp_path: Path, name: str) -> None:
    kind = store(tmp_path / "store" / "x")
    out = TableKind(tmp_path / "store" / "x", Layout("table", "main.parquet", "patient", "visit", (name,)))
    records.write(tmp_path / "store" / "main.parquet", pa.table({"visit": ["v1-0"]}))
    for call in (out.schema, out.snapshot, lambda: view(out, tmp_path / "view", {"p001"})):
        with pytest.raises(InputError, match="leads out"):
            call()
    assert kind.snapshot()


@pytest.mark.parametrize("name", ["", "a\nb", "n" * 300])
def test_a_column_whose_name_no_schema_has(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({"p": ["1"], name: [1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="whose name is empty, too long, or not printable"):
        TableKind(tmp_path, Layout("table", "t.parquet", "p")).schema()


# Made-up stores

SCHEMA = StoreSchema(
    kind="table",
    table="t.parquet",
    patient_id="p",
    record_id="r",
    files=("lab.csv", "deep/genes.parquet"),
    columns=(
        Column(name="p", type="int"),
        Column(name="r", type="string"),
        Column(name="age", type="int", min=18, max=90),
    ),
    features=(
        Features(file="lab.csv", names=("hb",), min=5, max=20),
        Features(file="deep/genes.parquet", names=("g0", "g1")),
    ),
)


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_a_made_up_store_has_the_schema_it_is_made_of(tmp_path: Path, rows: int) -> None:
    TableKind.mock(SCHEMA, rows, 1, tmp_path)
    kind = TableKind(tmp_path, SCHEMA.layout)
    assert len(kind.patients()) == rows
    made = kind.schema()
    assert [(c.name, c.type) for c in made.columns] == [(c.name, c.type) for c in SCHEMA.columns]
    assert [(f.file, f.names) for f in made.features] == [(f.file, f.names) for f in SCHEMA.features]
    if rows:
        (tmp_path / "view").mkdir()
        kind.subset(np.arange(rows), EVERYTHING, SECRET, tmp_path / "view")


def test_a_made_up_store_is_its_seed_s(tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        TableKind.mock(SCHEMA, 20, seed, tmp_path / name)
        contents.append(
            [(tmp_path / name / file).read_bytes() for file in ("t.parquet", "lab.csv", "deep/genes.parquet")]
        )
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


@pytest.mark.parametrize("name", ["../out.csv", "/tmp/flame-out.csv", "a/../../out.csv"])
@pytest.mark.parametrize("field", ["table", "features"])
def test_a_schema_does_not_write_outside_its_folder(tmp_path: Path, name: str, field: str) -> None:
    """Such a name is no schema's; and were it one's, the kind would not follow it either."""
    with pytest.raises(ValidationError):
        Features(file=name, names=("x",))
    features = (Features.model_construct(file=name, names=("x",)),)
    bad = SCHEMA.model_copy(update={"table": name} if field == "table" else {"features": features})
    (tmp_path / "into").mkdir()
    with pytest.raises(InputError, match="leads out"):
        TableKind.mock(bad, 3, 1, tmp_path / "into")
    assert [p.name for p in tmp_path.iterdir()] == ["into"]
