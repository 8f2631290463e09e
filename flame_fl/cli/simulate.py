"""`flame simulate` and `flame demo`."""

import json
import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, size, stdout, stdout_kept_free
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from flame_fl.simulation.run import Outcome, Settings

App = Annotated[Path, typer.Argument(help="Folder of a Flower app.")]
Nodes = Annotated[
    int | None, typer.Option(help="Number of virtual DIZ (default: one per folder in --data, else 3).", min=1, max=1000)
]
Seed = Annotated[int, typer.Option(help="Seeds the apps and the split of prepared data; never the noise.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Sandboxes = Literal["in-process", "subprocess", "docker"]


@dataclass
class _Debug:
    on: bool = False


DEBUG = _Debug()


def simulate(
    app: App,
    nodes: Nodes = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with one subfolder per virtual DIZ, and in it one per data store; without it an app that "
            "names [tool.flame.simulation] makes its own."
        ),
    ] = None,
    sandbox: Annotated[Sandboxes, typer.Option(help="Where the ClientApps run.")] = "subprocess",
    image: Annotated[str | None, typer.Option(help="With --sandbox docker: an image on the engine.")] = None,
    run_config: Annotated[
        list[str] | None,
        typer.Option("--run-config", "-c", help="Overrides, as in `flwr run`: 'rounds=5 model=\"mlp\"'."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="What virtual stewards approve: first-seen, stated-terms, open-simulation, nothing, or a TOML file."
        ),
    ] = None,
    deny: Annotated[list[str] | None, typer.Option(help="A virtual DIZ that rejects the analysis; repeatable.")] = None,
    privacy: Annotated[
        Literal["none", "site", "patient"] | None,
        typer.Option(help="Derive an analysis with these privacy terms (its own digest)."),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="With --privacy site or patient: the whole run's epsilon per DIZ.")
    ] = None,
    clip_norm: Annotated[float | None, typer.Option(help="With --privacy: L2 bound of one update.")] = None,
    secure_aggregation: Annotated[
        bool,
        typer.Option(
            "--secure-aggregation", help="Derive an analysis whose answers leave masked: the hub can read sums alone."
        ),
    ] = False,
    blocks: Annotated[
        int | None, typer.Option(help="With --privacy patient: blocks of patients per DIZ (default 16).")
    ] = None,
    messages: Annotated[
        list[str] | None, typer.Option(help="With --privacy: keep only this message type; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default ./flame-runs/<app>-<digest8>-<seed>).")] = None,
    state: Annotated[
        Path | None, typer.Option(help="State of the virtual DIZ, to share approvals and budgets across runs.")
    ] = None,
    seed: Seed = 1,
    noise_seed_for_tests: Annotated[int | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Run an app against virtual DIZ on this machine, each behind the gate a real one has."""
    from flame_fl.flower.overrides import parse_overrides
    from flame_fl.simulation.derive import PrivacyWish
    from flame_fl.simulation.run import Settings

    data, nodes = given_or_made(app, data, nodes, seed, as_json=as_json)
    settings = Settings(
        app=app,
        data=data,
        nodes=nodes,
        sandbox=sandbox,
        image=image,
        policy=policy,
        deny=tuple(deny or ()),
        overrides=parse_overrides(run_config or []),
        wish=PrivacyWish(
            privacy,
            epsilon,
            clip_norm=clip_norm,
            messages=tuple(messages or ()),
            blocks=blocks,
            secure=secure_aggregation,
        ),
        out=out,
        state=state,
        seed=seed,
        noise_seed=noise_seed_for_tests,
        command=shlex.join(["flame", *sys.argv[1:]]),
        debug=DEBUG.on,
    )
    show(run_watched(settings, as_json=as_json), as_json=as_json)


def demo(
    app: Annotated[Path, typer.Argument(help="Folder of an app with [tool.flame.simulation].")] = Path(
        "use_cases/methylation-age"
    ),
    nodes: Annotated[int, typer.Option(help="Number of virtual DIZ.", min=2, max=100)] = 5,
    out: Annotated[Path | None, typer.Option(help="Run folder.")] = None,
    data: Annotated[Path, typer.Option(help="Where the virtual DIZ's data are kept.")] = Path("flame-data"),
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """A federation of virtual DIZ on this laptop, end to end: data, approval, training, comparison, report."""
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.manifest import manifest_of
    from flame_fl.flower.bundle import build_fab
    from flame_fl.report.extras import require_extras
    from flame_fl.report.facts import DerivedFacts
    from flame_fl.report.write import write_report
    from flame_fl.simulation.demo import run_app_tool, variant_settings
    from flame_fl.simulation.run import Settings

    require_extras()
    terms = manifest_of(read_fab(build_fab(app))).terms
    if terms is None or terms.simulation is None:
        raise InputError(
            f"{app.name} names no [tool.flame.simulation], so `flame demo` cannot make data for it.",
            mend="Use `flame simulate` with --data.",
        )
    module, folder = terms.simulation.module, data / f"{terms.project.id}-{nodes}-{seed}"
    say("1 Data of the virtual DIZ", as_json=as_json)
    _prepare(app, module, folder, nodes, seed, as_json=as_json)
    settings = Settings(
        app=app,
        data=folder,
        nodes=nodes,
        out=out,
        seed=seed,
        command=shlex.join(["flame", *sys.argv[1:]]),
        debug=DEBUG.on,
    )
    say("2 The federation", as_json=as_json)
    outcome = run_watched(settings, as_json=as_json)
    derived = []
    for number, variant in enumerate(terms.simulation.variants, start=1):
        say(f"3.{number} Derived analysis: {variant.name}", as_json=as_json)
        beside = run_watched(variant_settings(settings, variant, outcome.folder), as_json=as_json, brief=True)
        page = (beside.folder / "report.html").relative_to(outcome.folder)
        derived.append(DerivedFacts(name=variant.name, page=str(page), run=beside.facts))
    say("4 Comparison, outside the gate", as_json=as_json)
    arguments = ["compare", "--run", str(outcome.folder), "--data", str(folder)]
    with stdout_kept_free() if as_json else nullcontext():
        run_app_tool(module, arguments, app)
    write_report(outcome.folder, outcome.facts.model_copy(update={"derived": tuple(derived)}))
    show(outcome, as_json=as_json)


def given_or_made(
    app: Path, data: Path | None, nodes: int | None, seed: int, *, as_json: bool
) -> tuple[Path | None, int | None]:
    """Data and number of virtual DIZ; for a simulation that was given no data, those that the app's own tool makes.

    Raises:
        InputError: The app cannot be read.
    """
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.manifest import manifest_of
    from flame_fl.flower.bundle import build_fab

    terms = manifest_of(read_fab(build_fab(app))).terms if data is None else None
    if terms is None or terms.simulation is None or not terms.data:
        return data, nodes
    nodes = nodes or 3
    folder = Path("flame-data") / f"{terms.project.id}-{nodes}-{seed}"
    say("Data of the virtual DIZ, made by the app's own tool", as_json=as_json)
    _prepare(app, terms.simulation.module, folder, nodes, seed, as_json=as_json)
    return folder, nodes


def _prepare(app: Path, module: str, folder: Path, nodes: int, seed: int, *, as_json: bool) -> None:
    from flame_fl.simulation.demo import run_app_tool

    arguments = ["prepare", "--out", str(folder), "--nodes", str(nodes), "--seed", str(seed)]
    with stdout_kept_free() if as_json else nullcontext():
        run_app_tool(module, arguments, app)


def run_watched(settings: "Settings", *, as_json: bool, brief: bool = False) -> "Outcome":
    """Run with a live line; an unfinished run becomes its error.

    Raises:
        FlameError: The run failed; its report is written all the same.
        KeyboardInterrupt: It was interrupted, and can be resumed.
    """
    from flame_fl.cli.watch import ConsoleWatcher, SilentWatcher
    from flame_fl.report.extras import require_extras
    from flame_fl.simulation.run import simulate as run_simulation

    require_extras()
    with SilentWatcher() if as_json else ConsoleWatcher(brief=brief) as watcher:
        outcome = run_simulation(settings, watcher)
    if outcome.error is not None:
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        _show_failures(outcome, as_json=as_json)
        raise outcome.error
    return outcome


def say(text: str, *, as_json: bool) -> None:
    """Name a step of a demonstration."""
    if not as_json:
        stdout.rule(f"[bold]{escaped(text)}[/]", align="left")


def show(outcome: "Outcome", *, as_json: bool) -> None:
    """What a finished run left."""
    if as_json:
        said = {
            "status": outcome.status,
            "folder": str(outcome.folder),
            "analysis_digest": outcome.facts.analysis_digest,
            "nodes": [node.model_dump(mode="json") for node in outcome.facts.nodes],
        }
        typer.echo(json.dumps(said))
        return
    _show_failures(outcome, as_json=False)
    _show_end(outcome)


def _show_end(outcome: "Outcome") -> None:
    table = Table(title="What left each DIZ", title_justify="left")
    for column in ("DIZ", "approval", "replies", "left", "refusals", "privacy", "audit chain"):
        table.add_column(column)
    for node in outcome.facts.nodes:
        refused = ", ".join(f"{r.code} ×{r.count}" for r in node.refusals) or "–"
        spent = "no claim"
        if node.epsilon_spent is not None:
            accounts = (f"ε {a.epsilon_spent:.3g} of {a.epsilon_cap:g} ({escaped(a.name)})" for a in node.accounts)
            spent = "\n".join(accounts)
        verified = "verified" if node.audit_verified else "[red]BROKEN[/]"
        table.add_row(
            escaped(node.name),
            node.status,
            str(node.messages),
            size(node.bytes_out),
            refused,
            spent,
            f"{node.audit_entries} entries, {verified}",
        )
    stdout.print(table)
    if outcome.facts.noise_seeded:
        stdout.print("[bold red]SEEDED NOISE: for tests only. It can be predicted and protects nobody.[/]")
    stdout.print(f"Report: [bold]{escaped(outcome.folder / 'report.html')}[/]", soft_wrap=True, highlight=False)


def _show_failures(outcome: "Outcome", *, as_json: bool) -> None:
    """What the gates' details say. In a simulation they are the researcher's own; at a DIZ they stay in its log."""
    seen = list(dict.fromkeys((e.node, e.code, e.detail) for e in outcome.details))
    if not seen or as_json:
        return
    stdout.print("[bold]Details the gates kept[/] (shown because this is a simulation; at a DIZ they stay in its log):")
    for node, code, detail in seen[:12]:
        stdout.print(f"  {escaped(node)}  {code or 'zero vector'}  {escaped(detail)}", highlight=False)
    if len(seen) > 12:
        stdout.print(f"  … and {len(seen) - 12} more in the audit logs")
    stdout.print(f"  Logs of the sandboxes: {escaped(outcome.folder / 'logs')}", soft_wrap=True, highlight=False)
