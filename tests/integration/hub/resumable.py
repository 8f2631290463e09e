"""An app whose ServerApp uses `flame_strategies`, at stock SuperNodes whose ClientApp answers as a gate would.

Each node's training depends on the model, on the node and on the round, and on nothing else: a run that was interrupted
can be compared with one that was not, bit for bit.
"""

from pathlib import Path

from tests.integration.hub.lab import make_app

_CLIENT = """
import time
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query("flame_status")
def status(msg, context):
    said = {"status": "approved", "code": 0, "by": "", "min_sites": 2, "seconds": 30.0}
    return Message(RecordDict({"flame": ConfigRecord(said)}), reply_to=msg)

@app.train()
def train(msg, context):
    time.sleep(float(msg.content["config"]["pause"]))
    round_, node = msg.content["config"]["server-round"], context.node_id
    rng = np.random.default_rng([round_, node % 2**32])
    arrays = {n: np.asarray(a.numpy() + rng.normal(size=a.numpy().shape), dtype=a.numpy().dtype)
              for n, a in msg.content["arrays"].items()}
    metrics = MetricRecord({"num-examples": 3 + node % 7, "loss": float(sum(np.sum(a ** 2) for a in arrays.values()))})
    return Message(RecordDict({"arrays": ArrayRecord({n: Array(a) for n, a in arrays.items()}), "metrics": metrics}),
                   reply_to=msg)

@app.evaluate()
def evaluate(msg, context):
    loss = float(sum(np.sum(a.numpy() ** 2) for a in msg.content["arrays"].values()))
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 3 + context.node_id % 7, "loss": loss})}),
                   reply_to=msg)
"""
_SERVER = """
import json
import numpy as np
from flame_strategies import AdamTerms, FlameFedAdam, output_folder, save_model
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    config = context.run_config
    rng = np.random.default_rng(1)
    start = {"w": rng.normal(size=(40, 5)).astype(np.float32), "b": rng.normal(size=5), "steps": np.array(3)}
    strategy = FlameFedAdam(adam=AdamTerms(eta=0.05))
    result = strategy.start(
        grid, ArrayRecord({n: Array(a) for n, a in start.items()}), num_rounds=config["rounds"],
        train_config=ConfigRecord({"pause": config["pause"]}),
    )
    save_model(output_folder(), {n: a.numpy() for n, a in result.arrays.items()}, {
        "loss": [m["loss"] for m in result.evaluate_metrics_clientapp.values()],
        "sites": {str(r): sorted(map(str, s)) for r, s in result.evaluate_metrics_by_site.items()},
        "min_nodes": strategy.min_nodes,
    })
    (output_folder() / "resumed.json").write_text(json.dumps(result.resumed_round))
"""


def make_resumable_app(folder: Path) -> Path:
    """The app; its run config has `rounds` and `pause`."""
    app = make_app(folder)
    (app / "steps" / "client_app.py").write_text(_CLIENT)
    (app / "steps" / "server_app.py").write_text(_SERVER)
    return app
