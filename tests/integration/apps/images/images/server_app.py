"""Federated averaging of the means; leaves them in FLAME_OUT, with everything the server was ever told."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()
MODALITIES = ("DX", "OP")


class Witness(FedAvg):
    """Notes every reply it gets."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        self.rounds = []

    def aggregate_train(self, server_round: int, replies: Iterable):
        """Note what came."""
        replies = list(replies)
        self.rounds.append([])
        for reply in replies:
            said = {"node": reply.metadata.src_node_id}
            if reply.has_error():
                said |= {"code": reply.error.code, "reason": reply.error.reason}
            else:
                content = reply.content
                said["arrays"] = {
                    f"{r}/{n}": a.numpy().tolist() for r, v in content.array_records.items() for n, a in v.items()
                }
                said["metrics"] = {r: dict(v) for r, v in content.metric_records.items()}
            self.rounds[-1].append(said)
        return super().aggregate_train(server_round, replies)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average."""
    out, strategy = Path(os.environ["FLAME_OUT"]), Witness()
    start = ArrayRecord({modality: Array(np.zeros(1)) for modality in MODALITIES})
    result = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    (out / "seen.json").write_text(json.dumps(strategy.rounds))
    np.save(out / "x.npy", np.concatenate([result.arrays[modality].numpy() for modality in MODALITIES]))
