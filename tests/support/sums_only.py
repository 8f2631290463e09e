"""What a strategy gets under secure aggregation, made from plain replies: means over sites, and no site's own value."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flame_strategies.approval import GATE_RECORD
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict


def sums_only(grid: Any) -> Any:
    """The grid, whose replies that hold arrays come as identical copies of their mean by examples from now on."""
    plain = grid.send_and_receive

    def send_and_receive(messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        replies = list(plain(messages, timeout=timeout))
        sites = [r for r in replies if not r.has_error() and r.content.array_records]
        if sites:
            together = mean_of([reply.content for reply in sites])
            for reply in sites:
                reply.content = together
        return replies

    grid.send_and_receive = send_and_receive
    return grid


def mean_of(contents: list[RecordDict]) -> RecordDict:
    """Arrays and metrics as their means weighted by num-examples; num-examples as the total."""
    weights = [float(c["metrics"]["num-examples"]) for c in contents]
    arrays = {
        name: Array(np.average([c["arrays"][name].numpy() for c in contents], axis=0, weights=weights))
        for name in contents[0]["arrays"]
    }
    metrics = {
        name: float(np.average([c["metrics"][name] for c in contents], weights=weights))
        for name in contents[0]["metrics"]
    }
    said = {"ground": "none", "noise_std": 0.0, "masked_sites": len(contents)}
    return RecordDict(
        {
            "arrays": ArrayRecord(arrays),
            "metrics": MetricRecord({**metrics, "num-examples": sum(weights)}),
            GATE_RECORD: ConfigRecord(said),
        }
    )
