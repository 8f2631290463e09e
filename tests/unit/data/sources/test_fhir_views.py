"""ViewDefinitions: the algorithm of SQL on FHIR v2, its types, and what is refused."""

import contextlib
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.sources.fhir_columns import NotOfTypeError, day, value
from flame_fl.data.sources.fhir_paths import reference_key
from flame_fl.data.sources.fhir_views import View, load

BASE = "https://fhir.example/fhir"
P1 = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "birthDate": "1977-05",
    "name": [{"family": "A1", "given": ["X", "Y"]}, {"family": "A2"}],
    "contact": [{"name": {"family": "C1"}, "telecom": [{"system": "phone"}, {"system": "email"}]}],
}
LABORBEFUND = load("laborbefund", BASE)
P2 = {"resourceType": "Patient", "id": "p2"}
PID = {"name": "patient_id", "path": "getResourceKey()"}


@pytest.fixture
def view(tmp_path: Path) -> Any:
    def make(definition: dict[str, Any]) -> View:
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"resource": "Patient"} | definition))
        return load(str(path), BASE)

    return make


def rows(view: View, *resources: dict[str, Any]) -> list[tuple[object, ...]]:
    return [row for one in resources for row in view.rows(one)]


def refused(make: Any, definition: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        make(definition)
    return str(caught.value)


def test_for_each_makes_a_row_per_element_and_none_for_none(view: Any) -> None:
    made = view({"select": [{"column": [PID]}, {"forEach": "name", "column": [{"name": "family", "path": "family"}]}]})
    assert made.schema.names == ["patient_id", "family"]
    assert rows(made, P1, P2) == [("p1", "A1"), ("p1", "A2")]


def test_for_each_or_null_keeps_who_has_none(view: Any) -> None:
    family = {"forEachOrNull": "name", "column": [{"name": "family", "path": "family"}]}
    made = view({"select": [{"column": [PID]}, family]})
    assert rows(made, P1, P2) == [("p1", "A1"), ("p1", "A2"), ("p2", None)]


def test_nested_for_each_is_relative_and_repeats_its_parent(view: Any) -> None:
    inner = {"forEach": "telecom", "column": [{"name": "kind", "path": "system"}]}
    made = view(
        {
            "select": [
                {"column": [PID]},
                {
                    "forEach": "contact",
                    "column": [{"name": "who", "path": "name.family"}],
                    "select": [inner],
                },
            ]
        }
    )
    assert rows(made, P1, P2) == [("p1", "C1", "phone"), ("p1", "C1", "email")]


def test_sibling_selects_are_crossed(view: Any) -> None:
    made = view(
        {
            "select": [
                {"column": [PID]},
                {"forEach": "name", "column": [{"name": "family", "path": "family"}]},
                {"forEach": "contact.telecom", "column": [{"name": "kind", "path": "system"}]},
            ]
        }
    )
    assert rows(made, P1) == [("p1", a, b) for a in ("A1", "A2") for b in ("phone", "email")]


def test_union_concatenates_and_its_columns_come_last(view: Any) -> None:
    parts = [
        {
            "forEach": "name",
            "column": [{"name": "w", "path": "family"}, {"name": "own", "path": "true", "type": "boolean"}],
        },
        {
            "forEach": "contact.name",
            "column": [{"name": "w", "path": "family"}, {"name": "own", "path": "false", "type": "boolean"}],
        },
    ]
    made = view({"select": [{"unionAll": parts, "column": [PID]}]})
    assert made.schema.names == ["patient_id", "w", "own"]
    assert rows(made, P1, P2) == [("p1", "A1", True), ("p1", "A2", True), ("p1", "C1", False)]


def test_columns_come_in_the_order_of_the_specification(view: Any) -> None:
    def column(name: str) -> dict[str, str]:
        return {"name": name, "path": f"'{name}'"}

    made = view(
        {
            "select": [
                {
                    "unionAll": [{"column": [column("e")]}],
                    "select": [{"forEach": "contact", "column": [column("c")]}],
                    "column": [PID, column("b")],
                },
                {"column": [column("g")]},
            ]
        }
    )
    assert made.schema.names == ["patient_id", "b", "c", "e", "g"]
    assert rows(made, P1) == [("p1", "b", "c", "e", "g")]


def test_this_is_the_element_itself(view: Any) -> None:
    given_names = {
        "forEach": "name.given",
        "column": [{"name": "g", "path": "$this"}, {"name": "h", "path": "$this.length()", "type": "integer"}],
    }
    assert rows(view({"select": [{"column": [PID]}, given_names]}), P1) == [("p1", "X", 1), ("p1", "Y", 1)]


def test_where_keeps_what_is_true_and_nothing_that_is_empty(view: Any) -> None:
    made = view({"select": [{"column": [PID]}], "where": [{"path": "active"}, {"path": "name.exists()"}]})
    assert rows(made, P1, P2) == [("p1",)]
    with pytest.raises(InputError, match="is no boolean"):
        rows(view({"select": [{"column": [PID]}], "where": [{"path": "birthDate"}]}), P1)


def test_constants_are_values_not_text(view: Any) -> None:
    hostile = "A1' or true or '"
    made = view(
        {
            "constant": [{"name": "f", "valueString": "A2"}, {"name": "g", "valueString": hostile}],
            "select": [
                {
                    "column": [
                        PID,
                        {"name": "found", "path": "name.where(family = %f).family"},
                        {"name": "none", "path": "name.where(family = %g).family"},
                    ]
                }
            ],
        }
    )
    assert rows(made, P1) == [("p1", "A2", None)]


@pytest.mark.parametrize(
    ("wanted", "expected"), [("Patient", [(True,), (False,)]), ("", [(True,), (False,)]), ("Group", [(None,), (None,)])]
)
def test_keys_of_resources_and_references_are_equal(view: Any, wanted: str, expected: list[Any]) -> None:
    made = view(
        {
            "select": [
                {
                    "column": [
                        PID,
                        {
                            "name": "same",
                            "path": f"getResourceKey() = link.other.getReferenceKey({wanted})",
                            "type": "boolean",
                        },
                    ]
                }
            ]
        }
    )

    def linked(other: str) -> dict[str, Any]:
        return {"resourceType": "Patient", "id": "p1", "link": [{"other": {"reference": f"Patient/{other}"}}]}

    assert [row[1:] for row in rows(made, linked("p1"), linked("p3"))] == expected


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("Patient/a", "a"),
        ("Patient/a/_history/2", "a"),
        (f"{BASE}/Patient/a", "a"),
        ("https://other.example/fhir/Patient/a", ""),  # somebody else's patient of the same id
        ("Group/a", ""),
        ("#a", ""),
        ("urn:uuid:a", ""),
        ("Patient/a/b", ""),
        (None, ""),
    ],
)
def test_a_reference_key_is_an_id_of_this_server(reference: object, key: str) -> None:
    assert reference_key(reference, "Patient", BASE) == key


def test_several_values_in_a_column_are_an_error_that_quotes_none(view: Any) -> None:
    made = view({"select": [{"column": [PID, {"name": "family", "path": "name.family"}]}]})
    with pytest.raises(InputError, match=r"several values for the column 'family'") as caught:
        rows(made, P1)
    assert "A1" not in str(caught.value)


def test_a_value_of_another_type_is_an_error_that_quotes_none(view: Any) -> None:
    made = view({"select": [{"column": [PID, {"name": "family", "path": "name.first().family", "type": "integer"}]}]})
    with pytest.raises(InputError, match="that is no integer") as caught:
        rows(made, P1)
    assert "A1" not in str(caught.value)
    assert caught.value.__context__ is None


def test_what_cannot_be_evaluated_is_an_error_that_quotes_none(view: Any) -> None:
    made = view({"select": [{"column": [PID, {"name": "n", "path": "gender.substring(birthDate)"}]}]})
    with pytest.raises(InputError, match="cannot evaluate the column 'n'") as caught:
        rows(made, P1 | {"gender": "male"})
    assert "1977" not in str(caught.value)
    assert caught.value.__context__ is None


def test_trace_prints_nothing(view: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = view({"select": [{"column": [PID, {"name": "d", "path": "birthDate.trace('x')"}]}]})
    assert rows(made, P1) == [("p1", "1977-05")]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"nope": 1}, "nope: Extra inputs are not permitted"),
        ({"select": [{"column": [PID], "repeat": ["item"]}]}, "repeat: Extra inputs are not permitted"),
        ({"select": [{"column": [PID | {"collection": True}]}]}, "collection"),
        ({"select": [{"column": [PID | {"path": "id id"}]}]}, "is no FHIRPath"),
        ({"select": [{"column": [PID | {"path": "%nope"}]}]}, "uses a constant that is not there"),
        ({"select": [{"column": [PID | {"path": "a.where(b = %nope)"}]}]}, "uses a constant that is not there"),
        ({"select": [{"column": [PID | {"path": "birthDate.lowBoundary()"}]}]}, "cannot be evaluated"),
        ({"select": [{"column": [PID | {"path": "today()"}]}]}, "depends on when it is run"),
        ({"select": [{"column": [PID | {"name": "other"}]}]}, "no column patient_id"),
        ({"select": [{"column": [PID | {"type": "integer"}]}]}, "no column patient_id of text"),
        ({"select": [{"column": [PID | {"type": "CodeableConcept"}]}]}, "no simple one"),
        ({"select": [{"column": [PID, PID]}]}, "have one name"),
        ({"select": [{"column": [PID | {"name": "a b"}]}]}, "pattern"),
        ({"select": [{"column": [PID], "forEach": "a", "forEachOrNull": "b"}]}, "exclude each other"),
        ({"select": [{"unionAll": [{"column": [PID]}, {"column": [PID | {"name": "x"}]}]}]}, "different columns"),
        ({"constant": [{"name": "a"}]}, "not one value"),
        ({"constant": [{"name": "a", "valueString": "x", "more": 1}]}, "not one value"),
        ({"resource": "patient"}, "resource"),
    ],
)
def test_what_is_not_known_is_refused(view: Any, extra: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(view, {"select": [{"column": [PID]}]} | extra)


def test_files_that_are_no_definition_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content, sentence in ((b"[1]", "no JSON object"), (b"{", "no JSON object"), (b" " * (2 << 20), "larger than")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            load(str(path), BASE)
    with pytest.raises(InputError, match="cannot be read"):
        load(str(tmp_path / "none.json"), BASE)


def test_rows_of_one_resource_are_bounded(view: Any) -> None:
    crossed = [{"forEach": "name", "column": [{"name": f"n{i}", "path": "family"}]} for i in range(3)]
    made = view({"select": [{"column": [PID]}, *crossed]})
    many = {"resourceType": "Patient", "id": "p", "name": [{"family": "x"}] * 50}
    with pytest.raises(InputError, match="more than 100000 rows"):
        rows(made, many)


@pytest.mark.parametrize(
    ("written", "kind", "expected"),
    [
        ("2020-05-17", "date", date(2020, 5, 17)),
        ("2020-05", "date", date(2020, 5, 1)),
        ("2020", "date", date(2020, 1, 1)),
        ("2020-05-17T23:30:00-05:00", "date", date(2020, 5, 17)),
        ("2020-05-17T23:30:00-05:00", "dateTime", datetime(2020, 5, 18, 4, 30, tzinfo=UTC)),
        ("2020-05-17T23:30:00.1234567Z", "instant", datetime(2020, 5, 17, 23, 30, 0, 123456, tzinfo=UTC)),
        ("2020-05-17T05:39:54", "dateTime", datetime(2020, 5, 17, 5, 39, 54, tzinfo=UTC)),
        ("2020-05", "dateTime", datetime(2020, 5, 1, tzinfo=UTC)),
        ("2020-05", "string", "2020-05"),
        (True, "boolean", True),
        (5, "integer", 5),
        (5, "decimal", 5.0),
        (1.5, "string", "1.5"),
    ],
)
def test_values_by_type(written: object, kind: str, expected: object) -> None:
    assert value(written, kind) == expected


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("x", "date"),
        ("2020-13", "date"),
        ("2020-05-17T25:00:00Z", "dateTime"),
        ("0001-01-01T00:00:00+14:00", "dateTime"),
        (1, "boolean"),
        ("true", "boolean"),
        (True, "integer"),
        (1.5, "integer"),
        (1 << 63, "integer"),
        ("1", "decimal"),
        (float("inf"), "decimal"),
        (10**400, "decimal"),
        ({"a": 1}, "string"),
        ("\ud800", "string"),
    ],
)
def test_values_of_no_such_type(written: object, kind: str) -> None:
    with pytest.raises(NotOfTypeError):
        value(written, kind)


@given(st.dates(min_value=date(1, 1, 2), max_value=date(9999, 12, 30)))
def test_a_day_is_read_as_it_is_written(when: date) -> None:
    assert day(when.isoformat()) == when
    assert value(f"{when.isoformat()}T12:00:00+02:00", "date") == when


@settings(max_examples=40)
@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)))
def test_any_resource_makes_rows_or_an_input_error(content: dict[str, Any]) -> None:
    resource = {"resourceType": "Observation", "id": "o", "category": content, "value": content, "code": content}
    with contextlib.suppress(InputError):
        assert len(list(LABORBEFUND.rows(resource))) <= 1
