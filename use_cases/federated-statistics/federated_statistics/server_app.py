"""What runs at the hub: ask the gates, run one analysis over the DIZ that agreed, leave a report.

The hub sees sums and counts. Its artefacts go to the folder in ``FLAME_OUT``: ``statistics.json``, ``numbers.csv``,
``report.json`` and ``plots/``.
"""

from logging import getLogger

from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, write_report_json
from flame_strategies.sums import fit_on_whoever_stays
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federated_statistics import report
from federated_statistics.analyses import DESCRIPTIVE
from federated_statistics.models import MODELS
from federated_statistics.settings import Settings

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
    analyse = {**DESCRIPTIVE, **MODELS}[settings.analysis]
    result, nodes = fit_on_whoever_stays(
        lambda exchange: analyse(exchange, settings),
        grid,
        roster.require(min_nodes),
        min_nodes=min_nodes,
        timeout=timeout,
    )
    _log.info("%s of %s: %d exchanges", settings.analysis, settings.set, result.exchanges)
    folder = output_folder()
    report.write_result(folder, settings, result)
    write_report_json(folder, report.build(folder, settings, result, roster, len(nodes)))
