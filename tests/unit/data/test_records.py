"""Tables: what is read of each format, how it is written, and what bad files end in."""

import csv
import errno
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.dates import shifted
from flame_fl.data.records import batches, column_type, ids, plain, read, schema_of, write

CANARY = "CANARY-4711"


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def refused(call: Callable[[], object], match: str | None = None) -> str:
    """What is said; nothing of it, nor of what a traceback prints, is a patient's."""
    with pytest.raises(InputError, match=match) as caught:
        call()
    err: BaseException | None = caught.value
    while err is not None:
        assert CANARY not in f"{err}{err!r}{err.args}"
        err = err.__cause__ or (None if err.__suppress_context__ else err.__context__)
    assert caught.value.mend
    return str(caught.value)


# Reading text


def test_columns_and_types_of_a_csv_file(tmp_path: Path) -> None:
    path = text(
        tmp_path / "t.csv",
        "id,n,x,d,g,t,b,s,e\np1,1,1.5,2020-02-01,01.02.2020,2020-02-01 10:00:00,true,a,\np2,2,2,,,,,b,\n",
    )
    schema = schema_of(path)
    assert schema.names == ["id", "n", "x", "d", "g", "t", "b", "s", "e"]
    kinds = [column_type(field.type) for field in schema]
    assert kinds == ["string", "int", "float", "date", "timestamp", "timestamp", "bool", "string", "string"]
    german = read(path, ["g"]).column(0).to_pylist()[0]
    assert (german.day, german.month, german.year) == (1, 2, 2020)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_files_from_windows(tmp_path: Path, ending: str, mark: str, last: str) -> None:
    path = text(tmp_path / "t.csv", mark + ending.join(["id,x", "007,Müller"]) + last.replace("\n", ending))
    assert read(path, ["id", "x"], typed=False).to_pylist() == [{"id": "007", "x": "Müller"}]
    assert ids(path, "id") == ["007"]


def test_as_text_everything_stays_as_it_is_written(tmp_path: Path) -> None:
    """Zeros in front, zeros behind, NA, dates, and what is empty in quotes or without."""
    path = text(tmp_path / "t.csv", 'id,x,d,q\n007,1.50,01.02.2020,""\n08,NA,2020-1-1,\n')
    first, second = read(path, ["id", "x", "d", "q"], typed=False).to_pylist()
    assert first == {"id": "007", "x": "1.50", "d": "01.02.2020", "q": ""}
    assert second == {"id": "08", "x": "NA", "d": "2020-1-1", "q": None}


def test_typed_what_stands_for_missing_is_missing(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "id,x\n1,NA\n2,\n3,NaN\n4,2.5\n")
    assert read(path, ["x"]).column(0).to_pylist() == [None, None, None, 2.5]


def test_a_type_is_that_of_all_rows(tmp_path: Path) -> None:
    """The first megabytes may be whole numbers, and a letter may come at the end."""
    rows = "".join(f"p{i},{i}\n" for i in range(200_000))
    path = text(tmp_path / "t.csv", f"id,x\n{rows}p,1.5\n")
    assert schema_of(path).field("x").type == pa.float64()
    path = text(tmp_path / "t.csv", f"id,x\n{rows}p,<5\n")
    assert schema_of(path).field("x").type == pa.string()


def test_rows_longer_than_a_megabyte(tmp_path: Path) -> None:
    """800,000 CpGs in a row, or one long letter."""
    wide = ",".join(f"cg{i}" for i in range(200_000))
    path = text(tmp_path / "t.csv", f"id,{wide}\np1," + ",".join(["0.1234"] * 200_000) + "\n")
    assert read(path, ["cg199999"], typed=False).column(0).to_pylist() == ["0.1234"]
    path = text(tmp_path / "t.csv", f"id,x\np1,{'x' * 3_000_000}\np2,y\n")
    assert ids(path, "id") == ["p1", "p2"]


def test_quotes_commas_and_line_ends_inside_a_value(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", 'id,"a, b"\np1,"one\ntwo, ""three"""\n')
    assert read(path, ["a, b"], typed=False).column(0).to_pylist() == ['one\ntwo, "three"']


def test_the_formats_of_plink(tmp_path: Path) -> None:
    for separator in (" ", "\t"):
        fam = text(tmp_path / "x.fam", separator.join(["F1", "I1", "0", "0", "1", "-9"]) + "\n")
        assert schema_of(fam).names == list(records.FAM_COLUMNS)
        assert ids(fam, "IID") == ["I1"]
    psam = text(tmp_path / "x.psam", "#IID\tSEX\tage\nI1\t1\t50\n")
    assert read(psam, ["IID", "age"]).to_pylist() == [{"IID": "I1", "age": 50}]


@pytest.mark.parametrize(
    "content",
    [
        f"id,x\np1,1\n{CANARY},1,2,3\n",
        f"id,x\np1,1\n{CANARY}\n",
        f"id,x\n{CANARY}ü,1\n".encode("latin-1"),
        f"id,ü\n{CANARY},1\n".encode("latin-1"),
        f"id,x\n{CANARY},1\n".encode("utf-16"),
        f"id\rx\r{CANARY}\r",
        "id," + "n" * 200_000 + f"\n{CANARY},1\n",
        "",
        "\n",
        f"id,x\n{CANARY},\0\xff".encode("latin-1"),
    ],
    ids=[
        "long row",
        "short row",
        "latin-1",
        "latin-1 name",
        "utf-16",
        "mac",
        "name",
        "empty",
        "blank",
        "bytes",
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: str | bytes) -> None:
    path = text(tmp_path / "t.csv", content)
    calls = (lambda: schema_of(path), lambda: read(path, ["id", "x"]), lambda: list(batches(path, ["id", "x"])))
    failed = [fails(call) for call in calls]
    assert any(failed)


def fails(call: Callable[[], object]) -> bool:
    """Whether it ends in an error; if so, in one that says nothing of the content."""
    try:
        call()
    except InputError:
        refused(call, r"t\.csv")
        return True
    return False


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize(
    "content",
    [
        f"id;x\n{CANARY};1\n",
        f"id;x\n{CANARY};3,5\n",
        f"id;x\n{CANARY};3,5\n{CANARY};4\n",
        f'"id";"x"\n"{CANARY};1\n',
        f"id;größe\n{CANARY};3,5\n".encode("latin-1"),
        f"id;x;\r{CANARY};3,5;\r",
        "id;x\n",
    ],
    ids=["plain", "decimal commas", "some", "open quote", "latin-1", "mac", "header only"],
)
def test_semicolons_are_named_before_anything_else(tmp_path: Path, name: str, content: str | bytes) -> None:
    """They are what is wrong; rows of different lengths follow from it."""
    path = text(tmp_path / name, content)
    for call in (schema_of, lambda p: read(p, ["id"]), lambda p: ids(p, "id")):
        refused(lambda call=call: call(path), "separates its columns by semicolons")  # type: ignore[misc]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.psam"])
@pytest.mark.parametrize("content", ["", "\n", "\ufeff", "\ufeff\r\n\r\n"])
def test_an_empty_file(tmp_path: Path, name: str, content: str) -> None:
    path = text(tmp_path / name, content)
    refused(lambda: schema_of(path), r"is empty\.")
    refused(lambda: read(path, ["id"]), r"is empty\.")


def test_an_empty_first_line(tmp_path: Path) -> None:
    refused(lambda: schema_of(text(tmp_path / "t.csv", f"\nid,x\n{CANARY},1\n")), "begins with an empty line")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_header_alone_is_a_table_without_rows(tmp_path: Path, ending: str) -> None:
    path = text(tmp_path / "t.csv", f"id,x{ending}")
    assert schema_of(path).names == ["id", "x"]
    assert read(path, ["x"]).num_rows == 0


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.psam"])
def test_two_columns_of_one_name(tmp_path: Path, name: str) -> None:
    separator = "," if name == "t.csv" else "\t"
    path = text(tmp_path / name, separator.join(["id", "x", "x"]) + "\n" + separator.join("abc") + "\n")
    refused(lambda: schema_of(path), "has two columns 'x'")
    refused(lambda: read(path, ["id"]), "has two columns 'x'")


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.fam", "t.psam"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    refused(lambda: schema_of(tmp_path / name), "There is no table")
    (tmp_path / name).mkdir()
    refused(lambda: schema_of(tmp_path / name))


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.CSV", "t.csv.gz"])
def test_what_is_no_table(tmp_path: Path, name: str) -> None:
    path = text(tmp_path / name, "id,x\n1,2\n")
    refused(lambda: schema_of(path), "is not a table")
    refused(lambda: read(path, ["id"]), "is not a table")
    refused(lambda: list(batches(path, ["id"])), "is not a table")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, who runs the tests in CI, reads everything: the system's answer is given here for it."""
    path = text(tmp_path / "t.csv", "id\n1\n")
    path.chmod(0)
    real = Path.open

    def refuses(self: Path, *how: Any, **more: Any) -> Any:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, *how, **more)

    monkeypatch.setattr(Path, "open", refuses)
    refused(lambda: schema_of(path))


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


@given(st.lists(names, min_size=1, max_size=4, unique=True), st.data())
def test_any_csv_file_is_read_as_it_was_written(tmp_path: Path, columns: list[str], data: st.DataObject) -> None:
    assume("\ufeff" not in columns[0])
    rows = data.draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=5))
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([columns, *rows])
    table = read(tmp_path / "t.csv", columns, typed=False)
    assert [list(row.values()) for row in table.to_pylist()] == rows


# Reading Parquet


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", pa.table({"a": [1], "b": [2], "a.b": [3]}))
    assert read(path, ["b", "a"]).to_pylist() == [{"b": 2, "a": 1}]
    assert [t.to_pylist() for t in batches(path, ["a.b", "a"])] == [[{"a.b": 3, "a": 1}]]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_column_that_is_not_there(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, pa.table({"a": [1]}))
    for call in (read, lambda p, c: list(batches(p, c))):
        refused(lambda call=call: call(tmp_path / name, ["b"]), "no column 'b'; its columns: a")  # type: ignore[misc]


@pytest.mark.parametrize("keep", [0, 3, 12, 0.3, 0.9, -1])
def test_a_parquet_file_cut_short(tmp_path: Path, keep: float) -> None:
    table = pa.table({"id": [f"{CANARY}-{i}" for i in range(1000)]})
    path = parquet(tmp_path / "t.parquet", table, compression="none")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else keep])
    refused(lambda: schema_of(path), r"t\.parquet")
    refused(lambda: read(path, ["id"]), r"t\.parquet")


@given(st.data())
def test_a_parquet_file_with_wrong_bytes_is_a_table_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    table = pa.table({"id": [f"p{i}" for i in range(50)], "x": range(50)})
    path = parquet(tmp_path / "t.parquet", table, compression=data.draw(st.sampled_from(["none", "snappy", "zstd"])))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(4, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        schema_of(path)
        ids(path, "id")
        for part in batches(path, ["id", "x"]):
            part.to_pylist()
    except InputError:
        pass


@pytest.mark.parametrize("where", ["value", "name"])
def test_text_that_is_no_utf8_inside_parquet(tmp_path: Path, where: str) -> None:
    """As some writers leave it; its error quotes the bytes."""
    path = parquet(tmp_path / "t.parquet", pa.table({"id": ["CANARY-4711"], "naaame": ["vaaalue"]}),
                   compression="none", store_schema=False)  # fmt: skip
    path.write_bytes(
        path.read_bytes().replace(
            b"naaame" if where == "name" else b"vaaalue", b"CAN\xffRY" + b"A" * (where == "value")
        )
    )
    refused(lambda: (schema_of(path), read(path, ["naaame"])))
    refused(lambda: (schema_of(path), list(batches(path, ["naaame"]))))


def test_a_table_without_rows_is_one_piece_without_rows(tmp_path: Path) -> None:
    """Otherwise a view of it would have no file."""
    empty = pa.table({"id": pa.array([], pa.string()), "d": pa.array([], pa.string()).dictionary_encode()})
    for name in ("t.parquet", "t.csv"):
        write(tmp_path / name, plain(empty))
        (piece,) = batches(tmp_path / name, ["id"])
        assert piece.num_rows == 0
        assert piece.column_names == ["id"]


def test_pieces_are_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_BATCH_CELLS", 14)
    table = pa.table({"a": range(20), "b": [str(i) for i in range(20)]})
    path = parquet(tmp_path / "t.parquet", table, row_group_size=6)
    pieces = list(batches(path, ["a", "b"]))
    assert max(piece.num_rows for piece in pieces) <= 7
    assert pa.concat_tables(pieces).equals(table)


# Ids


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["007", "7", "", None], ["007", "7", None, None]),
        (pa.array([7, None, -1], pa.int64()), ["7", None, "-1"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_ids_are_text(tmp_path: Path, values: Any, expected: list[str | None]) -> None:
    assert ids(parquet(tmp_path / "t.parquet", pa.table({"id": values})), "id") == expected


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0], [True], [date(2020, 1, 1)], [datetime(2020, 1, 1, tzinfo=UTC)], [["a"]], [{"a": 1}], [b"a"]],
    ids=["fraction", "bool", "date", "time", "list", "table", "bytes"],
)
def test_what_is_no_id(tmp_path: Path, values: list[Any]) -> None:
    """1.0 is "1" here and "1.0" there: patients would not be found again."""
    path = parquet(tmp_path / "t.parquet", pa.table({"id": values}))
    refused(lambda: ids(path, "id"), "holds no ids")


# What is written


def test_neither_metadata_nor_categories_are_kept() -> None:
    table = pa.table(
        {"x": pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), pa.array(["a", CANARY]))},
    ).replace_schema_metadata({"pandas": CANARY})
    table = table.cast(pa.schema([pa.field("x", table.schema.field(0).type, metadata={"note": CANARY})], {"k": CANARY}))
    found = plain(table)
    assert found.schema.metadata is None
    assert found.schema.field("x").metadata is None
    assert found.schema.field("x").type == pa.string()
    assert found.to_pylist() == [{"x": "a"}, {"x": None}]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.tsv"])
def test_no_byte_of_another_row_is_written(tmp_path: Path, name: str) -> None:
    """A slice of a table still has all of it in memory."""
    table = pa.table(
        {
            "d": pa.array([CANARY, "b"]).dictionary_encode(),
            "s": [CANARY, "c"],
            "l": [None if name != "t.parquet" else [CANARY], None],
        }
    ).replace_schema_metadata({"pandas": CANARY})
    write(tmp_path / name, plain(table.slice(1)))
    data = (tmp_path / name).read_bytes()
    assert b"CANARY" not in data
    assert b"c" in data


def test_parquet_has_no_statistics_and_no_schema_of_arrow_s(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", pa.table({"x": [1, 2]}))
    metadata = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert metadata.metadata is None
    assert not metadata.row_group(0).column(0).is_stats_set


TABLE = pa.table(
    {
        "id": [f"p{i}" for i in range(40)],
        "x": pa.array([None if i % 7 == 0 else i / 3 for i in range(40)]),
        "s": pa.array([None if i % 5 == 0 else "x" * i for i in range(40)]),
        "d": pa.array([date(2020, 1, 1) + timedelta(days=i) for i in range(40)]),
    }
)


@given(cuts=st.lists(st.integers(0, 40), max_size=6), cells=st.sampled_from([4, 28, 400]))
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_the_same_rows_are_the_same_bytes_however_they_come(
    tmp_path: Path, name: str, cuts: list[int], cells: int
) -> None:
    """In one piece, in many, in pieces of a larger table, or without any rows between."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_BATCH_CELLS", cells)
        write(tmp_path / name, TABLE)
        edges = [0, *sorted(cuts), 40]
        with records.Writer(tmp_path / f"pieces-{name}") as writer:
            for start, stop in pairwise(edges):
                writer.write(TABLE.slice(start, stop - start))
    assert (tmp_path / name).read_bytes() == (tmp_path / f"pieces-{name}").read_bytes()


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.tsv"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, TABLE)
    table = read(tmp_path / name, TABLE.column_names)
    assert table.column("d").to_pylist() == TABLE.column("d").to_pylist()
    assert table.column("x").to_pylist() == pytest.approx(TABLE.column("x").to_pylist())
    assert table.column("s").to_pylist() == TABLE.column("s").to_pylist()


def test_a_writer_that_fails_closes_its_file(tmp_path: Path) -> None:
    def fail(writer: records.Writer) -> None:
        with writer:
            writer.write(TABLE)
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fail(writer := records.Writer(tmp_path / "t.parquet"))
    opened = [os.path.realpath(f) for f in Path("/proc/self/fd").iterdir() if os.path.lexists(f)]
    assert writer is not None
    assert str(tmp_path / "t.parquet") not in opened


# Dates


def moved(values: Any, days: list[int], kind: pa.DataType | None = None) -> list[Any]:
    result = shifted(pa.chunked_array([pa.array(values, kind)]), days)
    assert kind is None or result.type == kind
    return list(result.to_pylist())


def test_dates_move_each_by_its_own_days() -> None:
    assert moved([date(2020, 2, 28), None, date(2020, 3, 1)], [2, 5, -1], pa.date32()) == [
        date(2020, 3, 1), None, date(2020, 2, 29),
    ]  # fmt: skip
    assert moved([date(2020, 2, 28)], [2], pa.date64()) == [date(2020, 3, 1)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_keep_their_hour(unit: str, zone: str | None) -> None:
    kind = pa.timestamp(unit, zone)
    at = pa.scalar(datetime(2020, 2, 28, 13, 5, tzinfo=UTC), pa.timestamp("s", "UTC")).cast(pa.timestamp(unit, "UTC"))
    (found,) = moved(pa.array([at.value], pa.int64()).cast(kind), [2], kind)
    assert found.strftime("%Y-%m-%d %H:%M") == "2020-03-01 13:05"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2020-02-28", "2020-03-01"),
        ("28.02.2020", "01.03.2020"),
        ("1.2.2020", "03.02.2020"),
        ("2020-2-1", "2020-02-03"),
        (" 28.02.2020 ", "01.03.2020 "),
        ("2020-02-28 13:05", "2020-03-01 13:05"),
        ("2020-02-28T13:05:06.123+01:00", "2020-03-01T13:05:06.123+01:00"),
        ("2020-02-28T13:05:06Z", "2020-03-01T13:05:06Z"),
        ("28.02.2020, 13:05", "01.03.2020, 13:05"),
        ("31.12.1899", "02.01.1900"),
        ("unknown", "unknown"),
        ("", ""),
        (None, None),
        ("99.99.2020", "99.99.2020"),
        ("007", "007"),
        ("1.5", "1.5"),
        ("10.11.12.2020", "10.11.12.2020"),
    ],
)
def test_text_that_is_a_date_moves_whatever_else_is_in_the_column(
    kind: pa.DataType, before: str | None, after: str | None
) -> None:
    for others in ([], ["x"], ["01.01.2020"], [None]):
        assert moved([before, *others], [2] * (1 + len(others)), kind)[0] == after


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(-5000, 5000))
def test_dates_as_text_move_as_dates_do(day: date, days: int) -> None:
    there = day + timedelta(days=days)
    assert moved([day.isoformat(), f"{day:%d.%m.%Y}"], [days] * 2) == [there.isoformat(), f"{there:%d.%m.%Y}"]
    back = moved([there.isoformat()], [-days])
    assert back == [day.isoformat()]


def test_columns_without_a_value_stay() -> None:
    assert moved([None, None], [1, 2], pa.null()) == [None, None]
    assert moved([None, None], [1, 2], pa.string()) == [None, None]
    assert moved([], [], pa.date32()) == []


@given(st.lists(st.text() | st.none(), max_size=5))
def test_any_text_can_be_shifted(values: list[str | None]) -> None:
    found = moved(values, [3] * len(values), pa.string())
    assert [v is None for v in found] == [v is None for v in values]


def test_dates_at_the_end_of_all_calendars_are_no_error() -> None:
    """Their error would quote them."""
    last = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())
    shifted(pa.chunked_array([last]), [1])


@pytest.mark.parametrize("text", ['p,x\na,"secret\nb,2\n', 'p,x\na,"secret\nb,"2\n', 'p,x\na,"sec"ret\nb,2\n'])
def test_a_quote_that_is_not_closed(tmp_path: Path, text: str) -> None:
    """Else the rows after it, of whomever they are, would be a cell of this patient's."""
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="a quote that is not closed") as err:
        records.read(tmp_path / "t.csv", ["p"])
    assert "secret" not in str(err.value)
    assert err.value.__cause__ is None
