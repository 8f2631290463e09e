"""One question whose answers are shown by DIZ where they can be read, and summed in any case.

Under secure aggregation the hub reads the sum alone; then there is nothing to show by DIZ.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from flame_strategies.approval import GATE_RECORD
from flame_strategies.secure_grid import secure
from flame_strategies.secure_replies import MASKED_SITES
from flame_strategies.sums import SUMS_RECORD, Content, Sums, add_up, to_records
from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid


@dataclass(frozen=True, eq=False)
class Answers:
    """What a question brought.

    Attributes:
        total: Sums over the DIZ that answered; empty if none did.
        by_site: Each DIZ's arrays by its name, in the order of the node ids; empty where answers are masked.
        sites: How many answered.
        refused: How many did not.
    """

    total: Sums
    by_site: Mapping[str, Mapping[str, npt.NDArray[Any]]]
    sites: int
    refused: int


Ask = Callable[[str, Content], Answers]
"""Asks all DIZ one thing, `(message type, content)`."""


def ask_each(grid: Grid, nodes: Iterable[int], timeout: float) -> Ask:
    """Questions to the nodes over a grid.

    Args:
        grid: Flower's grid.
        nodes: The nodes to ask.
        timeout: Seconds to wait.
    """
    asked = sorted(set(nodes))

    def ask(message_type: str, content: Content) -> Answers:
        records = to_records(content)
        messages = [Message(records, message_type=message_type, dst_node_id=node) for node in asked]
        answers = secure(grid).send_and_receive(messages, timeout=timeout)
        replies = {reply.metadata.src_node_id: reply for reply in answers if reply.has_content()}
        updates: dict[int, dict[str, npt.NDArray[Any]]] = {}
        by_site: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for node in sorted(replies):
            content_of = replies[node].content
            updates[node] = {name: array.numpy() for name, array in content_of.array_records[SUMS_RECORD].items()}
            gate = content_of.config_records.get(GATE_RECORD, ConfigRecord())
            if MASKED_SITES not in gate:
                by_site[str(gate.get("node", f"node {node}"))] = updates[node]
        return Answers(add_up(updates), by_site, len(updates), len(asked) - len(updates))

    return ask
