"""One step of gradient descent on synthetic rows."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()
ROWS = 64


def _rows(context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    width = int(context.run_config["width"])
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, width, generator=generator)
    return x, x.flip(1)


def _model(message: Message, context: Context) -> torch.nn.Linear:
    width = int(context.run_config["width"])
    model = torch.nn.Linear(width, width)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return model


@app.train()
def train(message: Message, context: Context) -> Message:
    x, y = _rows(context)
    model = _model(message, context)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    content = RecordDict(
        {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": MetricRecord({"num-examples": ROWS, "loss": float(loss.detach())}),
        }
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    x, y = _rows(context)
    with torch.no_grad():
        loss = torch.nn.functional.mse_loss(_model(message, context)(x), y)
    content = RecordDict({"metrics": MetricRecord({"num-examples": ROWS, "loss": float(loss)})})
    return Message(content, reply_to=message)
