"""The helper that an app may use to open a store."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.reader import data_folder


def store(folder: Path, table: str, *, files: tuple[str, ...] = ()) -> dict[str, str]:
    """What a sandbox offers; returns the app's node config."""
    folder.mkdir()
    said = {"flame_store": 1, "name": "labs", "kind": "table", "table": table, "patient_id": "p", "record_id": "r"}
    (folder / "store.json").write_text(json.dumps(said | {"files": list(files)}))
    return {"data-labs": str(folder), "partition-id": "0"}


def test_a_parquet_store(tmp_path: Path) -> None:
    config = store(tmp_path / "s", "t.parquet", files=("more.parquet",))
    pq.write_table(pa.table({"p": ["a"], "r": ["1"], "x": [1.5]}), tmp_path / "s" / "t.parquet")
    found = data_folder(config, "labs")
    assert (found.kind, found.patient_id, found.record_id) == ("table", "p", "r")
    assert found.files == (tmp_path / "s" / "more.parquet",)
    assert found.records().to_pylist() == [{"p": "a", "r": "1", "x": 1.5}]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_text_store(tmp_path: Path, suffix: str, delimiter: str) -> None:
    """Ids stay text, and a row may be longer than a megabyte and hold line ends."""
    config = store(tmp_path / "s", f"t{suffix}")
    long = "word " * 300_000
    rows = [["p", "r", "note"], ["007", "01", f'"{long}\nend"'], ["8", "02", "short"]]
    (tmp_path / "s" / f"t{suffix}").write_text("\n".join(delimiter.join(row) for row in rows) + "\n")
    table = data_folder(config, "labs").records()
    assert table["p"].to_pylist() == ["007", "8"]
    assert table["note"].to_pylist() == [f"{long}\nend", "short"]


def test_another_format_is_the_libraries(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cohort\.h5ad is no Parquet, CSV or TSV"):
        data_folder(store(tmp_path / "s", "cohort.h5ad"), "labs").records()


def test_a_store_that_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        data_folder(store(tmp_path / "s", "t.csv"), "images")


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_a_folder_without_a_description(tmp_path: Path, text: str | None) -> None:
    config = store(tmp_path / "s", "t.csv")
    (tmp_path / "s" / "store.json").unlink()
    if text is not None:
        (tmp_path / "s" / "store.json").write_text(text)
    with pytest.raises(ValueError, match=r"no store\.json"):
        data_folder(config, "labs")
