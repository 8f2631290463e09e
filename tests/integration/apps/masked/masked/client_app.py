"""Each site's numbers follow from its place, so that a test can say what the sum must be."""

import os
import signal
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def weight_of(site):
    """Site 0 has 1 patient, site 4 has 5."""
    return site + 1


def numbers_of(site, w):
    """The new model of a site."""
    return w + np.sqrt(np.arange(12).reshape(4, 3) + site, dtype=np.float64) / 7


@app.train()
def train(message, context):
    site, number = context.node_config["partition-id"], message.content["config"]["server-round"]
    time.sleep(float(context.run_config["pause"]))
    if f"{site}:{number}" in context.run_config["lost"].split():
        raise RuntimeError("lost")
    if f"{site}:{number}!" in context.run_config["lost"].split():
        os.kill(os.getpid(), signal.SIGKILL)
    w = message.content["arrays"]["w"].numpy()
    return reply(message, "arrays", {"w": numbers_of(site, w).astype(np.float32)}, site, {"loss": 1.0 + site})


@app.query("sums")
def sums(message, context):
    site = context.node_config["partition-id"]
    arrays = {"n": np.array([site + 1, 10]), "x": np.array([0.1, -0.2, 1 / 3]) * (site + 1)}
    return reply(message, "sums", arrays, site, {})


def reply(message, record, arrays, site, metrics):
    content = {
        record: ArrayRecord({name: Array(array) for name, array in arrays.items()}),
        "metrics": MetricRecord({"num-examples": weight_of(site), **metrics}),
    }
    return Message(RecordDict(content), reply_to=message)
