"""Federated evaluation, as the hub runs it: each DIZ's accuracy and that of all together, from sums.

A DIZ whose terms do not let the sums leave refuses; the evaluation goes on with the others and names it. The counts by
decade of the DIZ are added up as they come, small cells already zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.approval import GATE_RECORD
from flame_strategies.errors import NothingToAverage
from flame_strategies.secure_grid import secure
from flame_strategies.secure_replies import MASKED_SITES
from flame_strategies.sums import add_up, to_records
from flwr.app import Message
from flwr.serverapp import Grid

from methylation_age.clock import Clock
from methylation_age.evaluation import Accuracy, accuracy


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a clock does, by DIZ and over all.

    Attributes:
        by_site: Accuracy by the DIZ's name, in the order of the node ids; none where answers are masked.
        overall: Over all test samples of these DIZ, None if no DIZ answered.
        decades: Counts, age decade by predicted decade.
        refused: How many DIZ did not answer, or refused.
        sites: How many did answer.
    """

    by_site: Mapping[str, Accuracy]
    overall: Accuracy | None
    decades: npt.NDArray[np.int64]
    refused: int
    sites: int = 0

    @property
    def is_masked(self) -> bool:
        """Whether the DIZ's answers were masked, so that there are no figures by DIZ."""
        return self.sites > 0 and not self.by_site


def evaluate_clock(
    grid: Grid, nodes: Iterable[int], clock: Clock, timeout: float, on: Mapping[str, str] | None = None
) -> Evaluation:
    """Ask each node for the sums of the clock's errors on its test samples.

    Args:
        grid: Flower's grid.
        nodes: The nodes to ask.
        clock: What to evaluate.
        timeout: Seconds to wait.
        on: Other samples than those of the split "test": ``split`` and ``tissue``.
    """
    content = to_records({"arrays": clock.weights(), "config": {**clock.config(), **(on or {})}})
    asked = sorted(nodes)
    messages = [Message(content, message_type="evaluate", dst_node_id=node) for node in asked]
    try:
        answers = secure(grid).send_and_receive(messages, timeout=timeout)
    except NothingToAverage:  # no DIZ has such a sample, so there is nothing to say
        return Evaluation({}, None, np.zeros((0, 0), dtype=np.int64), 0)
    replies = {reply.metadata.src_node_id: reply for reply in answers}
    updates: dict[int, dict[str, npt.NDArray[Any]]] = {}
    by_site: dict[str, Accuracy] = {}
    for node in asked:
        reply = replies.get(node)
        if reply is None or not reply.has_content():
            continue
        updates[node] = {name: array.numpy() for name, array in reply.content["evaluation"].items()}
        gate = reply.content.config_records.get(GATE_RECORD, {})
        if MASKED_SITES not in gate:  # else the hub can read the sum over the DIZ alone, and no DIZ's figures
            by_site[str(gate.get("node", f"node {node}"))] = accuracy(updates[node])
    if not updates:
        return Evaluation({}, None, np.zeros((0, 0), dtype=np.int64), len(asked))
    total = add_up(updates)
    return Evaluation(by_site, accuracy(total), total["decades"], len(asked) - len(updates), len(updates))
