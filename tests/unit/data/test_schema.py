"""Schemas: what they take, what they refuse, and that they are read without a word of the file in errors."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.data.layout import Layout
from flame_fl.data.schema import Column, Features, Picture, StoreSchema, read_schema

SCHEMA = StoreSchema(
    kind="table",
    table="t.csv",
    patient_id="p",
    record_id="r",
    files=("m.csv",),
    columns=(
        Column(name="p", type="string"),
        Column(name="sex", type="string", values=("f", "m"), missing=0.1),
        Column(name="age", type="int", unit="a", min=18, max=90),
    ),
    features=(Features(file="m.csv", names=("cg1", "cg2"), min=0, max=1),),
)


def test_a_schema_says_where_things_are() -> None:
    assert SCHEMA.layout == Layout("table", "t.csv", "p", "r", ("m.csv",))


def test_a_schema_is_its_json() -> None:
    assert StoreSchema.model_validate_json(SCHEMA.model_dump_json()) == SCHEMA


def test_its_hash_is_that_of_its_content() -> None:
    again = StoreSchema.model_validate(SCHEMA.model_dump())
    assert SCHEMA.sha256 == again.sha256
    assert len(SCHEMA.sha256) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"patient_id": "q"},
        {"record_id": None},
        {"columns": SCHEMA.columns[:2]},
        {"columns": tuple(reversed(SCHEMA.columns))},
        {"features": ()},
        {"kind": "anndata"},
    ],
)
def test_any_other_content_has_another_hash(change: dict[str, Any]) -> None:
    assert SCHEMA.model_copy(update=change).sha256 != SCHEMA.sha256


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "true", ""])
def test_categories_keep_their_types(value: Any) -> None:
    """1, 1.0, true and "1" are four categories."""
    column = Column.model_validate_json(Column(name="x", type="other", values=(value,)).model_dump_json())
    (kept,) = column.values
    assert kept == value
    assert isinstance(kept, bool) == isinstance(value, bool)
    assert isinstance(kept, str) == isinstance(value, str)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "a\u202eb"},
        {"name": "n" * 257},
        {"type": "category"},
        {"min": 2, "max": 1},
        {"min": float("nan")},
        {"max": float("inf")},
        {"max": 1e101},
        {"missing": 1.5},
        {"missing": -0.1},
        {"surprise": 1},
    ],
)
def test_columns_that_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Column.model_validate({"name": "x", "type": "int"} | fields)


@pytest.mark.parametrize("shape", [(0, 1), (1, 65537), (-1,)])
def test_pictures_have_a_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        Picture(modality="CT", format="dicom", shape=shape)


@given(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100))
def test_bounds_are_in_order(low: float, high: float) -> None:
    if low <= high:
        Column(name="x", type="float", min=low, max=high)
    else:
        with pytest.raises(ValidationError):
            Column(name="x", type="float", min=low, max=high)


def test_a_schema_s_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(SCHEMA.model_dump_json(indent=1))
    assert read_schema(path) == SCHEMA


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"kind": "table", "CANARY": "CANARY-VALUE"}', b'{"columns": "CANARY-VALUE"}'],
)
def test_files_that_are_no_schema(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "schema.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"schema\.json") as caught:
        read_schema(path)
    assert "CANARY-VALUE" not in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize(
    ("content", "said", "mend"),
    [
        ('{"kind": "table", "colums": []}', "colums is no setting; did you mean columns?", "Correct it"),
        ('{"columns": [{"name": "x", "typ": "int"}]}', "columns.0.typ is no setting; did you mean type?", "Correct it"),
        ("{}", "kind is missing.", "Add it."),
        ('{"kind": "table", "table": "ä.csv"}', "table must be a file's name inside the store", "Correct it"),
        ("[]", "must be an object.", "Begin with `flame node data schema NAME`."),
    ],
)
def test_what_is_wrong_in_a_schema_is_named(tmp_path: Path, content: str, said: str, mend: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_schema(path)
    assert caught.value.message.startswith(f"{path}: {said}")
    assert caught.value.mend.startswith(mend)


def test_a_schema_s_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_schema(tmp_path / "absent.json")
