"""Federated averaging of one vector; leaves it in FLAME_OUT."""

import os
import random
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average."""
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
    result = strategy.start(grid, ArrayRecord({"x": Array(np.zeros(4))}), num_rounds=int(context.run_config["rounds"]))
    x = result.arrays["x"].numpy() + random.random()  # the server draws random numbers too
    print("the server prints", x)
    os.system("echo a child of the server prints too")
    np.save(Path(os.environ["FLAME_OUT"]) / "x.npy", x)
