"""Data stores: what their hash covers, and how patients are counted."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import DataStore
from flame_fl.data.folder import count_patients, open_folder, snapshot_of

STORE = DataStore(table="samples.parquet", patient_id="patient")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    table = pa.table({"patient": ["p1", "p2", "p2", None], "age": [1, 2, 3, 4], "list": [[1], [], [1], None]})
    pq.write_table(table, folder / "samples.parquet")
    return folder


def test_a_store_is_its_folder_its_hash_and_its_patients(folder: Path) -> None:
    view = open_folder(folder, STORE)
    assert (view.path, view.snapshot, view.patients) == (folder.resolve(), snapshot_of(folder), 2)


def test_without_terms_no_patients_are_counted(folder: Path) -> None:
    assert open_folder(folder, None).patients == 0


def test_the_hash_does_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    before = snapshot_of(folder)
    assert snapshot_of(folder.rename(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize("change", ["content", "name", "new", "gone", "moved"])
def test_any_change_of_any_file_is_another_hash(folder: Path, change: str) -> None:
    before = snapshot_of(folder)
    match change:
        case "content":
            (folder / "deep" / "a").write_bytes(b"c")
        case "name":
            (folder / "b").rename(folder / "c")
        case "new":
            (folder / "deep" / "empty").write_bytes(b"")
        case "gone":
            (folder / "b").unlink()
        case "moved":
            (folder / "b").rename(folder / "deep" / "b")
    assert snapshot_of(folder) != before


def test_no_name_can_stand_in_for_two_files(tmp_path: Path) -> None:
    """A name may hold a line end; the hash's lines are still read in one way only."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ["a", "b"]), (two, ["a\nb"])):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"x")
    assert snapshot_of(one) != snapshot_of(two)


def test_a_name_that_is_no_text_is_hashed_too(tmp_path: Path) -> None:
    before = snapshot_of(tmp_path)
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    assert snapshot_of(tmp_path) != before


@pytest.mark.parametrize("target", ["b", "deep", "/etc"])
def test_a_link_is_refused(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    with pytest.raises(InputError, match="is a link"):
        snapshot_of(folder)


def test_a_pipe_is_refused_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        snapshot_of(folder)


def test_patients_are_distinct_and_missing_ids_are_none(folder: Path) -> None:
    assert count_patients(folder / "samples.parquet", "patient") == 2


@pytest.mark.parametrize(
    ("table", "column", "says"),
    [
        ("none.parquet", "patient", "no table"),
        ("b", "patient", "not a Parquet file"),
        ("samples.parquet", "Patient", "no column 'Patient'"),
        ("samples.parquet", "list", "no patient ids"),
        ("samples.parquet", "patient.x", "no column"),
    ],
)
def test_a_table_that_cannot_be_counted_is_a_sentence(folder: Path, table: str, column: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        count_patients(folder / table, column)


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data folder"):
        open_folder(tmp_path / "none", STORE)


def test_a_folders_name_is_never_a_column(tmp_path: Path) -> None:
    """`patient=x` in a path is Hive's notation for a column; here it is a name."""
    folder = tmp_path / "patient=x"
    folder.mkdir()
    pq.write_table(pa.table({"age": [1]}), folder / "samples.parquet")
    with pytest.raises(InputError, match="no column"):
        count_patients(folder / "samples.parquet", "patient")
