"""What every view has of the record table: what was asked for, with other ids and on other days."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.select import chosen_columns, chosen_features, disguised, record_view

LAYOUT = Layout("table", "t.parquet", "p", record_id="r")
SECRET = Disguise(b"k" * 32, 30)
NAMES = ["age", "p", "name", "r"]


# What is chosen


@pytest.mark.parametrize(
    ("columns", "expected"),
    [((), ["p", "r"]), (("age",), ["age", "p", "r"]), (("name", "age"), NAMES), (ALL, NAMES), (("p",), ["p", "r"])],
)
def test_columns_are_those_wanted_and_the_ids_in_the_table_s_order(
    columns: tuple[str, ...], expected: list[str]
) -> None:
    assert chosen_columns(NAMES, LAYOUT, Wanted(columns=columns), "t") == expected


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="t has no column 'bmi'"):
        chosen_columns(NAMES, LAYOUT, Wanted(columns=("age", "bmi")), "t")


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_features_are_those_wanted_in_the_store_s_order(names: list[str], wanted: list[str]) -> None:
    asked = Wanted(features=tuple(wanted))
    if set(wanted) <= set(names):
        found = chosen_features(names, asked, "t")
        assert found == sorted(found)
        assert {names[i] for i in found} == set(wanted)
    else:
        with pytest.raises(InputError, match="has no feature"):
            chosen_features(names, asked, "t")


def test_all_features_and_none() -> None:
    assert chosen_features(["a", "b"], Wanted(features=ALL), "t") == [0, 1]
    assert chosen_features(["a", "b"], Wanted(), "t") == []


def test_a_feature_twice_in_a_store_does_not_hide_that_another_is_missing() -> None:
    assert chosen_features(["a", "b", "a"], Wanted(features=("a",)), "t") == [0, 2]
    with pytest.raises(InputError, match="no feature 'c'"):
        chosen_features(["a", "b", "a"], Wanted(features=("a", "c")), "t")


# What is shown


def table(**columns: Any) -> pa.Table:
    return pa.table({"p": ["p1", "p2", "p1"], "r": ["r1", "r2", "r3"]} | columns)


def test_ids_are_pseudonyms() -> None:
    shown = disguised(table(x=[1, 2, 3]), LAYOUT, SECRET)
    assert shown.column("p").to_pylist() == [SECRET.patient(p) for p in ("p1", "p2", "p1")]
    assert shown.column("r").to_pylist() == [SECRET.record(r) for r in ("r1", "r2", "r3")]
    assert shown.column("x").to_pylist() == [1, 2, 3]
    assert shown.column_names == ["p", "r", "x"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([7, 8, 7], pa.int64()),
        pa.array(["7", "8", "7"]),
        pa.array(["7", "8", "7"], pa.large_string()),
        pa.array(["7", "8", "7"]).dictionary_encode(),
    ],
)
def test_a_pseudonym_does_not_depend_on_how_ids_are_stored(values: pa.Array) -> None:
    shown = disguised(table(p=values), LAYOUT, SECRET)
    assert shown.column("p").to_pylist() == [SECRET.patient(p) for p in ("7", "8", "7")]
    assert shown.schema.field("p").type == pa.string()


def test_what_is_missing_stays_missing() -> None:
    shown = disguised(table(p=["p1", None, ""], r=[None, "", "r"], d=[date(2020, 1, 1)] * 3), LAYOUT, SECRET)
    assert shown.column("p").to_pylist() == [SECRET.patient("p1"), None, None]
    assert shown.column("r").to_pylist()[0] is None
    assert SECRET.record("") not in shown.column("r").to_pylist()


@pytest.mark.parametrize("kind", ["date", "text", "german", "time"])
def test_days_between_a_patient_s_dates_are_kept(kind: str) -> None:
    days = [date(2020, 1, 1), date(2020, 1, 1), date(2020, 2, 1)]
    values: dict[str, Any] = {
        "date": days,
        "text": [d.isoformat() for d in days],
        "german": [f"{d:%d.%m.%Y}" for d in days],
        "time": pa.array(days).cast(pa.timestamp("us")),
    }
    column = disguised(table(d=values[kind]), LAYOUT, SECRET).column("d")
    if kind == "german":
        found = [date(int(v[6:]), int(v[3:5]), int(v[:2])) for v in column.to_pylist()]
    elif kind == "text":
        found = [date.fromisoformat(v) for v in column.to_pylist()]
    else:
        found = column.cast(pa.date32()).to_pylist()
    assert [(f - d).days for f, d in zip(found, days, strict=True)] == [SECRET.days(p) for p in ("p1", "p2", "p1")]
    assert (found[2] - found[0]).days == 31


def test_without_shifting_dates_stay() -> None:
    still = Disguise(SECRET.key, 0)
    assert disguised(table(d=["01.02.2020"] * 3), LAYOUT, still).column("d").to_pylist() == ["01.02.2020"] * 3


def test_an_id_that_looks_like_a_date_is_an_id() -> None:
    shown = disguised(table(p=["01.02.2020"] * 3), LAYOUT, SECRET)
    assert shown.column("p").to_pylist() == [SECRET.patient("01.02.2020")] * 3


def test_without_a_key_nothing_changes() -> None:
    plain = table(d=[date(2020, 1, 1)] * 3)
    assert disguised(plain, LAYOUT, Disguise(None, 30)).equals(plain)


def test_patients_of_a_further_table_are_said() -> None:
    rows = pa.table({"r": ["r1", "r2"], "d": [date(2020, 1, 1)] * 2})
    shown = disguised(rows, LAYOUT, SECRET, ["p1", "p2"])
    assert [(d - date(2020, 1, 1)).days for d in shown.column("d").to_pylist()] == [
        SECRET.days("p1"),
        SECRET.days("p2"),
    ]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.dates(date(1950, 1, 1), date(2050, 1, 1)) | st.none())))
def test_a_row_is_shown_alike_whatever_other_rows_there_are(rows: list[tuple[str, date | None]]) -> None:
    """Decision 33, row by row."""

    def shown(of: list[tuple[str, date | None]]) -> list[dict[str, Any]]:
        made = pa.table(
            {
                "p": pa.array([p for p, _ in of], pa.string()),
                "d": pa.array([d for _, d in of], pa.date32()),
                "t": pa.array([d and d.isoformat() for _, d in of], pa.string()),
                "g": pa.array([f"{d:%d.%m.%Y}" if d else "unknown" for _, d in of], pa.string()),
            }
        )
        return list(disguised(made, Layout("table", "t", "p"), SECRET).to_pylist())

    assert shown(rows) == [row for one in rows for row in shown([one])]


@pytest.mark.parametrize("values", [[[date(2020, 1, 1)]] * 3, [{"d": date(2020, 1, 1)}] * 3], ids=["list", "table"])
def test_dates_inside_lists_do_not_get_through(values: list[Any]) -> None:
    try:
        shown = disguised(table(d=values), LAYOUT, SECRET).column("d").to_pylist()
    except InputError:
        return
    assert shown[0] != values[0]


def test_the_view_of_the_record_table(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table(x=[1, 2, 3], y=["a", "b", "c"]), path)
    view = record_view(path, LAYOUT, np.array([0, 2]), Wanted(columns=("y",)), Disguise())
    assert view.to_pylist() == [{"p": "p1", "r": "r1", "y": "a"}, {"p": "p1", "r": "r3", "y": "c"}]
