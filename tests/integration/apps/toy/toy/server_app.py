"""Federated averaging of one vector; leaves it in FLAME_OUT, with everything the server was ever told."""

import json
import os
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Witness(FedAvg):
    """Notes every array it sends and every reply it gets."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        self.rounds = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Note what is sent."""
        self.rounds.append({"sent": arrays["x"].numpy().tolist(), "replies": []})
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        """Note what came."""
        replies = list(replies)
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
                said["configs"] = {r: dict(v) for r, v in content.config_records.items()}
            self.rounds[-1]["replies"].append(said)
        return super().aggregate_train(server_round, replies)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average."""
    out, strategy = Path(os.environ["FLAME_OUT"]), Witness()
    result = strategy.start(grid, ArrayRecord({"x": Array(np.zeros(4))}), num_rounds=int(context.run_config["rounds"]))
    x = result.arrays["x"].numpy() + random.random()  # the server draws random numbers too
    print("the server prints", x)
    os.system("echo a child of the server prints too")
    (out / "seen.json").write_text(json.dumps(strategy.rounds))
    np.save(out / "x.npy", x)
