"""The documents of the format are written by the code that reads it, and say what it does."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from flame_fl.contract import schema
from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import parse_terms
from flame_fl.contract.terms import Terms
from tests.support.gates import terms_table

ROOT = Path(__file__).parents[3]
USE_CASES = sorted(ROOT.glob("use_cases/*/pyproject.toml"))
SCHEMA: dict[str, Any] = json.loads(schema.json_schema())
needs_jsonschema = pytest.mark.skipif(
    importlib.util.find_spec("jsonschema") is None, reason="jsonschema, which is no dependency, is not installed"
)


def stated(pyproject: Path) -> dict[str, Any]:
    """The [tool.flame] of an app."""
    terms: dict[str, Any] = tomllib.loads(pyproject.read_text())["tool"]["flame"]
    return terms


def as_json(terms: dict[str, Any]) -> Any:
    """TOML's dates as the strings that JSON has."""
    return json.loads(json.dumps(terms, default=str))


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table of the schema, by name."""
    yield "Terms", SCHEMA
    yield from SCHEMA["$defs"].items()


def models(model: type[BaseModel] = Terms) -> dict[str, type[BaseModel]]:
    """Every model that the schema describes, by name."""
    return {m.__name__: m for m in schema._TABLES.values()}


class TestTheFiles:
    @pytest.mark.parametrize(
        ("name", "wanted"), [("manifest.md", schema.markdown), ("manifest.schema.json", schema.json_schema)]
    )
    def test_are_what_would_be_written_now(self, name: str, wanted: Any) -> None:
        """`make docs` has been run since the last change."""
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == wanted()

    def test_are_written_by_the_module(self, tmp_path: Path) -> None:
        """As `make docs` calls it."""
        subprocess.run([sys.executable, "-m", "flame_fl.contract.schema", tmp_path], check=True, timeout=60)
        assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == {
            "manifest.md": schema.markdown(),
            "manifest.schema.json": schema.json_schema(),
        }


class TestEveryField:
    @pytest.mark.parametrize(("name", "model"), models().items())
    def test_is_explained_in_the_page(self, name: str, model: type[BaseModel]) -> None:
        """One row of its table, with a meaning that is no dash."""
        (title,) = [t for t, m in schema._TABLES.items() if m is model]
        section = schema.markdown().split(f"## `[{title}]`")[1].split("\n## ")[0]
        rows = {line.split(" | ")[0].strip("| `"): line for line in section.splitlines() if line.startswith("| `")}
        assert set(rows) == {f.alias or n for n, f in model.model_fields.items()}
        assert [n for n, row in rows.items() if len(row.rstrip(" |").rpartition(" | ")[2]) < 5] == []

    @pytest.mark.parametrize(("name", "table"), objects())
    def test_is_explained_in_the_schema(self, name: str, table: dict[str, Any]) -> None:
        """An editor shows the description."""
        assert [key for key, told in table["properties"].items() if not told.get("description")] == []

    def test_is_in_one_of_the_tables(self) -> None:
        """No model is left out of the page."""
        assert set(models()) == {name for name, _ in objects()}


class TestWhatIsAccepted:
    @pytest.mark.parametrize("pyproject", USE_CASES, ids=lambda p: p.parent.name)
    def test_the_use_cases_terms_are(self, pyproject: Path) -> None:
        """By the models that the schema is made of."""
        assert parse_terms(stated(pyproject)).project.id == pyproject.parent.name

    @needs_jsonschema
    @pytest.mark.parametrize("pyproject", USE_CASES, ids=lambda p: p.parent.name)
    def test_the_use_cases_terms_fit_the_schema(self, pyproject: Path) -> None:
        """As an editor would check them."""
        import jsonschema

        jsonschema.validate(as_json(stated(pyproject)), SCHEMA)

    @pytest.mark.parametrize(("name", "model"), models().items())
    def test_an_unknown_field_is_refused(self, name: str, model: type[BaseModel]) -> None:
        """In every table: a misspelt limit is no missing limit."""
        with pytest.raises(ValidationError) as caught:
            model.model_validate({"no_such_field": 1})
        assert [e["loc"] for e in caught.value.errors() if e["type"] == "extra_forbidden"] == [("no_such_field",)]

    @pytest.mark.parametrize(("name", "table"), objects())
    def test_an_unknown_field_is_refused_by_the_schema(self, name: str, table: dict[str, Any]) -> None:
        """The same, where an editor sees it."""
        assert table["additionalProperties"] is False

    @pytest.mark.parametrize("where", ["top", "project", "train", "privacy", "limits"])
    def test_an_unknown_field_is_named(self, where: str) -> None:
        """By the sentence a researcher gets."""
        table = terms_table()
        inner = {"top": table, "train": dict(table["messages"]["train"])}.get(where) or dict(table[where])
        inner["no_such_field"] = 1
        changed = (
            table
            if where == "top"
            else table | ({"messages": {"train": inner}} if where == "train" else {where: inner})
        )
        with pytest.raises(InputError, match="no_such_field"):
            parse_terms(changed)

    @needs_jsonschema
    def test_an_unknown_field_does_not_fit_the_schema(self) -> None:
        """As an editor would check it."""
        import jsonschema

        jsonschema.validate(as_json(terms_table()), SCHEMA)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(as_json({**terms_table(), "no_such_field": 1}), SCHEMA)

    def test_the_schema_says_which_it_is(self) -> None:
        """The dialect, and the fields that cannot be left out."""
        assert SCHEMA["$schema"].endswith("2020-12/schema")
        assert set(SCHEMA["required"]) == {"schema", "project", "messages", "privacy", "validity"}
