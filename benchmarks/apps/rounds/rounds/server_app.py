"""Flower's own FedAvg, and a clock round it."""

import os
import time
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    width, rounds, nodes = (int(context.run_config[key]) for key in ("width", "rounds", "nodes"))
    torch.manual_seed(0)
    model = torch.nn.Linear(width, width)
    strategy = FedAvg(min_available_nodes=nodes, min_train_nodes=nodes, min_evaluate_nodes=nodes)
    began = time.perf_counter()
    result = strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=rounds, timeout=300)
    seconds = time.perf_counter() - began
    loss = result.evaluate_metrics_clientapp[rounds]["loss"]
    said = f"strategy seconds {seconds:.3f}\nfinal loss {float(loss):.12e}"
    print(said, flush=True)
    if folder := os.environ.get("FLAME_OUT"):
        (Path(folder) / "clock.txt").write_text(said)
