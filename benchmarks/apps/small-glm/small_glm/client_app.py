"""What runs at a DIZ: a fit of its own, or the sums of one Newton step."""

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from small_glm import Floats, read
from small_glm.logistic import fit, gradient

app = ClientApp()


def cohort(context: Context) -> tuple[Floats, Floats]:
    """This DIZ's, or this block's, patients."""
    return read(Path(str(context.node_config["data-cohort"])) / "patients.parquet")


@app.train()
def train(message: Message, context: Context) -> Message:
    """Intercept and weights of a fit."""
    return _reply(message, "arrays", {"w": fit(*cohort(context))})


@app.query("newton")
def newton(message: Message, context: Context) -> Message:
    """Gradient and Hessian at the sent coefficients, without clipping and noise."""
    slope, hessian = gradient(*cohort(context), message.content["arrays"]["coefficients"].numpy())
    return _reply(message, "sums", {"gradient": slope, "hessian": hessian})


def _reply(message: Message, record: str, arrays: dict[str, Floats]) -> Message:
    content = ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})
    return Message(RecordDict({record: content}), reply_to=message)
