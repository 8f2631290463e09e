"""Run-config overrides on the command line, in `flwr run`'s own syntax, with nothing dropped silently."""

import re
import tomllib

import click
from flwr.common.config import parse_config_args

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Scalar

# Flower reads what looks like a setting and passes over the rest: here there must be no rest
_SETTINGS = re.compile(r"""\s*(?:[^\s=]+=(?:'[^']*'|"[^"]*"|[^\s'"]\S*)(?:\s+|$))*""")


def parse_overrides(arguments: list[str]) -> dict[str, Scalar]:
    """'rounds=5 model="mlp"', several such strings of which a later one wins, or one TOML file.

    Raises:
        InputError: Not of that syntax, or something in it sets nothing.
    """
    settings: dict[str, Scalar] = {}
    for argument in arguments:
        is_file = argument.endswith(".toml")
        if (is_file and len(arguments) > 1) or not (is_file or _SETTINGS.fullmatch(argument)):
            raise _unreadable(arguments)
        try:
            # one by one: of two arguments that set keys of one table Flower drops the first
            settings |= parse_config_args([argument])
        except (ValueError, OSError, click.ClickException, tomllib.TOMLDecodeError) as err:
            raise _unreadable(arguments) from err
    return settings


def _unreadable(arguments: list[str]) -> InputError:
    return InputError(
        f"--run-config {' '.join(arguments)!r} cannot be read.",
        mend="Write --run-config 'rounds=5 model=\"mlp\"': strings in double quotes, spaces between settings.",
    )
