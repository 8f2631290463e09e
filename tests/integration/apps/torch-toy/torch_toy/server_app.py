"""Federated averaging of one layer, started by torch's own random numbers."""

import os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average."""
    import torch

    start = ArrayRecord({"weight": Array(torch.randn(8, 8).numpy())})
    strategy = FedAvg(fraction_train=0.7, fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
    result = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    x = result.arrays["weight"].numpy() + torch.randn(8, 8).numpy()
    np.save(Path(os.environ["FLAME_OUT"]) / "x.npy", x)
