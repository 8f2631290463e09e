"""A minimum-count test as the hub sees it: sealed bytes from each node to each other, relayed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import KEY, TEST, TEST_RECORD, TestStep
from flame_strategies.approval import GATE_RECORD


@dataclass(frozen=True)
class Sent:
    """What one node sends the others in one exchange, by their identities."""

    said: TestStep
    sealed: Mapping[str, npt.NDArray[Any]]


def step_of(reply: Message) -> Sent | None:
    """What a node sent, None if its reply is none of a test."""
    if not reply.has_content() or TEST_RECORD not in reply.content.array_records:
        return None
    try:
        said = TestStep.read(reply.content.config_records[GATE_RECORD].get(KEY))
    except (KeyError, MaskError):
        return None
    return Sent(said, {party: array.numpy() for party, array in reply.content.array_records[TEST_RECORD].items()})


def relayed(steps: Mapping[int, Sent], parties: Mapping[int, str]) -> list[Message]:
    """One message for each node, with what all others sealed for it.

    Args:
        steps: What each node sent.
        parties: Each node's identity.
    """
    messages = []
    for node, party in parties.items():
        arrays = {
            parties[sender]: Array(sent.sealed[party])
            for sender, sent in steps.items()
            if sender != node and party in sent.sealed
        }
        own = steps[node].said.model_copy(update={"party": None})
        content = RecordDict({GATE_RECORD: ConfigRecord({KEY: own.text()}), TEST_RECORD: ArrayRecord(arrays)})
        messages.append(Message(content, message_type=TEST, dst_node_id=node))
    return messages
