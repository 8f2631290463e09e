"""`flame run`: the app that was simulated, at the real nodes of a hub."""

import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flame_fl.cli.console import escaped, stderr, stdout
from flame_fl.contract.errors import InputError
from flame_fl.contract.places import hubs_file
from flame_fl.contract.refusal import RefusedError

if TYPE_CHECKING:
    from flame_fl.flower.server_wish import Wish
    from flame_fl.researcher.facts import Asked
    from flame_fl.researcher.follow import Outcome
    from flame_fl.researcher.hubs import Hub


def run(
    app: Annotated[Path, typer.Argument(help="Folder of a Flower app.")],
    hub: Annotated[str, typer.Option("--hub", help="Which hub, by its name in hubs.toml.")],
    run_config: Annotated[
        list[str] | None,
        typer.Option("--run-config", "-c", help="Overrides, as in `flwr run`: 'rounds=5 model=\"mlp\"'."),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="The FLAME project (default: the hub's in hubs.toml, else the app's own).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder (default ./flame-runs/<app>-<digest8>-<hub>-<run id>).")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the run's id, and leave.")] = False,
    wait: Annotated[
        str | None,
        typer.Option(help="Wait so long for DIZ that have not decided: 90s, 30m, 12h, 2d. Then go on with the others."),
    ] = None,
    min_only: Annotated[
        bool, typer.Option("--min-only", help="With --wait: begin as soon as the app's min_sites have approved.")
    ] = False,
    resume: Annotated[
        int | None, typer.Option(help="Follow this run, submitted earlier; the hub takes it up after a crash.", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Run an app at a hub's nodes: submit it, see who approves, follow it, fetch its report."""
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.manifest import manifest_of
    from flame_fl.flower.bundle import build_fab
    from flame_fl.flower.overrides import parse_overrides
    from flame_fl.report.extras import require_extras
    from flame_fl.researcher.errors import DetachedError
    from flame_fl.researcher.facts import Asked
    from flame_fl.researcher.folder import HubRun, default_folder, find_run, make_folder, read_plan
    from flame_fl.researcher.hubs import load_hub
    from flame_fl.researcher.submit import submit

    require_extras()
    wish = _wish(wait, min_only=min_only)
    entry = load_hub(hubs_file(os.environ), hub)
    fab = read_fab(build_fab(app))
    fab.component("clientapp"), fab.component("serverapp")
    manifest, overrides = manifest_of(fab), parse_overrides(run_config or [])
    if unknown := sorted(set(overrides) - set(manifest.run_config)):
        known = ", ".join(sorted(manifest.run_config)) or "none"
        raise InputError(f"The app has no run-config key {unknown[0]!r}.", mend=f"Its keys: {known}.")
    wanted = project or entry.project or (manifest.terms.project.id if manifest.terms else None)
    if wanted is None:
        raise InputError("The app names no project.", mend="Give --project, or set it for the hub in hubs.toml.")
    run_id = submit(app, entry, wanted, run_config or []) if resume is None else resume
    before = find_run(hub, run_id, out) if resume is not None else None
    folder = before or out or default_folder(fab.app_id, manifest.digest, hub, run_id)
    submitted = HubRun(
        run_id, hub, wanted, fab.app_id, manifest.digest, fab.sha256, datetime.now(UTC).isoformat(), dict(overrides)
    )
    make_folder(folder, submitted)
    if resume is None or wait is not None:
        _send(entry, run_id, wish)
    plan = read_plan(folder) or submitted
    if not as_json:
        verb = "Following" if resume is not None else "Submitted"
        stdout.print(
            f"{verb} [bold]{escaped(fab.app_id)}[/]  digest {manifest.digest[:16]}…  run {run_id}", highlight=False
        )
    if detach:
        _show_detached(run_id, folder, app, hub, as_json=as_json)
        return
    asked = Asked(fab, manifest, plan.overrides, shlex.join(["flame", *sys.argv[1:]]))
    try:
        outcome = _follow(entry, run_id, asked, folder, as_json=as_json)
    except KeyboardInterrupt as err:
        again = _again(app, hub, run_id)
        raise DetachedError("The run goes on at the hub.", mend=f"Follow it again: {again}") from err
    _show(outcome, run_id, as_json=as_json)


def _wish(wait: str | None, *, min_only: bool) -> "Wish":
    """What the options ask for.

    Raises:
        InputError: `--wait` is no span of time, or `--min-only` stands alone.
    """
    from flame_fl.flower.server_wish import Wish
    from flame_fl.researcher.duration import parse_duration

    if min_only and wait is None:
        raise InputError("--min-only says when to stop waiting.", mend="Give --wait, too: --wait 2d --min-only.")
    return Wish(seconds=0.0 if wait is None else parse_duration(wait), min_only=min_only)


def _send(entry: "Hub", run_id: int, wish: "Wish") -> None:
    from flame_fl.researcher.client import HubClient

    with HubClient(entry, run_id) as client:
        client.set_wish(wish)


def _follow(entry: "Hub", run_id: int, asked: "Asked", folder: Path, *, as_json: bool) -> "Outcome":
    from flame_fl.cli.run_watch import ConsoleRunWatcher, SilentRunWatcher
    from flame_fl.researcher.client import HubClient
    from flame_fl.researcher.follow import conclude, follow

    with HubClient(entry, run_id) as client:
        state = client.state()
        if state.fab_sha256 and state.fab_sha256 != asked.fab.sha256:
            raise InputError(
                f"Run {run_id} is not of the app in this folder as it is now.",
                mend="Undo the change, or start a new run without --resume.",
            )
        with SilentRunWatcher() if as_json else ConsoleRunWatcher() as watcher:
            story, state = follow(client, watcher)
            return conclude(client, asked, story, state, folder)


def _show_detached(run_id: int, folder: Path, app: Path, hub: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"status": "submitted", "run_id": str(run_id), "folder": str(folder.resolve())}))
        return
    stdout.print(f"Follow it: {escaped(_again(app, hub, run_id))}", soft_wrap=True, highlight=False)


def _again(app: Path, hub: str, run_id: int) -> str:
    return shlex.join(["flame", "run", str(app), "--hub", hub, "--resume", str(run_id)])


def _show(outcome: "Outcome", run_id: int, *, as_json: bool) -> None:
    """What a run left; its error, if it has one.

    Raises:
        FlameError: The run did not finish.
    """
    from flame_fl.cli.run_watch import left_out_line, results_table, standings_table

    story = outcome.story
    if as_json:
        typer.echo(json.dumps(_as_json(outcome, run_id)))
        if outcome.error is not None:  # one object was promised: the error is in it
            stderr.print(f"[bold red]Error:[/] {escaped(outcome.error.message)}", highlight=False, soft_wrap=True)
            raise typer.Exit(outcome.error.exit_code)
    else:
        stdout.print(standings_table(story.standings()) if story.now() is None else results_table(story.standings()))
        if left_out := story.left_out():
            stdout.print(f"[yellow]Not in this run: {left_out_line(left_out)}[/]", highlight=False)
        if dropped := story.dropped():
            stdout.print(f"[yellow]Dropped out at some point: {escaped(', '.join(dropped))}[/]")
        for name in outcome.left_out:
            stdout.print(f"Left at the hub: {escaped(name)}")
        stdout.print(f"Report: [bold]{escaped(outcome.folder / 'report.html')}[/]", soft_wrap=True, highlight=False)
    if outcome.error is not None:
        raise outcome.error


def _as_json(outcome: "Outcome", run_id: int) -> dict[str, object]:
    """A run for a program: where each DIZ stood, what it gave, and what kept the run from finishing."""
    left_out = {id(node) for node in outcome.story.left_out()}
    said: dict[str, object] = {
        "status": outcome.facts.status,
        "run_id": str(run_id),
        "folder": str(outcome.folder.resolve()),
        "analysis_digest": outcome.facts.analysis_digest,
        "standings": [
            {"name": node.name, "status": node.status, "code": node.code, "left_out": id(node) in left_out}
            for node in outcome.story.standings()
        ],
        "nodes": [node.model_dump(mode="json") for node in outcome.facts.nodes],
    }
    if (progress := outcome.story.progress) is not None:
        said |= {"round": progress.done, "rounds": progress.rounds, "resumed_round": progress.resumed}
    said |= {"restarts": len(outcome.story.restarts)}
    if (error := outcome.error) is not None:
        said |= {"error": error.message, "mend": error.mend, "exit_code": error.exit_code}
        said |= {"code": int(error.code)} if isinstance(error, RefusedError) else {}
    return said
