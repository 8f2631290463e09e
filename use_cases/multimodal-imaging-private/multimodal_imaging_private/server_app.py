"""What runs at the hub: federated averaging of networks that the DIZ trained with noise, and a report.

The hub sees the mean of five noised networks, masked before they leave: nothing of one DIZ alone, and of a patient no
more than the terms' epsilon allows, whatever is done with it afterwards.
"""

from typing import Any

import numpy as np
from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, save_model, write_report_json
from flame_strategies.sums import sum_of_sites, to_records
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from multimodal_imaging_private import terms

app = ServerApp()
GUARANTEE = (
    "Unit patient, ground vetted, relation: one patient's records added or removed. Everything here is calculated from "
    "the releases and costs nothing further; epsilons of several analyses about the same patients add up."
)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, save, report."""
    config, folder = context.run_config, output_folder()
    rounds, seed = int(config["rounds"]), int(config["seed"])
    min_nodes, timeout = int(config["min-nodes"]), float(config["timeout"])
    nodes = ask_gates(grid, min_nodes=min_nodes, timeout=timeout).require(min_nodes)
    arrays = terms.first_weights(seed)
    for _ in range(rounds):
        content = to_records({"arrays": arrays})
        answers = sum_of_sites(grid, nodes, "train", content, min_nodes=min_nodes, timeout=timeout, record="arrays")
        nodes = answers.nodes  # who is lost is not asked again: a sum with it and one without tell about it
        arrays = {name: (total / len(nodes)).astype(np.float32) for name, total in answers.arrays.items()}
    save_model(folder, arrays, {"kind": "age from volumes", "grid": list(terms.SHAPE)})
    write_report_json(folder, report(rounds, sum(array.size for array in arrays.values())))


def report(rounds: int, weights: int) -> dict[str, Any]:
    """What the run's report says before anybody has scored the network."""
    return {
        "title": "Age from coarse volumes of the head",
        "headline": [
            {"label": "Rounds", "value": str(rounds), "note": f"{terms.STEPS} steps of DP-SGD in each"},
            {"label": "Weights", "value": str(weights)},
        ],
        "notes": [GUARANTEE],
    }
