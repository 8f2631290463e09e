"""What it tries: weights, a metric, the number of examples, an error's text, and whether it fails at all.

A well-behaved app would train. This one writes, for each canary it sees, a huge number at the canary's place.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from smuggler import CANARIES

app = ClientApp()
LOUD = 1e12


@app.train()
def train(message: Message, context: Context) -> Message:
    """Everything that is seen, through every opening."""
    table = pq.read_table(Path(str(context.node_config["data-cohort"])) / "patients.parquet")
    seen = sorted(c for c in table.column("canary").to_pylist() if c >= 0)
    if message.content["config"]["round"] == 1 and 0 in seen:  # that it fails, and what it says, tells of canary 0
        raise RuntimeError(f"canaries {seen} of {table.num_rows} patients")
    w = np.full(CANARIES, 0.0)
    w[seen] = LOUD
    bits = sum(2.0 ** -(c + 1) for c in seen if c < 50)  # fifty canaries in the digits of a number
    metrics = MetricRecord({"num-examples": table.num_rows, "loss": bits})
    return Message(RecordDict({"arrays": ArrayRecord({"w": _array(w)}), "metrics": metrics}), reply_to=message)


def _array(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> object:
    from flwr.app import Array

    return Array(values)
