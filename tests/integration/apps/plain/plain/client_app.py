"""plain: a Flower / NumPy app."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    """Train the model on local data."""
    arrays = msg.content["arrays"].to_numpy_ndarrays()
    model = [a + 1.0 for a in arrays]
    metrics = MetricRecord({"random_metric": float(np.random.rand()), "num-examples": 1})  # noqa: NPY002
    return Message(content=RecordDict({"arrays": ArrayRecord(model), "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Evaluate the model on local data."""
    metrics = MetricRecord({"accuracy": 0.5, "num-examples": 1})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
