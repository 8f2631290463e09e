"""`flame node audit`: check and export a node's audit chain."""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.places import node_places
from flame_fl.data.files import PRIVATE, replace
from flame_fl.gate.audit import BrokenChainError, Mark, parse
from flame_fl.gate.audit_export import export_lines
from flame_fl.gate.checkpoints import Checkpoints, Findings
from flame_fl.gate.database import Database, require_state
from flame_fl.gate.heads import Head, held_in, is_signed_by
from flame_fl.gate.signatures import public_text, read_private_key, read_public_key

audit = typer.Typer(help="The audit chain.", no_args_is_help=True)

Where = Annotated[
    Path | None, typer.Argument(help="A run folder, a state folder, or a state.db (default: this machine's node).")
]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="What others hold of it: a hub's events.jsonl, a run's folder or result.json, another node's export, or"
        " heads line by line. May be given again.",
    ),
]
Key = Annotated[Path | None, typer.Option("--key", help="The node's public key as you know it (a .pub file).")]


@dataclass(frozen=True)
class _State:
    """A node's state file, under the name of its folder."""

    name: str
    file: Path

    def key(self, given: Path | None) -> str:
        """The node's public key; "" if there is none."""
        own = self.file.with_name("keys") / "identity.pub"
        virtual = self.file.with_name("identity")  # a simulation's node has no other
        if given is None and not own.is_file() and virtual.is_file():
            return public_text(read_private_key(virtual).public_key())
        try:
            return read_public_key((given or own).read_text(encoding="utf-8")) if given or own.is_file() else ""
        except (OSError, UnicodeDecodeError) as err:
            raise InputError(f"{given or own} cannot be read.", mend="Give --key, a .pub file.") from err


@audit.command("verify")
def verify(
    path: Where = None,
    against: Against = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Recompute the chain of every node found, and compare checkpoints and heads; exit code 5 if one does not hold."""
    held = {file: tuple(held_in(file)) for file in against or ()}
    compared: set[Path] = set()
    found = []
    states = _states(path)
    unnamed = {""} if len(states) == 1 else set()  # of many nodes, a head without a name is nobody's
    for state in states:
        public = state.key(key)
        with _opened(state.file) as database:
            chain = Checkpoints(database)
            names = {state.name, _name_in(chain) or state.name} | unnamed
            mine = {(f, h.head): h for f, heads in held.items() for h in heads if h.node in names}
            compared |= {f for f, _ in mine}
            findings = _checked(state, chain, public, mine)
            debits = database.rows("SELECT COUNT(*) FROM debits")[0][0]
            found.append(_told(state, findings, debits) | ({"heads": len(mine)} if against else {}))
    if missing := [file for file in held if file not in compared]:
        raise InputError(
            f"{missing[0]} holds no head of {' or of '.join(escaped(row['node']) for row in found[:3])}.",
            mend="Nothing was compared with it. Heads are matched by the node's name; see docs/audit.md.",
        )
    if as_json:
        typer.echo(json.dumps(found))
        return
    _show(found)


def _checked(state: _State, chain: Checkpoints, key: str, held: dict[tuple[Path, str], Head]) -> Findings:
    marks = [Mark(head, str(file)) for file, head in held]
    try:
        return chain.check([key] if key else [], marks)
    except BrokenChainError as err:
        mend = err.mend
        head = err.mark and held.get((Path(err.mark.held_by), err.mark.head))
        if head:
            signed = bool(key) and is_signed_by(head, key)
            mend = (
                "The head is signed by this node's key: the node let it out."
                if signed
                else "The head is not signed: whoever holds it may be wrong about whose it is."
            ) + f" {mend}"
        raise VerificationError(f"{state.name}: {err.message}", mend=f"{state.file}: {mend}") from err
    except VerificationError as err:
        raise VerificationError(f"{state.name}: {err.message}", mend=f"{state.file}: {err.mend}") from err


def _told(state: _State, findings: Findings, debits: int) -> dict[str, object]:
    return {
        "node": state.name,
        "entries": findings.entries,
        "head": findings.head,
        "ledger_entries": debits,
        "checkpoints": findings.checkpoints,
        "signatures_checked": findings.signed and findings.checkpoints > 0,
        "vouched_for": findings.confirmed,
        "gap": findings.gap,
    }


def _show(found: list[dict[str, object]]) -> None:
    heads = "heads" in found[0]
    columns = ["node", "entries", "ledger entries", "checkpoints", "vouched for", *(["heads"] if heads else []), "head"]
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in found:
        table.add_row(*(escaped(row[column.replace(" ", "_")]) for column in columns))
    stdout.print(table)
    for row in found:
        name = escaped(row["node"])
        if row["checkpoints"] and not row["signatures_checked"]:
            stdout.print(f"{name}: signatures of checkpoints were not checked: its key is not here; give --key.")
        if isinstance(row["gap"], tuple):
            first, last = row["gap"]
            stdout.print(f"{name}: no checkpoint between entries {first} and {last}; one may have been removed.")
    stdout.print("Every chain holds.")


@audit.command("export")
def export(
    path: Where = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to a file (default: print it).")] = None,
    since: Annotated[int, typer.Option("--since", min=1, help="The first entry wanted, by its number.")] = 1,
    key: Key = None,
) -> None:
    """Give out every entry, checkpoint and head of a peer as JSON lines, node by node, for whoever checks them.

    `deploy/auditor/verify_audit.py` checks an export; docs/audit.md says what its lines hold.
    """

    def lines() -> Iterator[str]:
        for state in _states(path):
            with _opened(state.file) as database:
                name = _name_in(Checkpoints(database)) or state.name
                yield from export_lines(database, node=name, key=state.key(key), since=since)

    if out is None:
        sys.stdout.writelines(lines())
        return
    beside = out.with_name(f".{out.name}.part")
    try:
        replace(beside, b"", PRIVATE)
        with beside.open("w", encoding="ascii") as file:
            file.writelines(lines())
        beside.replace(out)
    except OSError as err:
        raise InputError(f"{out} cannot be written ({err.strerror}).", mend="Choose another --out.") from err
    finally:
        beside.unlink(missing_ok=True)


def _name_in(chain: Checkpoints) -> str:
    """What the node called itself when it was made, if that is in its chain."""
    for text, _ in chain.entries():
        entry = parse(text) or {}
        body = entry.get("body")
        if entry.get("kind") == "node-made" and isinstance(body, dict):
            return str(body.get("name", ""))
        break
    return ""


@contextmanager
def _opened(file: Path) -> Iterator[Database]:
    require_state(file)  # to look must not make a state of what is none
    with closing(Database(file, durable=True)) as database:
        try:
            yield database
        except sqlite3.DatabaseError as err:
            raise VerificationError(
                f"The state file {file} cannot be read to its end: {err}.", mend="Keep it; restore it from a backup."
            ) from err


def _states(given: Path | None) -> list[_State]:
    path = (given or node_places(os.environ).state).resolve()
    if path.is_file():
        return [_State(path.parent.name, path)]
    for folder in (path, path / "nodes"):
        files = sorted(folder.glob("*/state.db"))
        if files:
            return [_State(f.parent.name, f) for f in files]
    if (path / "state.db").is_file():
        return [_State(path.name, path / "state.db")]
    raise InputError(f"There is no state.db in or below {path}.", mend="Give a run folder or a node's state folder.")
