"""Computes for a while, then adds one."""

import time
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round."""
    assert list(Path(str(context.node_config["data-cohort"])).iterdir())
    time.sleep(float(context.run_config["pause"]))
    x = message.content["arrays"]["x"].numpy() + 1.0
    return Message(RecordDict({"arrays": ArrayRecord({"x": Array(x)})}), reply_to=message)
