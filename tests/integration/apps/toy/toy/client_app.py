"""Adds random numbers to what it is sent; counts its messages in the session's state; can be told to misbehave."""

import os
import random
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round."""
    print("a line that must not break the frames")
    index = int(context.node_config["partition-id"])
    node, _, how = str(context.run_config["misbehave"]).partition(":")
    if node in {"*", str(index)}:
        if how == "raise":
            raise ValueError("patient Mustermann, born 1970")
        if how == "exit":
            os._exit(3)
    time.sleep(float(context.run_config["pause"]))
    x = message.content["arrays"]["x"].numpy() + np.random.normal(size=4) + random.random() + index  # noqa: NPY002
    if how == "huge" and node == str(index):
        x = message.content["arrays"]["x"].numpy() + 50.0  # the norm of the update is 100
    if how == "nan" and node == str(index):
        x[2] = np.nan
    arrays = {"x": Array(x)}
    if how == "extra" and node == str(index):
        arrays["patients"] = Array(np.arange(3.0))
    records = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 10 + index})}
    return Message(RecordDict(records), reply_to=message)
