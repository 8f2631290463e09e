"""Reading a data store, and how levels are declared."""

import numpy as np
import pandas as pd
import pytest
from federated_statistics.errors import InputError
from federated_statistics.store import load_table, parse_levels

FRAME = pd.DataFrame(
    {
        "patient_id": ["a", "b", "b", "c"],
        "age": [50, 61, 61, 72],
        "score": [1.5, np.nan, np.inf, -2.0],
        "smoker": [True, False, None, True],
        "stage": ["I", "III", None, "IV"],
        "grade": [1.0, 2.0, np.nan, 3.0],
        "note": ["x", "y", "z", "w"],
    }
)
LEVELS = "stage=I|II|III; grade=1|2; smoker=false|true"


@pytest.fixture
def table(tmp_path):
    FRAME.to_parquet(tmp_path / "table.parquet", index=False)
    return load_table(tmp_path, LEVELS)


def test_numbers_are_float64_with_nan_for_missing_and_infinite(table):
    assert table.rows == 4
    assert set(table.numbers) == {"age", "score", "smoker", "grade"}
    assert all(column.dtype == np.float64 for column in table.numbers.values())
    np.testing.assert_array_equal(table.numbers["score"], [1.5, np.nan, np.nan, -2.0])
    np.testing.assert_array_equal(table.numbers["smoker"], [1, 0, np.nan, 1])
    assert table.patients == ("a", "b", "b", "c")


def test_codes_are_places_among_the_declared_levels(table):
    assert {name: code.tolist() for name, code in table.codes.items()} == {
        "stage": [0, 2, -1, -1],  # IV is not declared
        "grade": [0, 1, -1, -1],
        "smoker": [1, 0, -1, 1],
    }
    assert table.levels["stage"] == ("I", "II", "III")


def test_what_is_not_declared_cannot_be_asked_for(table):
    with pytest.raises(InputError, match="note"):
        table.code("note")
    with pytest.raises(InputError, match="note"):
        table.number("note")
    assert table.matrix([]).shape == (4, 0)


def test_a_changed_store_is_read_again(tmp_path):
    file = tmp_path / "table.parquet"
    FRAME.to_parquet(file, index=False)
    assert load_table(tmp_path).rows == 4
    FRAME.iloc[:2].to_parquet(file, index=False)
    import os

    os.utime(file, ns=(1, 1))
    assert load_table(tmp_path).rows == 2


def test_a_store_without_its_file_or_ids_is_named(tmp_path):
    with pytest.raises(InputError, match=r"table\.parquet"):
        load_table(tmp_path)
    FRAME.drop(columns="patient_id").to_parquet(tmp_path / "table.parquet", index=False)
    with pytest.raises(InputError, match="patient_id"):
        load_table(tmp_path)


def test_levels_are_read_in_order():
    assert parse_levels(" a = x | y ;b=1|2|3; ") == {"a": ("x", "y"), "b": ("1", "2", "3")}
    assert parse_levels("") == {}


@pytest.mark.parametrize("text", ["a", "a=x", "a=x|x", "=x|y", "a=x|", "a=x|y;a=x|z"])
def test_levels_of_another_form_are_refused(text):
    with pytest.raises(InputError, match="column=level"):
        parse_levels(text)
