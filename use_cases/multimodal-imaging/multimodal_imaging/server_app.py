"""What runs at the hub: ask the gates, run one analysis over the DIZ that agreed, leave a report.

The hub sees sums, counts and weights of networks. Its artefacts go to the folder in ``FLAME_OUT``: ``report.json`` and
``plots/``, ``analysis.json`` with all numbers, and what the analysis itself writes (see the modules ``..._run``).
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from logging import getLogger

from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, write_report_json
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from multimodal_imaging import counts, plots, report
from multimodal_imaging.hub import Hub
from multimodal_imaging.results import Outcome
from multimodal_imaging.settings import Settings

_log = getLogger("flwr")

RUNS = {"fusion": "fusion_run", "late": "late_run", "deep": "deep_run"}
"""By analysis, the module whose ``run`` it is; imported only then."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the analysis that the run config describes."""
    settings = Settings.from_config(context.run_config)
    roster = ask_gates(grid, min_nodes=settings.min_nodes, timeout=settings.timeout)
    _log.info("The gates' answers:\n%s", roster)
    folder = output_folder()
    nodes = roster.require(settings.min_nodes)
    hub = Hub(grid, nodes, settings, settings.min_nodes, settings.timeout, folder)
    cohort = counts.ask(hub)
    counts.require(cohort, settings)
    with plots.marked("synthetic data" if report.synthetic(settings) else ""):
        outcome = run_of(settings.analysis)(hub)
        outcome = replace(outcome, exchanges=outcome.exchanges + 1)
        _log.info("%s of %s: %d exchanges", settings.analysis, settings.set, outcome.exchanges)
        report.write_result(folder, settings, outcome, cohort)
        write_report_json(folder, report.build(folder, settings, outcome, roster, cohort))


def run_of(analysis: str) -> Callable[[Hub], Outcome]:
    """The function of an analysis."""
    found: Callable[[Hub], Outcome] = import_module(f"multimodal_imaging.{RUNS[analysis]}").run
    return found
