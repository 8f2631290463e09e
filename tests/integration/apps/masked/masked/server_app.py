"""Asks for sums, then for means, with strategies that know nothing of masks, and writes down what it was handed."""

import json
import os
from pathlib import Path

import numpy as np
from flame_strategies.approval import ask_gates
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.sums import GridExchange
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp

app = ServerApp()


class Seen(FlameFedAvg):
    """Keeps what it was handed."""

    seen = ()

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        for reply in replies:
            if reply.has_content():
                arrays = {k: v.numpy().tolist() for k, v in reply.content["arrays"].items()}
                row = [server_round, reply.metadata.src_node_id, arrays, dict(reply.content["metrics"])]
                self.seen = (*self.seen, [*row, reply.content["flame"]["masked_sites"]])
        return super().aggregate_train(server_round, replies)


@app.main()
def main(grid, context):
    out = Path(os.environ["FLAME_OUT"])
    roster = ask_gates(grid, min_nodes=3)
    exchange = GridExchange(grid, roster.approved, min_nodes=3)
    first = {name: value.tolist() for name, value in exchange("query.sums", {"config": {"ask": 1}}).items()}
    strategy = Seen(min_nodes=3, evaluate=False)
    start = ArrayRecord({"w": Array(np.zeros((4, 3), dtype=np.float32))})
    result = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    (out / "w.json").write_text(json.dumps(result.arrays["w"].numpy().tolist()))
    (out / "seen.json").write_text(json.dumps({"sums": first, "sites": exchange.sites, "replies": strategy.seen}))
