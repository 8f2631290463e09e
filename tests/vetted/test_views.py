"""Views as the gate writes them, read cell by cell: one patient's cells change nobody else's."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flame_vetted.cohort import cells, standardised
from flame_vetted.views import View

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.errors import InputError
from flame_fl.contract.vetted_terms import Categories, Columns
from flame_fl.data.layout import layout_of, wanted_of
from flame_fl.data.offer import Offer

KEY = b"k" * 32
COLUMNS = {
    "pid": ["p1", "p2", "p1", "p3"],
    "sid": ["s1", "s2", "s3", "s4"],
    "age": ["50", "61.5", "", "not known"],
    "code": ["1", "u,v", "1.0", 'say "x"'],
    "note": ["a\nb", "", "c", "d"],
}
FURTHER = {"sid": ["s4", "s1", "s2", "s9"], "g2": [4.0, 1.0, None, 9.0], "g1": [40, 10, 20, 90]}


def gate_view(tmp_path: Path, suffix: str, *, key: bytes | None = KEY, rows: list[int] | None = None) -> Path:
    """What the gate cuts for a sandbox, of a store with a further table."""
    store = tmp_path / "store"
    store.mkdir(exist_ok=True)
    table, further = pa.table(COLUMNS), pa.table(FURTHER)
    for name, content in (("visits", table), ("genes", further)):
        if suffix == ".parquet":
            pq.write_table(content, store / f"{name}.parquet")
        else:
            pa.csv.write_csv(content, store / f"{name}.csv")
    stated = DataStore.model_validate(
        {
            "table": f"visits{suffix}", "patient_id": "pid", "record_id": "sid", "columns": ["age", "code", "note"],
            "files": [f"genes{suffix}"], "features": ["*"],
        }
    )  # fmt: skip
    offer = Offer("cohort", store, "snapshot", layout_of(stated), key=key, pseudonyms=key is not None)
    into = tmp_path / "view"
    offer.view(
        np.array(rows if rows is not None else [0, 1, 2, 3], dtype=np.int64),
        stated,
        wanted_of(stated, {}),
        "project",
        into,
    )
    return into


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("key", [None, KEY])
class TestFromTheGate:
    def test_numbers_come_cell_by_cell(self, tmp_path: Path, suffix: str, key: bytes | None) -> None:
        view = View(gate_view(tmp_path, suffix, key=key))
        assert view.numbers("age").tolist()[:2] == [50.0, 61.5]
        assert np.isnan(view.numbers("age")[2:]).all()

    def test_further_tables_are_joined_by_record(self, tmp_path: Path, suffix: str, key: bytes | None) -> None:
        view = View(gate_view(tmp_path, suffix, key=key))
        assert view.features == ("g1", "g2")
        assert np.array_equal(view.numbers("g1"), [10, 20, np.nan, 40], equal_nan=True)
        assert np.array_equal(view.numbers("g2"), [1, np.nan, np.nan, 4], equal_nan=True)
        x, usable = standardised(view, [Columns(names=("*",), width=2, low=0, high=100, fill=7, scale=(10, 1))])
        assert x.tolist() == [[1, 1], [2, 7], [0.7, 7], [4, 4]]
        assert usable.all()

    def test_categories_are_words_or_the_same_number(self, tmp_path: Path, suffix: str, key: bytes | None) -> None:
        view = View(gate_view(tmp_path, suffix, key=key))
        column = Categories(name="code", values=("u,v", 'say "x"', "1"))
        assert cells(view, column).tolist() == [2, 0, 2, 1]

    def test_a_patients_records_have_one_name(self, tmp_path: Path, suffix: str, key: bytes | None) -> None:
        patients = View(gate_view(tmp_path, suffix, key=key)).patients
        assert patients[0] == patients[2]
        assert len(set(patients)) == 3
        assert (patients[0] == "p1") == (key is None)

    def test_a_view_without_records_is_no_error(self, tmp_path: Path, suffix: str, key: bytes | None) -> None:
        view = View(gate_view(tmp_path, suffix, key=key, rows=[]))
        assert view.patients == []
        assert view.numbers("g1").shape == (0,)
        assert view.numbers("age").shape == (0,)

    def test_a_column_that_is_not_in_the_view_is_an_error(self, tmp_path: Path, suffix: str, key: bytes | None) -> None:
        with pytest.raises(InputError, match="no column 'weight'"):
            View(gate_view(tmp_path, suffix, key=key)).numbers("weight")


@pytest.mark.parametrize("cell", ["1e999", "nan", "-inf", "0x1", "1,5", "ja", " ", "\u0661", "9" * 400])
def test_no_cell_changes_how_another_is_read(tmp_path: Path, cell: str) -> None:
    """Typed reading would make the whole column text, or fail, because of one patient's cell."""
    (tmp_path / "store.json").write_text(
        '{"kind": "table", "table": "t.csv", "patient_id": "pid", "record_id": null, "files": []}'
    )
    pa.csv.write_csv(pa.table({"pid": ["p", "q"], "x": ["2.5", cell]}), tmp_path / "t.csv")
    assert View(tmp_path).numbers("x")[0] == 2.5


@pytest.mark.parametrize("beside", ["008", "x", "2020-01-01"])
def test_text_stays_as_it_is_written(tmp_path: Path, beside: str) -> None:
    (tmp_path / "store.json").write_text(
        '{"kind": "table", "table": "t.csv", "patient_id": "pid", "record_id": null, "files": []}'
    )
    pa.csv.write_csv(pa.table({"pid": ["01", "1"], "x": ["007", beside]}), tmp_path / "t.csv")
    assert View(tmp_path).words("x") == ["007", beside]
    assert View(tmp_path).patients == ["01", "1"]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([1, None, 3]), [1, np.nan, 3]),
        (pa.array([True, None, False]), [1, np.nan, 0]),
        (pa.array([1.5, np.inf, None]), [1.5, np.nan, np.nan]),
        (pa.array(["7", "x", None]).dictionary_encode(), [7, np.nan, np.nan]),
        (pa.array([None, None, None]), [np.nan] * 3),
        (pa.array([2**62 + 1, 1, 2]), [2.0**62, 1, 2]),
    ],
)
def test_every_type_of_number_is_read(tmp_path: Path, column: Any, wanted: list[float]) -> None:
    (tmp_path / "store.json").write_text(
        '{"kind": "table", "table": "t.parquet", "patient_id": "pid", "record_id": null, "files": []}'
    )
    pq.write_table(pa.table({"pid": ["p", "q", "r"], "x": column}), tmp_path / "t.parquet")
    assert np.array_equal(View(tmp_path).numbers("x"), wanted, equal_nan=True)


def test_a_store_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"kind": "images"}')
    with pytest.raises(InputError, match="images"):
        _ = View(tmp_path).patients
