"""The attacker at the hub: collects everything that left, guesses each canary, and is then told how often it was right.

The bound is that of one run with many canaries (Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training Run",
NeurIPS 2023): under (epsilon, delta)-DP the number of right guesses among r is dominated by a binomial of r trials of
e^epsilon / (e^epsilon + 1), but for a probability of 2 · canaries · delta.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from scipy import stats

from smuggler import CANARIES, LOUD_ENOUGH, is_there

app = ServerApp()
CONFIDENCE, DELTA = 0.95, 1e-5


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask as often as is allowed, guess, audit."""
    nodes = sorted(grid.get_node_ids())
    scores = {node: np.zeros(CANARIES) for node in nodes}
    rounds = int(context.run_config["rounds"])
    channels: dict[str, int] = {"weights": 0, "metric": 0, "count": 0, "error text": 0, "failure": 0}
    for number in range(1, rounds + 1):
        asked = [
            Message(RecordDict({"config": ConfigRecord({"round": number})}), dst_node_id=node, message_type="train")
            for node in nodes
        ]
        for reply in grid.send_and_receive(asked, timeout=600):
            _listen(reply, scores[reply.metadata.src_node_id], channels)
    report(nodes, scores, channels, Path(os.environ["FLAME_OUT"]))


def _listen(reply: Message, scores: "np.ndarray[tuple[int], np.dtype[np.float64]]", channels: dict[str, int]) -> None:
    if reply.has_error():
        channels["failure"] += 1
        scores[0] += LOUD_ENOUGH
        for canary in map(int, re.findall(r"\d+", reply.error.reason.partition("canaries")[2])[:CANARIES]):
            channels["error text"] += 1
            if canary < CANARIES:
                scores[canary] += LOUD_ENOUGH
        return
    w = reply.content["arrays"]["w"].numpy()
    channels["weights"] += 1
    scores += w
    bits = float(reply.content["metrics"]["loss"])
    channels["metric"] += 0.0 <= bits <= 1.0
    channels["count"] += reply.content["metrics"]["num-examples"] != 1


def report(nodes: list[int], scores: dict[int, "np.ndarray"], channels: dict[str, int], out: Path) -> None:
    """Guesses against the coins, and the lower bound of epsilon that they show."""
    right = total = 0
    for index, node in enumerate(nodes):
        there = np.array([is_there(index, canary) for canary in range(CANARIES)])
        order = np.argsort(scores[node], kind="stable")
        guess = np.zeros(CANARIES, dtype=bool)
        if np.ptp(scores[node]) > LOUD_ENOUGH / 2:
            guess = scores[node] > LOUD_ENOUGH / 4
        else:
            guess[order[CANARIES // 2 :]] = True
        right, total = right + int(np.sum(guess == there)), total + CANARIES
    bound = lower_bound(right, total, DELTA, 1 - CONFIDENCE)
    said = {"canaries": total, "right": right, "epsilon_lower_bound": bound, "confidence": CONFIDENCE}
    (out / "audit.json").write_text(json.dumps(said | {"channels": channels}))
    headline = [
        {"label": "canaries guessed right", "value": f"{right} of {total}"},
        {"label": "lower bound of epsilon", "value": f"{bound:.2f}", "note": f"one run, confidence {CONFIDENCE:.0%}"},
    ]
    story = {
        "title": "An attack on the gate",
        "data_note": "Synthetic: made-up patients, of whom a coin decides whether they are there.",
        "synthetic": True,
        "headline": headline,
    }
    (out / "report.json").write_text(json.dumps(story))


def lower_bound(right: int, total: int, delta: float, beta: float) -> float:
    """The largest epsilon that so many right guesses refute at confidence 1 − beta; 0 if none."""
    beta -= 2 * total * delta
    low, high = 0.0, 50.0
    if beta <= 0 or stats.binom.sf(right - 1, total, 0.5) > beta:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        refuted = stats.binom.sf(right - 1, total, 1 / (1 + np.exp(-middle))) <= beta
        low, high = (middle, high) if refuted else (low, middle)
    return low
