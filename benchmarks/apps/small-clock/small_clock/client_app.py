"""What runs at a DIZ: a ridge fit of its own, or the sums a pooled ridge fit needs."""

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from small_clock import Floats, read
from small_clock.ridge import fit, moments

app = ClientApp()


def cohort(context: Context) -> tuple[Floats, Floats]:
    """This DIZ's, or this block's, patients."""
    return read(Path(str(context.node_config["data-cohort"])) / "patients.parquet")


@app.train()
def train(message: Message, context: Context) -> Message:
    """Intercept and weights of a fit."""
    return _reply(message, "arrays", {"w": fit(moments(*cohort(context)))})


@app.query("moments")
def query_moments(message: Message, context: Context) -> Message:
    """Sums over the patients, without clipping and noise: what the vetted sums are without a claim."""
    return _reply(message, "sums", moments(*cohort(context)))


def _reply(message: Message, record: str, arrays: dict[str, Floats]) -> Message:
    content = ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})
    return Message(RecordDict({record: content}), reply_to=message)
