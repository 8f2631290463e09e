"""`[tool.flame.data.NAME]`: what an analysis may state of a store, and conditions that mean one thing."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import Manifest
from tests.support.gates import make_fab, make_terms, manifest_from, terms_table

STATED = {"table": "visits.parquet", "patient_id": "pid", "columns": ["age"]}


def store(**changes: Any) -> DataStore:
    return DataStore.model_validate(STATED | changes)


def wrong(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        store(**changes)
    return str(caught.value)


def test_what_is_not_named_is_not_asked_for() -> None:
    """Default deny: no file, no feature, no modality, no condition."""
    stated = store()
    assert (stated.kind, stated.record_id, stated.files, stated.features, stated.modalities, stated.where) == (
        "table", None, (), (), (), (),
    )  # fmt: skip
    assert stated.min_patients == 10


def test_one_store_at_least_is_not_optional() -> None:
    """A DIZ without anybody's data would answer without disclosure control."""
    stated = STATED | {"optional": True}
    with pytest.raises(InputError, match="must not be optional"):
        make_terms(data={"a": stated, "b": stated})
    assert make_terms(data={"a": stated, "b": STATED}).data["a"].optional


def test_columns_must_be_stated() -> None:
    with pytest.raises(ValidationError, match="columns"):
        DataStore.model_validate({"table": "t.csv", "patient_id": "pid"})


@pytest.mark.parametrize(
    "name", ["../t.csv", "/t.csv", "a/../t.csv", "a//t.csv", "./t.csv", "a/./t.csv", "-t.csv", "t t.csv", "ä.csv", ""]
)
def test_a_file_is_named_plainly_and_inside_the_store(name: str) -> None:
    """Each of these would be another path on some machine, or a flag of some tool."""
    assert "table" in wrong(table=name)
    assert "files" in wrong(files=[name])


def test_a_file_may_lie_in_a_folder_of_the_store() -> None:
    assert store(table="tables/visits.csv", files=["more/x.parquet"]).files == ("more/x.parquet",)


@pytest.mark.parametrize("name", ["t.txt", "t.pkl", "t", "t.csv.gz", "parquet"])
def test_a_table_of_no_known_format(name: str) -> None:
    assert "table must end in one of .parquet" in wrong(table=name)


@pytest.mark.parametrize("field", ["columns", "features", "modalities"])
def test_everything_stands_alone(field: str) -> None:
    """With a name beside it, somebody would read it as that name only."""
    assert '"*" stands alone' in wrong(**{field: ["*", "age"]})
    assert getattr(store(**{field: ["*"]}), field) == ("*",)


def test_features_are_named_once() -> None:
    assert "features or features_file" in wrong(features=["a"], features_file="genes.txt")


def test_an_unknown_word_is_an_error() -> None:
    assert "column" in wrong(column=["age"])


@pytest.mark.parametrize("least", [0, -1])
def test_no_patients_are_no_minimum(least: int) -> None:
    assert "min_patients" in wrong(min_patients=least)


@pytest.mark.parametrize("op", ["==", "!=", "<", "<=", ">", ">="])
def test_a_comparison_has_one_value(op: str) -> None:
    assert Condition(column="age", op=op, value=1).value == 1
    for wrong_way in ({}, {"values": (1,)}, {"value": 1, "values": (1,)}):
        with pytest.raises(ValidationError, match="needs value"):
            Condition.model_validate({"column": "age", "op": op, **wrong_way})


@pytest.mark.parametrize("op", ["in", "not in"])
def test_a_membership_has_values(op: str) -> None:
    assert Condition(column="age", op=op, values=(1, 2)).values == (1, 2)
    for wrong_way in ({}, {"value": 1}, {"value": 1, "values": (1,)}, {"values": ()}):
        with pytest.raises(ValidationError, match="needs values"):
            Condition.model_validate({"column": "age", "op": op, **wrong_way})


@pytest.mark.parametrize("op", ["present", "missing"])
def test_presence_has_none(op: str) -> None:
    assert Condition(column="age", op=op).value is None
    for wrong_way in ({"value": 1}, {"values": (1,)}):
        with pytest.raises(ValidationError, match="needs neither"):
            Condition.model_validate({"column": "age", "op": op, **wrong_way})


@pytest.mark.parametrize("value", [True, 1, 2**70, 1.5, 18.0, "yes", date(2020, 2, 29)])
def test_a_condition_is_the_same_after_it_was_stored(value: object) -> None:
    """True is not 1, and a day is not lost: the stored manifest is compared with the one that arrives."""
    one = Condition.model_validate({"column": "c", "op": "==", "value": value})
    many = Condition.model_validate({"column": "c", "op": "in", "values": [value]})
    for stated in (one, many):
        again = Condition.model_validate_json(stated.model_dump_json())
        assert again == stated
        assert type(again.value) is type(stated.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_is_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        Condition(column="c", op="<", value=value)


def test_a_manifest_with_every_kind_of_condition_survives_storage() -> None:
    """What a gate stores when it files an analysis equals what it reads from the bundle the next time."""
    where = [
        {"column": "day", "op": ">=", "value": date(2020, 1, 1)},
        {"column": "age", "op": "<", "value": 90},
        {"column": "score", "op": "<=", "value": 1.0},
        {"column": "sex", "op": "in", "values": ["f", "m"]},
        {"column": "alive", "op": "==", "value": True},
        {"column": "note", "op": "missing"},
    ]
    manifest = manifest_from(make_fab(terms_table(data={"cohort": STATED | {"where": where}})))
    assert Manifest.model_validate_json(manifest.model_dump_json(by_alias=True)) == manifest


def test_a_condition_is_part_of_what_is_approved() -> None:
    plain = make_fab(terms_table(data={"cohort": STATED}))
    narrow = make_fab(terms_table(data={"cohort": STATED | {"where": [{"column": "a", "op": "present"}]}}))
    assert manifest_from(plain).digest != manifest_from(narrow).digest


def test_an_error_names_the_store_and_the_field() -> None:
    with pytest.raises(InputError, match=r"data\.cohort"):
        make_terms(data={"cohort": STATED | {"where": [{"column": "a", "op": "like", "value": "x"}]}})
