"""plain: a Flower / NumPy app."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a few rounds."""
    strategy = FedAvg(fraction_evaluate=context.run_config["fraction-evaluate"])
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((3, 2))]),
        num_rounds=context.run_config["num-server-rounds"],
    )
    assert (result.arrays.to_numpy_ndarrays()[0] == 2.0).all()
    assert result.evaluate_metrics_clientapp[2]["accuracy"] == 0.5
