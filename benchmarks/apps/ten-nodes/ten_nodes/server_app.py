"""The hub: Flower's own FedAvg over all nodes, training and evaluation in every round."""

import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from ten_nodes.client_app import FEATURES

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average, and say how far the last round came: the benchmark checks that both runtimes did the same work."""
    nodes, rounds = int(context.run_config["nodes"]), int(context.run_config["rounds"])
    strategy = FedAvg(min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes)
    start = ArrayRecord({"coef": Array(np.zeros(FEATURES)), "intercept": Array(np.zeros(1))})
    begun = time.perf_counter()
    result = strategy.start(grid, start, num_rounds=rounds)
    print(f"strategy seconds {time.perf_counter() - begun:.4f}")
    print(f"final loss {result.evaluate_metrics_clientapp[rounds]['loss']:.12e}")
