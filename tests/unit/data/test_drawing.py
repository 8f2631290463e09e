"""Made-up columns: drawn from the schema and the seed alone, and within what the schema says."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.drawing import draw, draw_table, ids_as, range_of, with_ids
from flame_fl.data.records import column_type
from flame_fl.data.schema import Column, StoreSchema


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def schema(*columns: Column, **fields: Any) -> StoreSchema:
    return StoreSchema(kind="table", table="t.csv", patient_id="p", columns=columns, **fields)


TYPES = ("bool", "int", "float", "string", "date", "timestamp", "other")
columns = st.builds(
    Column,
    name=st.just("x"),
    type=st.sampled_from(TYPES),
    min=st.none() | st.floats(-1000, 0),
    max=st.none() | st.floats(1, 1000),
    missing=st.sampled_from([0.0, 0.5, 1.0]),
)


@given(columns, st.integers(0, 30), st.integers(0, 2**32))
def test_a_column_has_the_length_and_the_bounds_that_were_said(column: Column, rows: int, seed: int) -> None:
    made = draw(column, rows, rng(seed))
    assert len(made) == rows
    assert made.equals(draw(column, rows, rng(seed)))
    if column.type in {"int", "float"}:
        filled = made.drop_null().to_pylist()
        assert all(column.min is None or v >= column.min for v in filled)
        assert all(column.max is None or v <= column.max for v in filled)


@given(st.sampled_from(TYPES), st.sampled_from([0.0, 1.0]))
def test_a_column_has_its_type(kind: Any, missing: float) -> None:
    """With values, and without any."""
    made = draw(Column(name="x", type=kind, missing=missing), 20, rng())
    assert column_type(made.type) == ("string" if kind == "other" else kind)
    assert not pa.types.is_null(made.type)


@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_the_share_that_is_missing(missing: float) -> None:
    made = draw(Column(name="x", type="float", missing=missing), 4000, rng())
    assert made.null_count == pytest.approx(4000 * missing, abs=180)


def test_categories_all_occur_and_no_others_do() -> None:
    made = draw(Column(name="x", type="string", values=("a", "b", "c")), 200, rng())
    assert set(made.to_pylist()) == {"a", "b", "c"}


def test_dates_are_days_since_1970() -> None:
    made = draw(Column(name="x", type="date", min=365, max=366), 50, rng())
    assert {d.isoformat() for d in made.to_pylist()} == {"1971-01-01", "1971-01-02"}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(None, None, (0, 100)), (5, None, (5, 105)), (None, 5, (-95, 5)), (200, None, (200, 300)), (7, 7, (7, 7))],
)
def test_one_bound_gets_a_companion(low: float | None, high: float | None, expected: tuple[float, float]) -> None:
    assert range_of("int", low, high) == expected


@pytest.mark.parametrize("bounds", [(0.2, 0.8), (1e99, 1e100), (2.0**63, 2.0**63 + 4096)])
def test_bounds_without_a_whole_number_between(bounds: tuple[float, float]) -> None:
    column = Column(name="x", type="int", min=bounds[0], max=bounds[1])
    with pytest.raises(InputError, match="'x'"):
        draw(column, 3, rng())


@pytest.mark.parametrize(
    "column",
    [
        Column(name="x", type="date", min=2.0**31, max=2.0**32),
        Column(name="x", type="timestamp", min=2.0**50, max=2.0**51),
        Column(name="x", type="other", values=("a", 1)),
        Column(name="x", type="other", values=(2**70,)),
    ],
    ids=["date", "timestamp", "two types", "huge"],
)
def test_what_cannot_be_made_is_said(column: Column) -> None:
    with pytest.raises(InputError, match="'x'"):
        draw(column, 3, rng())


def test_a_table_has_made_up_ids_and_patients_with_several_records() -> None:
    table = draw_table(schema(Column(name="age", type="int"), record_id="r"), 100, rng())
    assert table.column_names == ["p", "r", "age"]
    assert table.num_rows == 100
    assert pc.count_distinct(table.column("r")).as_py() == 100
    assert pc.count_distinct(table.column("p")).as_py() == 80
    assert all(word.startswith("mock-") for word in table.column("p").to_pylist())


def test_ids_keep_their_place_and_their_type() -> None:
    table = draw_table(schema(Column(name="age", type="int"), Column(name="p", type="int")), 10, rng())
    assert table.column_names == ["age", "p"]
    assert pa.types.is_int64(table.column("p").type)


@given(st.integers(0, 40), st.integers(0, 100))
def test_a_table_is_its_schema_s_and_its_seed_s(rows: int, seed: int) -> None:
    one = schema(Column(name="a", type="float"), Column(name="b", type="string", missing=0.2))
    table = draw_table(one, rows, rng(seed))
    assert table.num_rows == rows
    assert table.equals(draw_table(one, rows, rng(seed)))


def test_another_seed_is_another_table() -> None:
    one = schema(Column(name="a", type="float"))
    assert not draw_table(one, 10, rng(1)).equals(draw_table(one, 10, rng(2)))


def test_ids_that_are_not_listed_come_first() -> None:
    one = schema(Column(name="a", type="int"), record_id="r")
    assert [column.name for column in with_ids(one)] == ["p", "r", "a"]


def test_without_rows_ids_still_have_their_type() -> None:
    assert ids_as("string", "mock", []).type == pa.string()
    assert ids_as("int", "mock", []).type == pa.int64()
