"""What runs at the hub: ask the gates, run one analysis over the DIZ that agreed, leave a report.

The hub sees sums, counts and weights of networks. Its artefacts go to the folder in ``FLAME_OUT``: ``report.json`` and
``plots/``, ``analysis.json`` with all numbers, and what the analysis itself writes (see the modules ``..._run``).
"""

from collections.abc import Callable
from logging import getLogger

from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, write_report_json
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from gene_expression import report
from gene_expression.hub import Hub
from gene_expression.panel import load_panel
from gene_expression.results import Outcome
from gene_expression.settings import Settings

_log = getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the analysis that the run config describes."""
    config = context.run_config
    settings = Settings.from_config(config)
    timeout, min_nodes = float(config["timeout"]), int(config["min-nodes"])
    roster = ask_gates(grid, min_nodes=min_nodes, timeout=timeout)
    _log.info("The gates' answers:\n%s", roster)
    folder = output_folder()
    hub = Hub(grid, roster.require(min_nodes), settings, load_panel(settings.panel), min_nodes, timeout, folder)
    outcome = run_of(settings.analysis)(hub)
    _log.info("%s of %s: %d exchanges", settings.analysis, settings.set, outcome.exchanges)
    report.write_result(folder, settings, outcome)
    write_report_json(folder, report.build(folder, settings, outcome, roster))


def run_of(analysis: str) -> Callable[[Hub], Outcome]:
    """The function of an analysis; its module is imported only then."""
    if analysis == "differential":
        from gene_expression import differential_run  # noqa: PLC0415 -- only for these

        return differential_run.run
    from gene_expression import phenotype_run  # noqa: PLC0415 -- only for those

    return phenotype_run.RUNS[analysis]
