"""`flame node project`: which projects may ask anything of this DIZ at all."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, gate_of, note_user, open_here, user
from flame_fl.cli.node_decide import (
    Comment,
    Key,
    SignatureIn,
    StatementIn,
    StatementOut,
    Until,
    key_of,
    signed_files,
    write_statement,
)

if TYPE_CHECKING:
    from flame_fl.gate.approval import ProjectRecord

cli = typer.Typer(help="Projects: approved once, before any of their analyses.", no_args_is_help=True)

Word = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's id, or the beginning of its digest.")]


@cli.command("list")
def listing(as_json: AsJson = False) -> None:
    """Every project that an analysis named here."""
    with ExitStack() as closing:
        found = [_as_json(record) for record in gate_of(open_here(), closing).store.projects()]
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table()
    columns = ("id", "digest", "status", "title", "responsible_person", "by", "at")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*(escaped(row[c][:12] if c == "digest" else row[c][:100]) for c in columns))
    stdout.print(table if found else "No project was named here yet.")


@cli.command("show")
def show(project: Word, as_json: AsJson = False) -> None:
    """What a project says of itself, who takes part, and every decision about it."""
    from flame_fl.node.steward import find_project

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        record = find_project(gate, project)
        decisions = [
            {"act": d.act, "by": d.by, "at": d.at, "comment": d.comment}
            for d in gate.store.decisions("project", record.digest)
        ]
    said = _as_json(record) | {"decisions": decisions}
    if as_json:
        typer.echo(json.dumps(said))
        return
    table = Table(show_header=False, title=f"{escaped(record.project.id)} is {record.status.value} here")
    for name, value in said.items():
        if name not in {"roster", "decisions"}:
            table.add_row(name.replace("_", " "), escaped(value))
    for name, key in record.roster.items():
        table.add_row("takes part", f"{escaped(name)}  {escaped(key)}")
    for made in decisions:
        table.add_row(made["act"], escaped(f"{made['at']}  {made['by']}  {made['comment']}"))
    stdout.print(table)


@cli.command("approve")
def approve(
    project: Word,
    key: Key = None,
    until: Until = None,
    statement_out: StatementOut = None,
    statement: StatementIn = None,
    signature: SignatureIn = None,
    comment: Comment = "",
    as_json: AsJson = False,
) -> None:
    """Sign that analyses of a project may be considered here. Each of them still needs its own approval."""
    from flame_fl.gate.decisions import Wish, by_key
    from flame_fl.node.steward import approve_project, find_project, statement_of

    node = open_here()
    with ExitStack() as closing:
        gate = gate_of(node, closing)
        record = find_project(gate, project)
        if statement is not None or signature is not None:
            signed = signed_files(statement, signature)
        else:
            stated = statement_of(gate, record, Wish(comment, until.date() if until else None))
            if statement_out is not None:
                write_statement(statement_out, stated)
                return
            signed = by_key(stated, key_of(node.files, key))
        decided = approve_project(gate, record, signed)
        note_user(gate, "approve", "project", decided.digest)
    _show(decided, as_json=as_json)


@cli.command("reject")
def reject(project: Word, comment: Comment = "", as_json: AsJson = False) -> None:
    """Reject a project, or take its approval back: none of its analyses runs from this moment."""
    from flame_fl.node.steward import reject_project

    with ExitStack() as closing:
        decided = reject_project(gate_of(open_here(), closing), project, by=user(), comment=comment)
    _show(decided, as_json=as_json)


@cli.command("roster")
def roster(
    project: Word,
    file: Annotated[Path, typer.Argument(help="One line per site: its name and its identity key (identity.pub).")],
    as_json: AsJson = False,
) -> None:
    """Say which sites take part. The project, and its analyses, must be approved again."""
    from flame_fl.node.steward import set_roster

    with ExitStack() as closing:
        changed = set_roster(gate_of(open_here(), closing), project, file, by=user())
    _show(changed, as_json=as_json)


def _as_json(record: "ProjectRecord") -> dict[str, Any]:
    return {
        **record.project.model_dump(),
        "digest": record.digest,
        "status": record.status.value,
        "by": record.by,
        "at": record.at,
        "comment": record.comment,
        "roster": dict(record.roster),
    }


def _show(record: "ProjectRecord", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_as_json(record)))
        return
    stdout.print(
        f"project {escaped(record.project.id)} {record.digest[:12]}: [bold]{record.status.value}[/]", highlight=False
    )
