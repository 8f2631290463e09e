"""A few steps of SGD with dropout: uses torch's random state, imported in the middle of a message."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Five steps."""
    import torch

    weight = torch.tensor(message.content["arrays"]["weight"].numpy(), requires_grad=True)
    optimiser = torch.optim.Adam([weight], lr=0.01)
    for _ in range(5):
        inputs = torch.nn.functional.dropout(torch.randn(64, 8) @ weight, 0.3)
        loss = ((inputs - int(context.node_config["partition-id"])) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    records = {
        "arrays": ArrayRecord({"weight": Array(np.ascontiguousarray(weight.detach().numpy()))}),
        "metrics": MetricRecord({"num-examples": 64}),
    }
    return Message(RecordDict(records), reply_to=message)
