"""What runs at the hub: ask the gates, scan the panel over the DIZ that agreed, leave a report.

The hub sees sums over DIZ. Its artefacts go to the folder in ``FLAME_OUT``: ``report.json`` and ``plots/``,
``analysis.json`` with what is worth keeping, the associations variant by variant, and what the analysis itself writes
(see `output` and `score_run`).
"""

from collections.abc import Callable
from logging import getLogger

from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, write_report_json
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from gwas import pca_run, quality_run, report
from gwas.errors import InputError
from gwas.hub import Hub
from gwas.panel import load_panel
from gwas.results import Outcome
from gwas.settings import Settings

_log = getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the analysis that the run config describes."""
    settings = Settings.from_config(context.run_config)
    panel, timeout, min_nodes = load_panel(settings.panel), settings.timeout, settings.min_nodes
    if settings.build not in {"", panel.build}:
        raise InputError(f"The panel {panel.name!r} is of {panel.build}, and the run config says {settings.build}.")
    roster = ask_gates(grid, min_nodes=min_nodes, timeout=timeout)
    _log.info("The gates' answers:\n%s", roster)
    folder = output_folder()
    hub = Hub(grid, roster.require(min_nodes), settings, panel, min_nodes, timeout, folder)
    outcome = run_of(settings.analysis)(hub)
    _log.info("%s of %s: %d exchanges", settings.analysis, settings.set, outcome.exchanges)
    report.write_result(folder, settings, outcome)
    write_report_json(folder, report.build(folder, settings, outcome, roster))


def run_of(analysis: str) -> Callable[[Hub], Outcome]:
    """The function of an analysis; its modules are imported only then."""
    from gwas import linear_run, logistic_run, output, score_run, two_step_run  # noqa: PLC0415 -- matplotlib

    scans = {"linear": linear_run.run, "logistic": logistic_run.run, "two-step": two_step_run.run}

    def run(hub: Hub) -> Outcome:
        quality = quality_run.run(hub)
        components = pca_run.principal_components(hub, quality)
        if analysis == "score":
            return score_run.run(hub, quality, components)
        return output.write(hub, quality, components, scans[analysis](hub, quality, components))

    return run
