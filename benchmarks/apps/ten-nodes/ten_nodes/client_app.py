"""One node: 20 steps of gradient descent on 400 training rows, and the loss on 100 test rows."""

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

FEATURES, TRAINING_ROWS, TEST_ROWS, STEPS, STEP_SIZE = 50, 400, 100, 20, 0.02

app = ClientApp()

Floats = npt.NDArray[np.float64]


@app.train()
def train(message: Message, context: Context) -> Message:
    """Gradient descent from the weights that were sent."""
    x, y = _rows(context, TRAINING_ROWS, seed=0)
    coef, intercept = _weights(message)
    for _ in range(STEPS):
        error = x @ coef + intercept - y
        coef = coef - STEP_SIZE * x.T @ error / len(y)
        intercept = intercept - STEP_SIZE * error.mean()
    arrays = ArrayRecord({"coef": Array(coef), "intercept": Array(intercept)})
    metrics = MetricRecord({"num-examples": len(y), "loss": _loss(x, y, coef, intercept)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """The mean squared error of the weights that were sent."""
    x, y = _rows(context, TEST_ROWS, seed=1)
    metrics = MetricRecord({"num-examples": len(y), "loss": _loss(x, y, *_weights(message))})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _weights(message: Message) -> tuple[Floats, Floats]:
    arrays = message.content.array_records["arrays"]
    return arrays["coef"].numpy(), arrays["intercept"].numpy()


def _rows(context: Context, count: int, seed: int) -> tuple[Floats, Floats]:
    """(count, FEATURES) inputs and (count,) outcomes of this node; every node has the same truth, shifted inputs."""
    node = int(context.node_config["partition-id"])
    generator = np.random.default_rng([node, seed])
    x = generator.normal(node / 10, 1.0, (count, FEATURES))
    return x, x @ np.linspace(-1.0, 1.0, FEATURES) + 2.0 + generator.normal(0.0, 0.1, count)


def _loss(x: Floats, y: Floats, coef: Floats, intercept: Floats) -> float:
    return float(np.mean((x @ coef + intercept - y) ** 2))
