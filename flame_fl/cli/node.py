"""`flame node`: a DIZ's own installation."""

import json
import os
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from flame_fl.cli import (
    audit,
    image,
    node_budget,
    node_consent,
    node_data,
    node_decide,
    node_diff,
    node_hub,
    node_project,
    node_reconcile,
    node_steward,
    node_web,
)
from flame_fl.cli.console import escaped, printable, stdout
from flame_fl.cli.node_common import AsJson, gate_of, open_here
from flame_fl.contract.errors import InputError
from flame_fl.contract.places import node_places

if TYPE_CHECKING:
    from flame_fl.node.steward import Request

cli = typer.Typer(help="A DIZ's node: what it offers, what it approves, what it runs.", no_args_is_help=True)
cli.add_typer(node_data.cli, name="data")
cli.add_typer(node_consent.cli, name="consent")
cli.add_typer(node_project.cli, name="project")
cli.add_typer(node_steward.cli, name="steward")
cli.add_typer(node_budget.cli, name="budget")
cli.add_typer(node_web.cli, name="account")
cli.add_typer(node_hub.hub, name="flame-hub")
cli.add_typer(audit.audit, name="audit")
cli.add_typer(image.cli, name="image")


@cli.command("init")
def init(
    name: Annotated[str, typer.Option(help="How the hub and researchers call this DIZ.")],
    hub: Annotated[str, typer.Option(help="The hub's address, host:port.")],
    ca: Annotated[Path, typer.Option(help="The hub's authority, ca.crt, as its administrator sent it.")],
    port: Annotated[int, typer.Option(help="Where the SuperNode listens for the gate, on this machine only.")] = 9094,
    image: Annotated[str, typer.Option(help="Id or tag of the image for apps without one of their own.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a node: keys, settings with every limit named, an empty state. It approves nothing yet."""
    from flame_fl.node.init import NewNode, init_node

    places = node_places(os.environ)
    files = init_node(places, NewNode(name, hub, ca, port, _image_id(image)))
    public = files.flower_key.with_suffix(".pub")
    if as_json:
        typer.echo(json.dumps({"config": str(places.config), "state": str(files.state), "public_key": str(public)}))
        return
    stdout.print(f"Settings  {escaped(places.config)}\nState     {escaped(files.state)}", highlight=False)
    stdout.print(f"Send this file to the hub's administrator: [bold]{escaped(public)}[/]", highlight=False)
    stdout.print("Then: flame node data add, flame node image build, flame node check, flame node up", highlight=False)


def _image_id(image: str) -> str:
    from flame_fl.sandbox.container import is_image_id
    from flame_fl.sandbox.docker import connect

    if not image or is_image_id(image):
        return image
    import docker.errors

    try:
        return str(connect().images.get(image).id)
    except docker.errors.DockerException as err:
        raise InputError(f"There is no image {image!r} on the engine.", mend="`flame node image list`.") from err


@cli.command("up")
def up(
    only: Annotated[
        Literal["supernode", "gate"] | None, typer.Option(help="Run one of the two; by default both.")
    ] = None,
) -> None:
    """Run the SuperNode and the gate in the foreground, until Ctrl-C or SIGTERM."""
    from flame_fl.node.up import up as run

    run(open_here(with_state=only != "supernode"), _log, only=only)


def _log(line: str) -> None:
    typer.echo(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {printable(line)}")


@cli.command("down")
def down() -> None:
    """End the gate of this node that runs, and its SuperNode."""
    from flame_fl.node.up import down as end

    stdout.print("ended" if end(open_here()) else "no gate of this node was running")


@cli.command("status")
def status(as_json: AsJson = False) -> None:
    """What runs, what is offered, what waits for the steward, what was spent."""
    from flame_fl.node.status import status_of

    with ExitStack() as closing:
        found = status_of(open_here(), closing)
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table(show_header=False)
    for key, value in found.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) or "none" if isinstance(value, dict) else value
        table.add_row(key.replace("_", " "), escaped(shown))
    stdout.print(table)


@cli.command("check")
def check(as_json: AsJson = False) -> None:
    """Pre-flight: Flower, keys, state, disk, data, hub, clock, Docker Engine, isolation. Exit code 1 if one fails."""
    from flame_fl.node.check import check as look

    findings = []
    for finding in look(open_here()):
        findings.append(finding)
        if not as_json:
            mark = "[green]holds[/]" if finding.holds else "[red]FAILS[/]"
            stdout.print(f"{mark}  {finding.name}: {escaped(finding.said)}", highlight=False, soft_wrap=True)
            if not finding.holds and finding.mend:
                stdout.print(f"       {escaped(finding.mend)}", highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([f.__dict__ for f in findings]))
    failed = [f.name for f in findings if not f.holds]
    if failed:
        raise typer.Exit(1)


@cli.command("requests")
def requests(
    every: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False, as_json: AsJson = False
) -> None:
    """Analyses that wait for the steward."""
    from flame_fl.node.steward import Request

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        rows = [Request.of(record) for record in gate.store.approvals()]
    rows = [r for r in rows if every or r.status == "pending"]
    if as_json:
        typer.echo(json.dumps([r.__dict__ for r in rows]))
        return
    _show_requests(rows)


def _show_requests(rows: "list[Request]") -> None:
    if not rows:
        stdout.print("Nothing waits for the steward.")
        return
    table = Table()
    for column in ("digest", "app", "status", "project", "title", "by", "since"):
        table.add_column(column, overflow="fold")
    for r in rows:
        cells = (r.digest[:12], r.app, r.status, r.project, r.title, r.by, r.at[:16])
        table.add_row(*(escaped(c) for c in cells))
    stdout.print(table)
    stdout.print("flame node show DIGEST, then flame node approve DIGEST or flame node reject DIGEST")


@cli.command("show")
def show(
    digest: node_decide.Digest,
    german: Annotated[bool, typer.Option("--german", "--deutsch", help="In German.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="First run it on made-up data, in a container, and show what came of it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The steward's sheet: who asks, why, which data, what may leave, at which risk, by which code."""
    from flame_fl.cli.sheet import print_steward_sheet
    from flame_fl.node.dry_run import dry_run as try_it
    from flame_fl.node.sheet import build_sheet
    from flame_fl.node.steward import find

    node = open_here()
    with ExitStack() as closing:
        gate = gate_of(node, closing)
        record = find(gate, digest)
        tried = try_it(node, gate, record) if dry_run else None
        sheet = build_sheet(gate, node.config, record, dry_run=tried)
        gate.store.keep_sheet(sheet.sha256, sheet.text.decode())
    if as_json:
        typer.echo(sheet.text.decode())
        return
    print_steward_sheet(sheet, "de" if german else "en")


@cli.command("runs")
def runs(as_json: AsJson = False) -> None:
    """Runs here, newest first: what each let out, what was refused, what is at work."""
    with ExitStack() as closing:
        found = [row.__dict__ for row in gate_of(open_here(), closing).store.runs()]
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table()
    columns = ("run_id", "digest", "opened", "released", "refused", "working", "stopped")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*(escaped(str(row[c])[:12] if c == "digest" else row[c]) for c in columns))
    stdout.print(table if found else "Nothing has run here.")


for _name, _command in (
    ("diff", node_diff.diff),
    ("approve", node_decide.approve),
    ("reject", node_decide.reject),
    ("withdraw", node_decide.withdraw),
    ("stop", node_decide.stop),
    ("reconcile", node_reconcile.reconcile),
    ("web", node_web.web),
):
    cli.command(_name)(_command)
