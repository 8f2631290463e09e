"""Sends a vector round after round, and keeps every reply bit for bit in FLAME_OUT/told.json.

A round's number is its messages' group: tests stop a node in the round they want.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds."""
    config = context.run_config
    until = time.monotonic() + 60
    while len(nodes := list(grid.get_node_ids())) < int(config["nodes"]) and time.monotonic() < until:
        time.sleep(0.2)
    told, x = [], np.zeros(4)
    for number in range(int(config["rounds"])):
        content = RecordDict({"arrays": ArrayRecord({"x": Array(x)})})
        sent = [Message(content, dst_node_id=node, message_type="train", group_id=str(number)) for node in nodes]
        good = []
        for reply in grid.send_and_receive(sent, timeout=float(config["timeout"])):
            said = {"round": number, "leg": reply.metadata.reply_to_message_id}
            if reply.has_error():
                told.append(said | {"code": reply.error.code})
                continue
            good.append(reply.content["arrays"]["x"].numpy())
            told.append(said | {"x": good[-1].tobytes().hex(), **dict(reply.content["flame"])})
        if not good:
            raise RuntimeError(f"nobody answered in round {number}")
        x = sum(good) / len(good)
    (Path(os.environ["FLAME_OUT"]) / "told.json").write_text(json.dumps(told))
