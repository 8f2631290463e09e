"""What runs at the hub: ask the gates, fit the clocks on the DIZ that agreed, evaluate them there, leave a report.

The hub sees sums, network weights and refusals. Its artefacts go to the folder in ``FLAME_OUT``: ``model.safetensors``
and ``model.json`` (see `clock`), ``report.json`` and ``plots/``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

from flame_strategies.approval import ask_gates
from flame_strategies.elastic_net import PathStep
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.output import output_folder, write_atomically, write_report_json
from flame_strategies.sums import fit_on_whoever_stays
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from methylation_age import report
from methylation_age.adaptation_run import CONFIDENCES_FILE, AdaptationSettings, run_adaptation
from methylation_age.clock import ADAPTED, ELASTIC_NET, MLP, Clock, save_clocks
from methylation_age.elastic_net_run import ElasticNetSettings, run_elastic_net
from methylation_age.evaluation_run import Evaluation, evaluate_clock
from methylation_age.panel import load_panel

_log = getLogger("flwr")

app = ServerApp()


@dataclass
class Results:
    """What a run has made so far, by clock; the main clock first."""

    clocks: dict[str, Clock] = field(default_factory=dict)
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    on_target: dict[str, Evaluation] = field(default_factory=dict)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study that the run config describes."""
    config = context.run_config
    timeout, min_nodes = float(config["timeout"]), int(config["min-nodes"])
    roster = ask_gates(grid, min_nodes=min_nodes, timeout=timeout)
    _log.info("The gates' answers:\n%s", roster)
    nodes = roster.require(min_nodes)
    results = Results()
    if config["model"] == ADAPTED:
        _adapted(grid, nodes, config, results)
    if config["model"] in {ELASTIC_NET, "both"}:
        _elastic_net(grid, nodes, config, results)
    if config["model"] in {MLP, "both"}:
        _mlp(grid, nodes, config, results)
    # Public inputs are for runs with noise: there an evaluation would cost budget, or not be in the terms at all.
    measured = {} if config["inputs"] == "public" else results.clocks
    for name, clock in measured.items():
        results.evaluations[name] = evaluate_clock(grid, nodes, clock, timeout)
    if config["model"] == ADAPTED:
        target = {"split": "target", "tissue": str(config["target-tissue"])}
        for name, clock in results.clocks.items():
            results.on_target[name] = evaluate_clock(grid, nodes, clock, timeout, target)
    folder = output_folder()
    save_clocks(folder, results.clocks, str(config["panel"]), results.training)
    write_report_json(folder, report.build(folder, roster, results.training, results.evaluations, results.on_target))


def _adapted(grid: Grid, nodes: tuple[int, ...], config: Mapping[str, Any], results: Results) -> None:
    settings = AdaptationSettings.from_config(config)
    fit, _ = fit_on_whoever_stays(
        lambda exchange: run_adaptation(exchange, settings, _log.info, _tell_step),
        grid,
        nodes,
        min_nodes=int(config["min-nodes"]),
        timeout=float(config["timeout"]),
    )
    results.clocks |= {ADAPTED: fit.adapted, ELASTIC_NET: fit.plain}
    results.training |= {ADAPTED: fit.training(), ELASTIC_NET: fit.plain_training()}
    table = fit.table(load_panel(str(config["panel"])).cpgs)
    write_atomically(output_folder() / CONFIDENCES_FILE, table.encode())


def _elastic_net(grid: Grid, nodes: tuple[int, ...], config: Mapping[str, Any], results: Results) -> None:
    settings = ElasticNetSettings.from_config(config)
    fit, _ = fit_on_whoever_stays(
        lambda exchange: run_elastic_net(exchange, settings, _tell_step),
        grid,
        nodes,
        min_nodes=int(config["min-nodes"]),
        timeout=float(config["timeout"]),
    )
    results.clocks[ELASTIC_NET] = fit.clock
    results.training[ELASTIC_NET] = fit.training()


def _tell_step(step: PathStep) -> None:
    _log.info(
        "penalty %d of %d: %d CpGs in the model, %d exchanges", step.index + 1, step.count, step.support, step.rounds
    )


def _mlp(grid: Grid, nodes: tuple[int, ...], config: Mapping[str, Any], results: Results) -> None:
    from methylation_age import mlp, mlp_run  # noqa: PLC0415 -- torch, only for the MLP

    timeout, min_nodes, count = float(config["timeout"]), int(config["min-nodes"]), int(config["mlp-inputs"])
    public = config["inputs"] == "public"
    if public:
        inputs = mlp_run.public_inputs(str(config["panel"]), count)
    else:
        inputs, _ = fit_on_whoever_stays(
            lambda exchange: mlp_run.federated_inputs(exchange, count, int(config["folds"])),
            grid,
            nodes,
            min_nodes=min_nodes,
            timeout=timeout,
        )
    recipe = mlp.Recipe.from_config(config)
    start = mlp.initial_weights(count, recipe, int(config["seed"]))
    settings = ConfigRecord(inputs.clock(start, recipe).config())
    strategy = FlameFedAvg(min_nodes=min_nodes, evaluate=not public, timeout=timeout)
    outcome = strategy.start(
        grid,
        ArrayRecord({name: Array(array) for name, array in start.items()}),
        num_rounds=int(config["rounds"]),
        train_config=settings,
        evaluate_config=settings,
    )
    trained = {name: array.numpy() for name, array in outcome.arrays.items()}
    results.clocks[MLP] = inputs.clock(trained, recipe)
    results.training[MLP] = {
        "rounds": int(config["rounds"]),
        "inputs": str(config["inputs"]),
        "refusals": len(strategy.refusals),
        "mae_by_round": {
            str(number): float(metrics["mae"]) for number, metrics in outcome.evaluate_metrics_clientapp.items()
        },
    }
