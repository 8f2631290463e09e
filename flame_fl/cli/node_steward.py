"""`flame node steward`: whose signatures make an approval at this node."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, gate_of, open_here, user
from flame_fl.contract.errors import InputError

cli = typer.Typer(help="Stewards: whose signatures count here.", no_args_is_help=True)

_MAX_NAME = 64


@cli.command("list")
def listing(as_json: AsJson = False) -> None:
    """The stewards, with the fingerprints of their keys."""
    from flame_fl.gate.signatures import fingerprint

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        found = [
            {"name": name, "key": key, "fingerprint": fingerprint(key)} for key, name in gate.store.stewards().items()
        ]
        needed = gate.trust().needed
    if as_json:
        typer.echo(json.dumps({"needed": needed, "stewards": found}))
        return
    table = Table(title=f"{needed} of {len(found)} must sign", title_justify="left")
    table.add_column("name")
    table.add_column("key", overflow="fold")
    for row in found:
        table.add_row(escaped(row["name"]), row["fingerprint"])
    stdout.print(table)


@cli.command("add")
def add(
    name: Annotated[str, typer.Argument(help="How the audit chain calls this person.")],
    key: Annotated[Path, typer.Option(help="The public key, a .pub file of `ssh-keygen -t ed25519`.")],
) -> None:
    """Trust a steward's key."""
    from flame_fl.gate.signatures import fingerprint, read_public_key

    if not 0 < len(name) <= _MAX_NAME or not name.isprintable() or name.startswith("rule "):
        raise InputError(f"{name!r} is no name.", mend=f"At most {_MAX_NAME} plain characters.")
    try:
        public = read_public_key(key.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{key} cannot be read.", mend="Give a .pub file.") from err
    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        if public == gate.trust().node_key:
            raise InputError("This is the node's own key.", mend="A steward needs one of their own.")
        if not gate.store.add_steward(public, name, user()):
            raise InputError("This name or this key is there already.", mend="`flame node steward list`.")
    stdout.print(f"{escaped(name)}: {fingerprint(public)}", highlight=False)


@cli.command("remove")
def remove(name: Annotated[str, typer.Argument(help="As `flame node steward list` shows it.")]) -> None:
    """Trust a key no longer: approvals that rest on it hold no more, and running sandboxes are ended."""
    with ExitStack() as closing:
        if not gate_of(open_here(), closing).store.remove_steward(name, user()):
            raise InputError(f"There is no steward {name!r}.", mend="`flame node steward list`.")
    stdout.print(f"{escaped(name)}: removed", highlight=False)
