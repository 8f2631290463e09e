"""What a ViewDefinition may say: the part of SQL on FHIR v2 (https://sql-on-fhir.org) that makes flat tables.

There are `constant`, `where`, `column`, nested `select`, `forEach`, `forEachOrNull` and `unionAll`; no collections in
columns, no `repeat`. What is not known is refused.
"""

import importlib.resources
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from flame_fl.contract.errors import InputError
from flame_fl.contract.words import Frozen

PACKAGED = (
    "person",
    "diagnose",
    "laborbefund",
    "prozedur",
    "medikation",
    "medikationsgabe",
    "bioprobe",
    "consent",
)
_MOST_BYTES = 1 << 20
_SqlName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=128)]
_Expression = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class _Tag(Frozen):
    name: str
    value: str


class Column(Frozen):
    """A column, by a path from the element of its select."""

    name: _SqlName
    path: _Expression
    type: str = "string"
    collection: Literal[False] = False
    description: str = ""
    tag: tuple[_Tag, ...] = ()


class Select(Frozen):
    """Columns, nested selects and unions, once or for each of some elements."""

    column: tuple[Column, ...] = ()
    select: tuple["Select", ...] = ()
    each: Annotated[_Expression | None, Field(alias="forEach")] = None
    each_or_null: Annotated[_Expression | None, Field(alias="forEachOrNull")] = None
    union: Annotated[tuple["Select", ...], Field(alias="unionAll")] = ()

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        if self.each is not None and self.each_or_null is not None:
            raise ValueError("forEach and forEachOrNull exclude each other")
        return self


class _Where(Frozen):
    path: _Expression
    description: str = ""


class Definition(Frozen):
    """A ViewDefinition."""

    resource_type: Annotated[Literal["ViewDefinition", ""], Field(alias="resourceType")] = ""
    resource: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
    constant: tuple[dict[str, Any], ...] = ()
    select: Annotated[tuple[Select, ...], Field(min_length=1)]
    where: tuple[_Where, ...] = ()
    # What only describes it.
    id: str = ""
    url: str = ""
    name: _SqlName | None = None
    title: str = ""
    status: str = ""
    version: str = ""
    date: str = ""
    experimental: bool = False
    publisher: str = ""
    description: str = ""
    copyright: str = ""
    profile: tuple[str, ...] = ()
    fhir_version: Annotated[tuple[str, ...], Field(alias="fhirVersion")] = ()
    meta: dict[str, Any] | None = None


def read(view: str) -> tuple[str, Definition]:
    """A definition by its packaged name, or from a file; and what it is called in errors.

    Raises:
        InputError: There is no such view, or it is none, or says what is not known.
    """
    packaged = view in PACKAGED
    where = f"the view {view!r}" if packaged else f"the view in {view}"
    try:
        if packaged:
            text = (importlib.resources.files("flame_fl.data.sources") / "mii" / f"{view}.json").read_bytes()
        else:
            with Path(view).open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
    except OSError as err:
        raise InputError(f"{view} cannot be read ({err.strerror}).", mend="Name a ViewDefinition's file.") from None
    if len(text) > _MOST_BYTES:
        raise InputError(f"{view} is larger than {_MOST_BYTES} bytes.", mend="Name a ViewDefinition's file.")
    return where, _defined(text, where)


def _defined(text: bytes, where: str) -> Definition:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{where[0].upper()}{where[1:]} is no JSON object.", mend="Name a ViewDefinition's file.")
    try:
        return Definition.model_validate(content)
    except ValidationError as err:
        first = err.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        why = first["msg"]
    raise InputError(f"In {where}, {place}: {why}.", mend="Correct it: of SQL on FHIR what makes flat tables is known.")


def constants(definition: Definition, where: str) -> dict[str, Any]:
    """Its constants by name; dates among them are text, which fhirpathpy compares with dates as dates.

    Raises:
        InputError: One has no name, or not one simple value.
    """
    found = {}
    for one in definition.constant:
        values = {key: content for key, content in one.items() if key.startswith("value")}
        name = one.get("name")
        if len(values) != 1 or set(one) != {"name", *values} or not isinstance(name, str):
            raise InputError(f"A constant of {where} has no name or not one value.", mend="Give name and valueString.")
        content = next(iter(values.values()))
        if not isinstance(content, str | int | float | bool):
            raise InputError(f"The constant {name!r} of {where} is no simple value.", mend="Give a valueString.")
        found[name] = content
    return found
