"""An in-process `Grid`: Flower's public interface between a ServerApp and its nodes, without Ray and without a network.

Every message is translated to neutral content and back, in both directions, so nothing mutable is shared between the
server and a node, as on a wire. Nodes work in parallel on a pool of threads (each drives its own sandbox); one node
handles one message at a time, in the order sent, as a SuperNode does. Replies come back in the order of the messages,
so aggregation does not depend on who was quicker.
"""

import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from flame_fl.contract.refusal import Refusal
from flame_fl.contract.task import Run, Task
from flame_fl.flower.identity import FlowerRun, NodeInfo, set_message_id
from flame_fl.flower.metrics import mean_metrics
from flame_fl.flower.translate import to_content, to_records
from flame_fl.gate.workflow import Gate

OnBatch = Callable[[str, int, int, Mapping[str, float] | None], None]
_NODE_UNAVAILABLE = 5  # Flower's own code


class LocalGrid(Grid):
    """A grid of virtual nodes.

    Args:
        run: What every gate is told of the run.
        gates: By Flower node id.
        workers: How many nodes work at once.
        on_batch: Told of every batch: its type, how many replied of how many, and in the end its mean metrics; with
            none replied and no metrics a batch begins.
        on_round: Told by a strategy how far it is (`round`, `rounds`, `seconds`, `seconds_left`).
    """

    def __init__(
        self,
        run: Run,
        flower_run: FlowerRun,
        gates: Mapping[int, Gate],
        workers: int,
        on_batch: OnBatch = lambda kind, done, total, metrics: None,
        *,
        on_round: Callable[[Mapping[str, Any]], None] = lambda said: None,
    ) -> None:
        self._task_run, self._run, self._gates, self._on_batch = run, flower_run, dict(gates), on_batch
        self._on_round = on_round
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="node")
        self._last: dict[int, Future[Message]] = {}
        self._ordinals: dict[int, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._pending: dict[str, Future[Message]] = {}

    flame_replays = True
    """An interrupted run begins anew and gets the answers that it had: what is numbered must have the same numbers."""

    def flame_progress(self, said: Mapping[str, Any]) -> None:
        """A strategy tells how far it is."""
        self._on_round(said)

    def set_run(self, run: FlowerRun) -> None:
        """Flower sets the run; a simulation knows it from the start."""
        self._run = run

    @property
    def run(self) -> FlowerRun:
        """Flower's view of the run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Deprecated in Flower; kept because the interface demands it."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All virtual nodes, approved or not: asking is what the gates are for."""
        return list(self._gates)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """All virtual nodes with their names."""
        return [NodeInfo(node_id=node_id, name=gate.node) for node_id, gate in self._gates.items()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to their nodes; returns their ids."""
        batch = list(messages)
        if batch:
            self._on_batch(batch[0].metadata.message_type, 0, len(batch), None)
        return self._push(batch)

    def _push(self, batch: list[Message]) -> list[str]:
        ids = []
        for message in batch:
            node_id = message.metadata.dst_node_id
            ordinal = next(self._ordinals[node_id])
            message_id = f"{node_id}-{ordinal}"
            set_message_id(message, message_id)
            ids.append(message_id)
            self._pending[message_id] = self._submit(node_id, message, str(ordinal))
        return ids

    def _submit(self, node_id: int, message: Message, leg_id: str) -> Future[Message]:
        gate = self._gates.get(node_id)
        if gate is None:
            future: Future[Message] = Future()
            future.set_result(Message(Error(_NODE_UNAVAILABLE, "there is no such node"), reply_to=message))
            return future
        metadata = message.metadata
        task = Task(self._task_run, leg_id, metadata.message_type, metadata.group_id, to_content(message.content))
        before, answer = self._last.get(node_id), Future[Message]()
        self._last[node_id] = answer

        def begin(_: "Future[Message] | None" = None) -> None:
            # not before the node's last answer: a thread that waited for it would be a core lost to the other nodes
            with contextlib.suppress(RuntimeError):  # the pool is closed: the run is over, nobody waits
                self._pool.submit(_answer, gate, task, message, answer)

        if before is None:
            begin()
        else:
            before.add_done_callback(begin)
        return answer

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there, each given once."""
        asked = list(dict.fromkeys(message_ids))
        replies = self._pull(asked)
        if replies:
            kind = replies[0].metadata.message_type
            self._on_batch(kind, len(replies), len(asked), mean_metrics(replies))
        return replies

    def _pull(self, message_ids: list[str]) -> list[Message]:
        done = [i for i in message_ids if i in self._pending and self._pending[i].done()]
        return [self._pending.pop(i).result() for i in done]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and wait. Replies come in the order of the messages; late ones are left out, as with Flower's grid."""
        batch = list(messages)
        kind = batch[0].metadata.message_type if batch else ""
        self._on_batch(kind, 0, len(batch), None)  # before the first gate can answer
        ids = self._push(batch)
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = {self._pending[i] for i in ids}
        while waiting:
            # short waits keep Ctrl-C prompt
            left = 0.2 if deadline is None else min(0.2, deadline - time.monotonic())
            if left <= 0:
                break
            done, waiting = wait(waiting, timeout=left, return_when="FIRST_COMPLETED")
            if done:
                self._on_batch(kind, len(ids) - len(waiting), len(ids), None)
        replies = self._pull(ids)
        self._on_batch(kind, len(replies), len(ids), mean_metrics(replies))
        return replies

    def close(self, *, cancel: bool = False) -> None:
        """Wait for the nodes to finish what they are doing; `cancel` drops what has not begun."""
        self._pool.shutdown(wait=True, cancel_futures=cancel)


def _answer(gate: Gate, task: Task, message: Message, into: "Future[Message]") -> None:
    try:
        answer = gate.handle(task)
        if isinstance(answer, Refusal):
            into.set_result(Message(Error(int(answer.code), answer.reason), reply_to=message))
        else:
            into.set_result(Message(to_records(answer.content), reply_to=message))
    except BaseException as err:  # whoever pulls the reply gets it
        into.set_exception(err)
