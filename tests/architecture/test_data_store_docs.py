"""What docs/data-stores.md says of specification files and of the packaged views is what the code reads."""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.contract.settings import parse_settings
from flame_fl.data.sources import fhir, s3
from flame_fl.data.sources.fhir_definitions import PACKAGED
from flame_fl.data.spec import CohortRule, ConsentRule, FolderSource, LayoutSpec, StoreSpec, Window
from tests.architecture.tree import ROOT

TEXT = (ROOT / "docs" / "data-stores.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SPECS = [block for block in BLOCKS if "[layout]" in block]
TERMS = [block for block in BLOCKS if "[tool.flame.data." in block]
SECTIONS: dict[str, type[BaseModel]] = {
    "before any section": StoreSpec,
    "`[layout]`": LayoutSpec,
    "`[source]`, folder": FolderSource,
    "`[source]`, S3": s3.S3Source,
    "`[source]`, FHIR": fhir.FhirSource,
    "`[cohort]`": CohortRule,
    "… `where`": Condition,
    "… `window`": Window,
    "… `consent`": ConsentRule,
}
OF_SECTIONS = {"layout", "source", "cohort"}  # of StoreSpec: each is a section


def table(first: str) -> list[list[str]]:
    """The cells of the table whose header begins so, row by row."""
    (found,) = re.findall(rf"^\| {re.escape(first)} .*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found.splitlines()]


def fields() -> dict[tuple[str, str], tuple[str, str]]:
    """By section and field: default and meaning."""
    found, section = {}, ""
    for where, name, default, meaning in table("in | field"):
        section = where or section
        found[section, name.strip("`")] = (default, meaning)
    return found


@cache
def view(name: str) -> dict[str, Any]:
    """A packaged ViewDefinition."""
    text = (resources.files("flame_fl.data.sources") / "mii" / f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def columns(selects: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Names and FHIR types; each part of a unionAll has the same."""
    for one in selects:
        yield from ((column["name"], column["type"]) for column in one.get("column", ()))
        for inner in ("select", "unionAll"):
            yield from columns(one.get(inner, []))


def columns_of(name: str) -> dict[str, str]:
    """Of a packaged view."""
    return dict(columns(view(name)["select"]))


def default(model: type[BaseModel], name: str) -> str:
    """As TOML has it."""
    (field,) = [f for own, f in model.model_fields.items() if (f.alias or own) == name]
    if field.is_required():
        return "needed"
    empty = field.default is None or field.default in ((), {}, "")
    return "–" if empty else f"`{json.dumps(field.default)}`"


class TestExamples:
    def test_there_is_one_of_every_source(self) -> None:
        """The search above finds them, a folder's first."""
        assert [tomllib.loads(text)["source"]["type"] for text in SPECS] == ["folder", "fhir", "s3"]
        assert TERMS

    @pytest.mark.parametrize("text", SPECS)
    def test_every_specification_is_one(self, text: str) -> None:
        """Read as `flame node data add --spec` reads it."""
        assert parse_settings(text, StoreSpec, "the example").cohort.consent is not None

    @pytest.mark.parametrize("text", TERMS)
    def test_every_data_store_of_an_app_is_one(self, text: str) -> None:
        """`[tool.flame.data.NAME]`."""
        stated = tomllib.loads(text)["tool"]["flame"]["data"]
        assert TypeAdapter(dict[str, DataStore]).validate_python(stated)

    @pytest.mark.parametrize("text", [text for text in SPECS if 'type = "fhir"' in text])
    def test_a_packaged_view_has_the_columns_that_an_example_names(self, text: str) -> None:
        """Of the record table, which is a view's."""
        spec: StoreSpec = parse_settings(text, StoreSpec, "the example")
        name = spec.layout.table.removesuffix(".parquet")
        assert isinstance(spec.source, fhir.FhirSource)
        assert name in spec.source.views
        assert name in PACKAGED
        assert named(spec) <= set(columns_of(name))


def named(spec: StoreSpec) -> set[str]:
    """The columns of the record table that it names."""
    rule = spec.cohort
    found = {spec.layout.patient_id, spec.layout.record_id, *(condition.column for condition in rule.where)}
    found |= {part.column for part in (rule.window, rule.consent) if part is not None}
    return {name for name in found if name is not None}


class TestFields:
    def test_every_field_of_every_section_is_listed(self) -> None:
        """And no other."""
        known = [
            (section, field.alias or own)
            for section, model in SECTIONS.items()
            for own, field in model.model_fields.items()
            if model is not StoreSpec or own not in OF_SECTIONS
        ]
        assert sorted(fields()) == sorted(known)
        assert set(StoreSpec.model_fields) >= OF_SECTIONS

    @pytest.mark.parametrize(("section", "name"), fields())
    def test_its_default_is_the_model_s(self, section: str, name: str) -> None:
        """ "needed" where there is none."""
        stated, meaning = fields()[section, name]
        assert stated == default(SECTIONS[section], name)
        assert meaning

    def test_the_operators_of_a_condition(self) -> None:
        """Each of them."""
        meaning = fields()["… `where`", "op"][1]
        assert tuple(re.findall(r"`([^`]+)`", meaning)) == get_args(Condition.model_fields["op"].annotation)

    def test_every_kind_has_a_row(self) -> None:
        """To which the field's row leads."""
        kinds = [row[0].strip("`") for row in table("kind")]
        assert tuple(kinds) == get_args(LayoutSpec.model_fields["kind"].annotation)

    def test_what_the_credentials_file_holds(self) -> None:
        """For each login, by the names that are read."""
        assert set(re.findall(r"`(\w+)`", fields()["`[source]`, S3", "credentials"][1])) == s3._KEYS
        said = fields()["`[source]`, FHIR", "credentials"][1]
        found = {login: tuple(re.findall(r"`(\w+)`", rest)) for login, rest in re.findall(r"(\w+): ([^;]+)", said)}
        assert {"none": (), **found} == fhir._NEEDED
        assert set(fhir._NEEDED) == set(get_args(fhir.FhirSource.model_fields["login"].annotation))


class TestViews:
    ROWS = {row[0].strip("`"): row[1:] for row in table("packaged view | resources")}  # noqa: RUF012

    def test_every_packaged_view_is_listed(self) -> None:
        """In both tables."""
        assert tuple(self.ROWS) == PACKAGED
        listed = [name for row in table("packaged view | FHIR") for name in re.findall(r"`(\w+)`", row[0])]
        assert tuple(listed) == PACKAGED

    @pytest.mark.parametrize("name", PACKAGED)
    def test_its_columns_are_the_definition_s(self, name: str) -> None:
        """In its order; the type is said where it is no text."""
        text = {"id", "code", "string"}
        shown = [f"`{c}`" if kind in text else f"`{c}` {kind}" for c, kind in columns_of(name).items()]
        assert self.ROWS[name][1] == ", ".join(shown)

    @pytest.mark.parametrize("name", PACKAGED)
    def test_its_filter_is_said(self, name: str) -> None:
        """Every literal in it is in the row, and a view without one says that it has none."""
        literals = [word for one in view(name).get("where", ()) for word in re.findall(r"'([^']+)'", one["path"])]
        said = self.ROWS[name][0]
        assert said.startswith("only" if literals else "every one")
        assert [word for word in literals if f"`{word}`" not in said] == []

    @pytest.mark.parametrize("name", PACKAGED)
    def test_none_looks_at_the_status(self, name: str) -> None:
        """As the text below the table says."""
        assert "status" not in json.dumps(view(name).get("where", []))
