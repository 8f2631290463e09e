"""`flame node audit`: check and print a node's audit chain."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.places import node_places
from flame_fl.gate.database import require_state
from flame_fl.gate.store import Store

audit = typer.Typer(help="The audit chain.", no_args_is_help=True)

Where = Annotated[
    Path | None, typer.Argument(help="A run folder, a state folder, or a state.db (default: this machine's node).")
]


@audit.command("verify")
def verify(path: Where = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Recompute the chain of every node found; exit code 5 if one does not hold."""
    found = []
    for name, file in _state_files(path):
        with _opened(file) as store:
            try:
                entries, head = store.verify_audit()
            except VerificationError as err:
                raise VerificationError(f"{name}: {err.message}", mend=f"{file}: {err.mend}") from err
            found.append({"node": name, "entries": entries, "head": head, "ledger_entries": len(store.ledger())})
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table()
    for column in ("node", "entries", "ledger entries", "head"):
        table.add_column(column, overflow="fold")
    for row in found:
        table.add_row(*(escaped(row[k]) for k in ("node", "entries", "ledger_entries", "head")))
    stdout.print(table)
    stdout.print("Every chain holds.")


@audit.command("export")
def export(path: Where = None) -> None:
    """Print every entry as JSON lines, oldest first, node by node."""
    for name, file in _state_files(path):
        with _opened(file) as store:
            for entry, stored in store.audit_rows():
                typer.echo(json.dumps({"node": name, "hash": stored, "entry": entry}, sort_keys=True))


@contextmanager
def _opened(file: Path) -> Iterator[Store]:
    require_state(file)  # to look must not make a state of what is none
    store = Store(file)
    try:
        yield store
    finally:
        store.close()


def _state_files(given: Path | None) -> list[tuple[str, Path]]:
    path = (given or node_places(os.environ).state).resolve()
    if path.is_file():
        return [(path.parent.name, path)]
    for folder in (path, path / "nodes"):
        files = sorted(folder.glob("*/state.db"))
        if files:
            return [(f.parent.name, f) for f in files]
    if (path / "state.db").is_file():
        return [(path.name, path / "state.db")]
    raise InputError(f"There is no state.db in or below {path}.", mend="Give a run folder or a node's state folder.")
