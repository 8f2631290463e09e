"""What runs at the hub: one of three ways to a linear model, and its error on patients that no DIZ was given.

`fits`   the mean of the answers' fits, shrunk where the gates tell of noise, by the same prior that the fits have
`sums`   one ridge fit on the sum of the answers' sums
`steps`  rounds of DP-SGD at the DIZ, averaged

The held-out patients are the researcher's own file: nothing about them comes from a DIZ.
"""

import json
import os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from small_clock import AGE_SCALE, CPGS, Floats, read
from small_clock.ridge import PRIOR, fit

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Fit, keep the model, measure it."""
    config, out = context.run_config, Path(os.environ["FLAME_OUT"])
    ways = {"fits": mean_of_fits, "sums": pooled_fit, "steps": descent}
    w = ways[str(config["method"])](grid, context)
    said: dict[str, object] = {"w": w.tolist()}
    if (held_out := Path(str(config["held-out"]))).is_file():
        said |= errors(w, held_out)
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


def pooled_fit(grid: Grid, context: Context) -> Floats:
    replies = [reply.content["sums"] for reply in ask(grid, "query.moments", {})]
    sums = {name: np.sum([reply[name].numpy() for reply in replies], axis=0) for name in replies[0]}
    return fit(sums, float(context.run_config["noise-std"]))


def descent(grid: Grid, context: Context) -> Floats:
    weight, bias = np.zeros((1, len(CPGS)), np.float32), np.zeros(1, np.float32)
    for _ in range(int(context.run_config["rounds"])):
        sent = ArrayRecord({"0.weight": Array(weight), "0.bias": Array(bias)})
        replies = [reply.content["arrays"] for reply in ask(grid, "train.steps", {"arrays": sent})]
        weight = np.mean([reply["0.weight"].numpy() for reply in replies], axis=0, dtype=np.float32)
        bias = np.mean([reply["0.bias"].numpy() for reply in replies], axis=0, dtype=np.float32)
    return np.append(bias, weight[0]).astype(np.float64)


def errors(w: Floats, held_out: Path) -> dict[str, float]:
    """In years."""
    x, y = read(held_out)
    return {"mae": AGE_SCALE * float(np.mean(np.abs(w[0] + x @ w[1:] - y))), "patients": len(y)}
