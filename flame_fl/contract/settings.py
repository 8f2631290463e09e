"""Settings in TOML, read strictly: a misspelt setting is an error that names it, not a setting that is not there."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from flame_fl.contract.data_terms import FILE_PATTERN
from flame_fl.contract.errors import InputError

M = TypeVar("M")
_PATTERNS = {
    FILE_PATTERN: "must be a file's name inside the store: letters without umlauts, digits, . - _ and /",
}
_SHOULD = re.compile(r"^(Input|String|Value|List|Tuple|Set|Dictionary|Number) should ")
_VERB = re.compile(r"^(is|must|needs) ")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one setting, in words that hold nothing of its value.

    Attributes:
        place: The setting, dotted; empty where it is all of them together.
        what: What is wrong with it.
        mend: What to do.
    """

    place: str
    what: str
    mend: str

    @property
    def sentence(self) -> str:
        """Both, with a full stop or a question mark at the end."""
        verb = self.place and _VERB.match(self.what)
        said = f"{self.place} {self.what}" if verb else f"{self.place}: {self.what}".removeprefix(": ")
        return said if said.endswith("?") else f"{said}."

    def about(self, name: str) -> InputError:
        """The error of a file, or of what else has the settings."""
        return InputError(f"{name}: {self.sentence}", mend=self.mend)


def parse_settings(text: str, model: type[M], name: str) -> M:
    """The settings of a text.

    Args:
        text: TOML.
        model: What it must be: a model, or any type that pydantic can check.
        name: How to call it in an error, for example the file's path.

    Raises:
        InputError: It is no TOML, or not as it should be. Values are not repeated.
    """
    try:
        return TypeAdapter(model).validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as err:
        raise InputError(f"{name} is no TOML: {err}.", mend="Correct it.") from err
    except ValidationError as err:
        raise faults(err, model)[0].about(name) from None


def faults(error: ValidationError, model: Any) -> list[Fault]:
    """What pydantic found, in our words; unknown settings first, for a misspelt one makes another one missing."""
    found = error.errors(include_url=False, include_input=False)
    found.sort(key=lambda one: one["type"] != "extra_forbidden")
    return [_fault(one["type"], one["msg"], one.get("ctx", {}), one["loc"], model) for one in found]


def _fault(kind: str, words: str, context: dict[str, Any], where: Sequence[int | str], model: Any) -> Fault:
    path, models = _followed(where, model)
    mend = "Correct it, or remove the line."
    if kind == "extra_forbidden":
        what = f"is no setting{_meant(path, models, list(_models(model)))}"
    elif kind in {"missing", "union_tag_not_found"}:
        path += [str(context["discriminator"]).strip("'")] if kind == "union_tag_not_found" else []
        what, mend = "is missing", "Add it."
    elif kind == "union_tag_invalid":  # pydantic's own words repeat the value
        path.append(str(context["discriminator"]).strip("'"))
        what = f"must be one of {context['expected_tags']}"
    elif kind == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        what = _PATTERNS[context["pattern"]]
    elif kind == "value_error":
        what = words.removeprefix("Value error, ")
    elif kind.startswith("bool_") and path[-1] == "bool":  # the first of those that a `Scalar` can be
        path, what = path[:-1], "must be true, false, a number or text"
    elif "valid dictionary" in words:
        what = "must be a table"
    elif kind in {"tuple_type", "list_type"}:
        what = "must be a list"
    else:
        what = _SHOULD.sub("must ", words)
    return Fault(".".join(str(part) for part in path), what, mend)


def _meant(path: Sequence[int | str], here: Sequence[type[BaseModel]], top: Sequence[type[BaseModel]]) -> str:
    *above, name = path
    if above and name in _known(top):  # TOML: what follows a [section] is in it
        return " here: it stands before the first [section]"
    near = get_close_matches(str(name), sorted(_known(here)), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _known(models: Sequence[type[BaseModel]]) -> set[str]:
    return {field.alias or own for model in models for own, field in model.model_fields.items()}


def _followed(where: Sequence[int | str], model: Any) -> tuple[list[int | str], list[type[BaseModel]]]:
    """A place as it is written, and the models that the table around it may be: from field to field."""
    path, models = [*where[:-1]], list(_models(model))
    for part in where[:-1]:
        fields = [f for m in models for own, f in m.model_fields.items() if part in {own, f.alias}]
        tagged = [m for m in models if _is_tagged(m, part)]
        if fields:
            models = [m for field in fields for m in _models(field.annotation)]
        elif tagged:  # pydantic names the one of several models that it took; nobody wrote that
            models = tagged
            path.remove(part)
    return [*path, *where[-1:]], models


def _is_tagged(model: type[BaseModel], tag: int | str) -> bool:
    kinds = [field.annotation for field in model.model_fields.values()]
    return any(get_origin(kind) is Literal and get_args(kind) == (tag,) for kind in kinds)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, such as those of a union, or of a table's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
