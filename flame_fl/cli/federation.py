"""`flame federation`: a hub and nodes for real on this machine."""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout, stdout_kept_free
from flame_fl.contract.errors import InputError
from flame_fl.contract.places import hubs_file

cli = typer.Typer(help="A hub and nodes for real on this machine: TLS, keys, containers.", no_args_is_help=True)
Where = Annotated[Path, typer.Option("--home", help="The federation's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
HOME = Path("flame-federation")


@cli.command("up")
def up(
    nodes: Annotated[int, typer.Option(help="How many DIZ.", min=1, max=50)] = 3,
    demo: Annotated[
        Path | None,
        typer.Option(help="An app to demonstrate: data and image are made, a DEMO rule approves."),
    ] = None,
    project: Annotated[str | None, typer.Option(help="The FLAME project (default: the demonstrated app's).")] = None,
    image: Annotated[str | None, typer.Option(help="An image on the engine, instead of building one.")] = None,
    constraints: Annotated[Path | None, typer.Option(help="Locked versions for the image, in pip's format.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the split of demonstration data.", min=0)] = 1,
    data: Annotated[
        Path | None, typer.Option(help="The nodes' data, as for `flame simulate --data`, instead of making them.")
    ] = None,
    home: Where = HOME,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is up.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set up and start a hub and its nodes. Without --demo nothing is offered, and nothing approved."""
    from flame_fl.federation.plan import Home
    from flame_fl.federation.run import end_all, start_all, status
    from flame_fl.federation.set_up import Wish, set_up

    where = Home(home)
    hubs = hubs_file(os.environ)
    with stdout_kept_free():
        plan = set_up(where, Wish(nodes, project, demo, image, constraints, seed, data), _say)
        start_all(where, plan, hubs, _say)
    if as_json:
        typer.echo(json.dumps(status(where)))
    else:
        stdout.print(f"[bold]{len(plan.nodes)} nodes and a hub are up.[/]  Researchers: --hub local", highlight=False)
        if plan.demo:
            stdout.print("[bold yellow]DEMO[/]: a rule stands in for the stewards.", highlight=False)
            stdout.print(f"Try: flame run {escaped(demo)} --hub local", highlight=False)
    if detach:
        return
    try:
        _watch(where, plan.nodes)
    except KeyboardInterrupt:
        end_all(where, hubs, purge=False)
        stdout.print("all ended")


def _watch(home: "object", nodes: tuple[str, ...]) -> None:
    from flame_fl.federation.plan import Home

    assert isinstance(home, Home)  # noqa: S101
    offsets = {name: home.log(name).stat().st_size for name in ("hub", *nodes)}
    while True:
        for name, offset in offsets.items():
            with home.log(name).open("rb") as log:
                log.seek(offset)
                new = log.read().decode("utf-8", "replace")
            offsets[name] += len(new.encode())
            for line in new.splitlines():
                stdout.print(f"{name:>8}  {escaped(line)}", highlight=False, soft_wrap=True)
        time.sleep(0.5)


def _say(line: str) -> None:
    typer.echo(line, err=True)


@cli.command("down")
def down(
    home: Where = HOME,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its keys, state, ledgers and data as well.")] = False,
) -> None:
    """End every program and container of the federation; its state stays, unless --purge."""
    from flame_fl.federation.plan import Home
    from flame_fl.federation.run import end_all

    ended = end_all(Home(home), hubs_file(os.environ), purge=purge)
    stdout.print(f"ended: {', '.join(ended) or 'nothing was running'}", highlight=False)


@cli.command("status")
def status_(home: Where = HOME, as_json: AsJson = False) -> None:
    """Which programs of the federation run."""
    from flame_fl.federation.plan import Home
    from flame_fl.federation.run import status

    found = status(Home(home))
    if as_json:
        typer.echo(json.dumps(found))
        return
    processes = found["processes"]
    assert isinstance(processes, dict)  # noqa: S101
    table = Table("part", "process", title=f"hub {found['hub']}, project {found['project']}", title_justify="left")
    for name, pid in processes.items():
        table.add_row(escaped(name), str(pid) if pid else "[red]does not run[/]")
    stdout.print(table)


@cli.command("logs")
def logs(
    part: Annotated[str, typer.Argument(help='"hub", or a node\'s name.')] = "hub",
    home: Where = HOME,
    lines: Annotated[int, typer.Option(help="The last so many.", min=1)] = 40,
) -> None:
    """The last lines of a program's log."""
    from flame_fl.federation.plan import Home

    where = Home(home)
    if part not in ("hub", *where.read().nodes):
        raise InputError(f"The federation has no part {part!r}.", mend="See `flame federation status`.")
    text = where.log(part).read_text(encoding="utf-8", errors="replace") if where.log(part).exists() else ""
    for line in text.splitlines()[-lines:]:
        stdout.print(escaped(line), highlight=False, soft_wrap=True)
