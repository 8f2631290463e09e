"""`flame app utility`: what noise leaves of an app's result, over epsilon and blocks, simulated and plotted."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flame_fl.simulation.utility import Point


def utility(
    app: Annotated[Path, typer.Argument(help="Folder of a Flower app with [tool.flame].")],
    metric: Annotated[
        str,
        typer.Option(
            help='The number to plot: FILE:KEY.KEY in the run\'s folder, as "report.json:headline.0.value", '
            "or the name of a round's metric."
        ),
    ],
    epsilon: Annotated[list[float] | None, typer.Option(help="Repeatable; default 1, 3 and 8.")] = None,
    blocks: Annotated[list[int] | None, typer.Option(help="Repeatable; default 8, 16 and 32.")] = None,
    site: Annotated[bool, typer.Option("--site", help="Also with a claim of unit site.")] = False,
    data: Annotated[Path | None, typer.Option(help="As `flame simulate`.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, max=1000, help="As `flame simulate`.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="As `flame simulate`.")] = None,
    messages: Annotated[list[str] | None, typer.Option(help="As `flame simulate`.")] = None,
    sandbox: Annotated[
        Literal["in-process", "subprocess"], typer.Option(help="As `flame simulate`; in-process is much quicker.")
    ] = "subprocess",
    run_config: Annotated[list[str] | None, typer.Option("--run-config", "-c", help="As `flame simulate`.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs, utility.json and utility.svg.")] = Path(
        "flame-runs/utility"
    ),
    seed: Annotated[int, typer.Option(help="As `flame simulate`.")] = 1,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Simulate an app once per epsilon and number of blocks, and plot a number of its result over them."""
    from flame_fl.cli.simulate import DEBUG, given_or_made, run_watched
    from flame_fl.flower.overrides import parse_overrides
    from flame_fl.simulation.derive import PrivacyWish
    from flame_fl.simulation.settings import Settings
    from flame_fl.simulation.utility import plan, sweep

    data, nodes = given_or_made(app, data, nodes, seed, as_json=as_json)
    settings = Settings(
        app=app,
        data=data,
        nodes=nodes,
        sandbox=sandbox,
        policy="stated-terms",
        overrides=parse_overrides(run_config or []),
        wish=PrivacyWish(clip_norm=clip_norm, messages=tuple(messages or ())),
        out=out,
        seed=seed,
        command=shlex.join(["flame", *sys.argv[1:]]),
        debug=DEBUG.on,
    )
    wishes = plan(epsilon or [1.0, 3.0, 8.0], blocks or [8, 16, 32], site=site)
    points = sweep(
        settings,
        wishes,
        metric,
        lambda one: run_watched(one, as_json=True),
        lambda point: None if as_json else stdout.print(escaped(_in_words(point)), highlight=False),
    )
    if all(point.value is None for point in points):
        raise InputError(f"Every simulation failed; the first: {points[0].failed}", mend=f"See the runs in {out}.")
    out.mkdir(parents=True, exist_ok=True)
    said = {"app": str(app), "metric": metric, "seed": seed, "points": [asdict(point) for point in points]}
    (out / "utility.json").write_text(json.dumps(said, indent=1) + "\n")
    (out / "utility.svg").write_text(_plot(points, metric) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(said))
        return
    stdout.print(_table(points, metric))
    stdout.print(f"{escaped(out / 'utility.svg')}\n{escaped(out / 'utility.json')}", highlight=False)


def _in_words(point: "Point") -> str:
    what = [point.privacy if point.privacy != "none" else "no noise"]
    what += [f"ε {point.epsilon:g}"] if point.epsilon is not None else []
    what += [f"{point.blocks} blocks"] if point.blocks is not None else []
    return f"{', '.join(what)}: {point.failed if point.value is None else f'{point.value:.6g}'}"


def _table(points: "list[Point]", metric: str) -> Table:
    table = Table(title=f"{escaped(metric)} by privacy unit, epsilon and blocks", title_justify="left")
    for column in ("unit", "epsilon per DIZ", "blocks", "value"):
        table.add_column(column)
    for point in points:
        table.add_row(
            point.privacy if point.privacy != "none" else "no noise",
            "" if point.epsilon is None else f"{point.epsilon:g}",
            "" if point.blocks is None else str(point.blocks),
            escaped(point.failed) if point.value is None else f"{point.value:.6g}",
        )
    return table


def _plot(points: "list[Point]", metric: str) -> str:
    from flame_fl.report import plots

    series: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point.value is not None and point.epsilon is not None:
            name = "unit site" if point.blocks is None else f"{point.blocks} blocks"
            series.setdefault(name, []).append((point.epsilon, point.value))
    plain = next((point.value for point in points if point.privacy == "none"), None)

    def paint(axes: "Axes") -> None:
        for number, (name, found) in enumerate(series.items()):
            x, y = zip(*sorted(found), strict=True)
            colour, marker = plots.LIGHT.series[number % 8], plots.MARKERS[number % len(plots.MARKERS)]
            axes.plot(x, y, label=name, color=colour, marker=marker)
        if plain is not None:
            axes.axhline(plain, color=plots.LIGHT.muted, linestyle="--", label="no noise")
        axes.set_xscale("log")
        axes.set_xlabel("epsilon per DIZ")
        axes.set_ylabel(metric.rpartition(":")[2])
        plots.legend(axes)

    return plots.draw(560, 340, paint)
