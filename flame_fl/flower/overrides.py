"""Run-config overrides on the command line, in `flwr run`'s own syntax."""

import tomllib
from pathlib import Path

import click
from flwr.common.config import parse_config_args

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Scalar


def parse_overrides(arguments: list[str]) -> dict[str, Scalar]:
    """'rounds=5 model="mlp"', several such strings, or one TOML file.

    Raises:
        InputError: Not of that syntax.
    """
    mend = "Write --run-config 'rounds=5 model=\"mlp\"': strings in double quotes, spaces between settings."
    try:
        parsed = parse_config_args(arguments)
    except (ValueError, OSError, click.ClickException, tomllib.TOMLDecodeError) as err:
        raise InputError(f"--run-config {' '.join(arguments)!r} cannot be read.", mend=mend) from err
    named = [Path(a).suffix == ".toml" for a in arguments]
    if arguments and not any(named) and sum(a.count("=") for a in arguments) != len(parsed):
        raise InputError(f"--run-config {' '.join(arguments)!r} cannot be read.", mend=mend)
    return parsed
