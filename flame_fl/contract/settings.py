"""Settings in TOML, read strictly: a misspelt setting is an error that names it, not a setting that is not there."""

import tomllib
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from flame_fl.contract.errors import InputError

M = TypeVar("M")


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
        first = err.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {place}: {first['msg']}.", mend="Correct it, or remove the line.") from None
