"""`flame node flame-hub`: a FLAME Hub whose approvals this node needs beside its own stewards'."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, open_here, user
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from flame_fl.node.external import FlameHubSection, HubIds
    from flame_fl.node.external_files import HubFiles
    from flame_fl.node.wiring import Node

hub = typer.Typer(help="A FLAME Hub whose approvals this node needs beside its own.", no_args_is_help=True)

HubUuid = Annotated[str, typer.Argument(metavar="UUID", help="Its id at the FLAME Hub.")]


@hub.command("check")
def check(as_json: AsJson = False) -> None:
    """Ask the Hub: is the login taken, the node known, what is approved. Exit code 1 if something does not hold."""
    from flame_fl.node.hub_check import check_hub

    node = open_here()
    findings = []
    for finding in check_hub(_section(node), _files(node)):
        findings.append(finding)
        if not as_json:
            mark = "[green]holds[/]" if finding.holds else "[red]FAILS[/]"
            stdout.print(f"{mark}  {escaped(finding.name)}: {escaped(finding.said)}", highlight=False, soft_wrap=True)
            if not finding.holds and finding.mend:
                stdout.print(f"       {escaped(finding.mend)}", highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([f.__dict__ for f in findings]))
    if not all(f.holds for f in findings):
        raise typer.Exit(1)


@hub.command("map")
def map_ids(
    uuid: HubUuid,
    analysis: Annotated[str, typer.Option(help="Our analysis: its whole digest, 64 hex digits.")] = "",
    project: Annotated[str, typer.Option(help="Our project: its id, as apps state it.")] = "",
    as_json: AsJson = False,
) -> None:
    """State which project or analysis of the Hub one of ours is. It approves nothing."""
    from flame_fl.node.external import with_analysis, with_project

    if bool(analysis) == bool(project):
        raise InputError("Name either a project or an analysis.", mend="--project ID, or --analysis DIGEST.")
    ours = analysis or project
    ids = _change(lambda ids: (with_analysis if analysis else with_project)(ids, ours, uuid), "flame-hub-mapped", ours)
    hub_id = (ids.analyses if analysis else ids.projects)[ours]
    if as_json:
        typer.echo(json.dumps({"analysis" if analysis else "project": ours, "hub_id": hub_id}))
        return
    stdout.print(f"{escaped(ours)} is {hub_id} at the FLAME Hub.", highlight=False, soft_wrap=True)


@hub.command("unmap")
def unmap(
    which: Annotated[str, typer.Argument(metavar="ID", help="A project's id, an analysis's digest, or a UUID.")],
    as_json: AsJson = False,
) -> None:
    """Forget which one of the Hub's it is: nothing of it runs here until it is mapped again."""
    from flame_fl.node.external import without

    _change(lambda ids: without(ids, which), "flame-hub-unmapped", which)
    if as_json:
        typer.echo(json.dumps({"unmapped": which}))
        return
    stdout.print(f"{escaped(which)} is no longer mapped.", highlight=False, soft_wrap=True)


@hub.command("show")
def show(as_json: AsJson = False) -> None:
    """What is mapped, and what the Hub last said of it to the gate that runs. Asks nobody."""
    from flame_fl.node.external_files import read_answers, read_ids

    node = open_here()
    files = _files(node)
    ids, answers = read_ids(files), read_answers(files, _section(node))
    rows = []
    for kind, ids_of in (("project", ids.projects), ("analysis", ids.analyses)):
        for own, hub_id in ids_of.items():
            answer = answers.get((kind, hub_id))
            rows.append(
                {
                    "kind": kind,
                    "id": own,
                    "hub_id": hub_id,
                    "status": answer.status.value if answer else None,
                    "asked_at": _when(answer.asked_at) if answer else None,
                    "was_approved": answer.was_approved if answer else False,
                }
            )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        stdout.print("Nothing is mapped: no analysis passes the FLAME Hub's gate. See `flame node flame-hub map`.")
        return
    shown = Table()
    for column in ("kind", "id", "at the FLAME Hub", "status", "asked"):
        shown.add_column(column, overflow="fold")
    for row in rows:
        ours = str(row["id"])[:12] if row["kind"] == "analysis" else row["id"]
        cells = (row["kind"], ours, row["hub_id"], row["status"] or "not asked yet", row["asked_at"] or "")
        shown.add_row(*(escaped(cell) for cell in cells))
    stdout.print(shown)


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def _section(node: "Node") -> "FlameHubSection":
    section = node.config.flame_hub
    if section is None:
        raise InputError(
            "This node asks no FLAME Hub: node.toml has no [flame_hub].",
            mend="docs/flame-hub.md says what belongs there.",
        )
    return section


def _files(node: "Node") -> "HubFiles":
    from flame_fl.node.external_files import HubFiles

    return HubFiles(node.files.state)


def _change(change: Callable[["HubIds"], "HubIds"], kind: str, which: str) -> "HubIds":
    """Change the mapping, and audit who did."""
    from flame_fl.node.external_files import read_ids, write_ids
    from flame_fl.node.wiring import open_store

    node = open_here()
    files = _files(node)
    ids = change(read_ids(files))
    with ExitStack() as closing:
        store = open_store(node, closing)
        with store.transaction():
            mapped = {"projects": ids.projects, "analyses": ids.analyses}
            store.record(kind, {"which": which, "by": user(), **mapped})
            write_ids(files, ids)
    return ids
