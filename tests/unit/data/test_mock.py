"""Made-up stores: from a schema and a seed alone."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import InputError
from flame_fl.data.kind import open_kind
from flame_fl.data.mock import make
from flame_fl.data.schema import Column, Features, StoreSchema

SCHEMA = StoreSchema(
    kind="table",
    table="t.parquet",
    patient_id="pid",
    record_id="visit",
    files=("labs.parquet",),
    columns=(
        Column(name="pid", type="string"),
        Column(name="visit", type="string"),
        Column(name="sex", type="string", values=("f", "m")),
        Column(name="age", type="int", min=18, max=90),
        Column(name="day", type="date", missing=0.5),
    ),
    features=(Features(file="labs.parquet", names=("hb", "crp"), min=1, max=2),),
)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_it_has_the_schema_and_keeps_its_bounds(tmp_path: Path) -> None:
    make(SCHEMA, 50, 1, tmp_path / "mock")
    kind = open_kind(tmp_path / "mock", SCHEMA.layout)
    drafted = kind.schema()
    assert [(c.name, c.type) for c in drafted.columns] == [(c.name, c.type) for c in SCHEMA.columns]
    assert drafted.features[0].names == ("hb", "crp")
    table = pq.read_table(tmp_path / "mock" / "t.parquet").to_pydict()
    assert len(table["pid"]) == len(set(table["visit"])) == 50
    assert len(set(table["pid"])) == 40
    assert set(table["sex"]) == {"f", "m"}
    assert all(18 <= age <= 90 for age in table["age"])
    assert 0 < table["day"].count(None) < 50
    assert all(word.startswith("mock-") for word in table["pid"])


def test_the_same_seed_is_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(SCHEMA, 20, seed, tmp_path / name)
    a, b, c = (bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    assert a["t.parquet"] != c["t.parquet"]


def test_it_says_that_it_is_made_up(tmp_path: Path) -> None:
    make(SCHEMA, 5, 7, tmp_path / "deep" / "mock")
    said = json.loads((tmp_path / "deep" / "mock" / "store.json").read_text())
    assert said == {"flame_store": 1, "kind": "table", "mock": True, "schema": SCHEMA.sha256, "seed": 7}


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_nothing_is_written_over(tmp_path: Path, what: str) -> None:
    """A real store's folder among others."""
    place = tmp_path / "there"
    if what == "folder":
        place.mkdir()
    elif what == "file":
        place.write_text("x")
    else:
        (tmp_path / "target").mkdir()
        place.symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="is there already"):
        make(SCHEMA, 5, 1, place)
    assert not place.is_dir() or list(place.iterdir()) == []


def test_what_cannot_be_made_leaves_no_folder_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try must not meet the first one's rest."""
    from flame_fl.data.kinds.table import TableKind

    def fails(*arguments: object) -> None:
        raise InputError("It cannot be made.")

    with monkeypatch.context() as patch:
        patch.setattr(TableKind, "mock", fails)
        with pytest.raises(InputError, match="cannot be made"):
            make(SCHEMA, 5, 1, tmp_path / "mock")
    make(SCHEMA, 5, 1, tmp_path / "mock")
