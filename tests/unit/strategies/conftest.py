"""A grid in memory: each node is a function from a message to what it answers."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from flame_strategies.approval import STATUS_MESSAGE
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

Node = Callable[[Message], RecordDict | Error | None]


class FakeGrid(Grid):
    """Delivers at once, answers in the order given by `shuffle`, and remembers what was sent to whom.

    Nodes that are `ungated` answer no question for their gate, and are not asked.
    """

    def __init__(self, nodes: Mapping[int, Node], *, backwards: bool = False, ungated: bool = False) -> None:
        self.ungated = ungated
        self.nodes = dict(nodes)
        self.backwards = backwards
        self.sent: list[tuple[int, str]] = []
        self.timeouts: list[float | None] = []
        self.messages: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        self.timeouts.append(timeout)
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            if self.ungated and message.metadata.message_type == STATUS_MESSAGE:
                replies.append(Message(Error(1, "there is no gate"), reply_to=message))
                continue
            self.sent.append((node, message.metadata.message_type))
            self.messages.append(message)
            answer = self.nodes[node](message)
            if answer is not None:
                replies.append(Message(answer, reply_to=message))
        return replies[::-1] if self.backwards else replies

    def legs(self, message_type: str) -> list[int]:
        """The nodes that got messages of a type, in order."""
        return [node for node, sent in self.sent if sent == message_type]

    def set_run(self, run: object) -> None:
        raise NotImplementedError

    @property
    def run(self) -> object:
        raise NotImplementedError

    def create_message(self, *_args: object, **_kwargs: object) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError


def status(word: str = "approved", code: int = 0) -> RecordDict:
    """What a gate answers to `query.flame_status`."""
    return RecordDict({"flame": ConfigRecord({"node": "diz", "status": word, "code": code, "digest": "ab"})})


def behind_gate(app: Node, answer: RecordDict | Error | None = None) -> Node:
    """A node whose gate approves (or answers otherwise), with an app behind it."""

    def node(message: Message) -> RecordDict | Error | None:
        if message.metadata.message_type == STATUS_MESSAGE:
            return answer if answer is not None else status()
        return app(message)

    return node


def update(arrays: Mapping[str, np.ndarray], weight: float = 1, **metrics: float) -> RecordDict:
    """A training reply that passed a gate."""
    return RecordDict(
        {
            "arrays": ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord({"num-examples": weight, **metrics}),
            "flame": ConfigRecord({"node": "diz", "audit_head": "00", "ground": "none", "noise_std": 0.0}),
        }
    )


def model(**arrays: np.ndarray) -> ArrayRecord:
    """A model to start from."""
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


@pytest.fixture(autouse=True)
def _task_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages only inside a task."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class Flower:
    """What tests of the Flower side share."""

    Grid = FakeGrid
    status = staticmethod(status)
    behind_gate = staticmethod(behind_gate)
    update = staticmethod(update)
    model = staticmethod(model)


@pytest.fixture
def flower() -> type[Flower]:
    return Flower
