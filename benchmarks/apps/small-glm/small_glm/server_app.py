"""What runs at the hub: one of three ways to a logistic regression, and how it does on patients no DIZ was given.

`fits`   the mean of the answers' fits, shrunk where the gates tell of noise, by the same prior that the fits have
`sums`   Newton's method on the sums of the answers' gradients and Hessians
`steps`  rounds of DP-SGD at the DIZ, averaged

The held-out patients are the researcher's own file: nothing about them comes from a DIZ.
"""

import json
import os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from small_glm import COLUMNS, Floats, read
from small_glm.logistic import PRIOR, newton_step

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Fit, keep the model, measure it."""
    config, out = context.run_config, Path(os.environ["FLAME_OUT"])
    ways = {"fits": mean_of_fits, "sums": newton, "steps": descent}
    w = ways[str(config["method"])](grid, context)
    said: dict[str, object] = {"w": w.tolist()}
    if (held_out := Path(str(config["held-out"]))).is_file():
        said |= scores(w, held_out)
    (out / "metrics.json").write_text(json.dumps(said))


def ask(grid: Grid, kind: str, records: dict[str, ArrayRecord]) -> list[Message]:
    """Every DIZ's answer."""
    nodes = sorted(grid.get_node_ids())
    asked = [Message(RecordDict(dict(records)), dst_node_id=node, message_type=kind) for node in nodes]
    replies = list(grid.send_and_receive(asked, timeout=3600))
    if refused := [reply.error for reply in replies if reply.has_error()]:
        raise RuntimeError(f"{len(refused)} of {len(nodes)} DIZ refused: {refused[0].code} {refused[0].reason}")
    return replies


def mean_of_fits(grid: Grid, context: Context) -> Floats:
    del context
    replies = ask(grid, "train", {})
    mean = np.mean([reply.content["arrays"]["w"].numpy() for reply in replies], axis=0)
    noise = [float(reply.content["flame"]["noise_std"]) for reply in replies]
    variance = sum(s * s for s in noise) / len(noise) ** 2
    return mean * PRIOR / (PRIOR + variance)


def newton(grid: Grid, context: Context) -> Floats:
    w = np.zeros(len(COLUMNS) + 1)
    for _ in range(int(context.run_config["rounds"])):
        sent = {"arrays": ArrayRecord({"coefficients": Array(w)})}
        replies = [reply.content["sums"] for reply in ask(grid, "query.newton", sent)]
        slope, hessian = (np.sum([r[name].numpy() for r in replies], axis=0) for name in ("gradient", "hessian"))
        w = newton_step(w, slope, hessian, float(context.run_config["noise-std"]))
    return w


def descent(grid: Grid, context: Context) -> Floats:
    weight, bias = np.zeros((1, len(COLUMNS)), np.float32), np.zeros(1, np.float32)
    for _ in range(int(context.run_config["rounds"])):
        sent = ArrayRecord({"0.weight": Array(weight), "0.bias": Array(bias)})
        replies = [reply.content["arrays"] for reply in ask(grid, "train.steps", {"arrays": sent})]
        weight = np.mean([reply["0.weight"].numpy() for reply in replies], axis=0, dtype=np.float32)
        bias = np.mean([reply["0.bias"].numpy() for reply in replies], axis=0, dtype=np.float32)
    return np.append(bias, weight[0]).astype(np.float64)


def scores(w: Floats, held_out: Path) -> dict[str, float]:
    """Area under the ROC curve, and mean logarithmic loss in nats."""
    x, y = read(held_out)
    logit = w[0] + x @ w[1:]
    ranks = np.argsort(np.argsort(logit)) + 1.0  # no ties but with all weights zero, where the area is one half
    ill = y.sum()
    area = (ranks[y == 1].sum() - ill * (ill + 1) / 2) / (ill * (len(y) - ill)) if w[1:].any() else 0.5
    loss = np.mean(np.logaddexp(0.0, logit) - y * logit)
    return {"auc": float(area), "log_loss": float(loss), "patients": len(y)}
