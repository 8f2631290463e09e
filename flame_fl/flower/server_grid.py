"""The `Grid` of a ServerApp at a hub: Flower's own over the relay, quicker to notice replies, and telling what happens.

Replies of one batch come in the order of its messages, so that a sum does not depend on who was quicker: a run at a hub
adds up in the order in which a simulation does.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.superlink.grid import HttpGrid

from flame_fl.contract.task import STATUS_MESSAGE
from flame_fl.flower.server_client import RelayClient
from flame_fl.flower.server_events import EventLog, content_bytes, gate_record, watched_metrics

_FIRST_WAIT, _LONGEST_WAIT, _GROWTH = 0.1, 1.0, 1.3
_PUSHES = 3
_MOST_HEADS, _HEADS_SECONDS, _HEADS_TTL_SECONDS = 1000, 10.0, 60.0
_PROGRESS = ("round", "rounds", "seconds", "seconds_left", "resumed_round")
_NO_REPLY = "no answer in time"


@dataclass(frozen=True)
class _Sent:
    batch: int
    kind: str
    node_id: int
    bytes_in: int
    begun: float


class RelayGrid(HttpGrid):
    """A grid over the relay.

    Args:
        client: Speaks to the relay.
        events: Told of every batch and reply.
        sites: Shows these nodes only, those that the run began with; None shows every one.
        before_sending: Called before any message leaves.
    """

    def __init__(
        self,
        client: RelayClient,
        events: EventLog,
        sites: Collection[int] | None = None,
        before_sending: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("relay", insecure=True, token="added-by-the-relay")  # noqa: S106
        self._client, self._events = client, events
        self._batches = 0
        self._sent: dict[str, _Sent] = {}
        self._names: dict[int, str] = {}
        self._heads: dict[str, tuple[str, str]] = {}
        self._sites = None if sites is None else frozenset(sites)
        self._before_sending = before_sending

    @property
    def flame_sites(self) -> int | None:
        """How many nodes there can be, None if that is open: a strategy need not wait for more."""
        return None if self._sites is None else len(self._sites)

    def flame_progress(self, said: Mapping[str, Any]) -> None:
        """A strategy tells how far it is (`flame_strategies.progress`): numbers only."""
        numbers = {name: value for name, value in said.items() if isinstance(value, int | float)}
        self._events.write("round", **{name: numbers[name] for name in _PROGRESS if name in numbers})

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Nodes of the run's project that are connected, in the order of their names, then ids.

        A simulation's nodes come so, too: what a ServerApp does in the order of its nodes is the same in both. A node
        that had not approved when the run began is left out, so an app that uses every node needs no change.
        """
        nodes = sorted(super().get_nodes(), key=lambda node: (_natural(node.name), node.node_id))
        self._names |= {node.node_id: node.name for node in nodes}
        return [node for node in nodes if self._sites is None or node.node_id in self._sites]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; returns their ids."""
        return self._push(list(messages))

    def _push(self, batch: list[Message]) -> list[str]:
        if not batch:
            return []
        self._before_sending()
        self._batches += 1
        kind = batch[0].metadata.message_type
        nodes = [message.metadata.dst_node_id for message in batch]
        if any(node not in self._names for node in nodes):
            self.get_nodes()
        sizes, begun = [content_bytes(message) for message in batch], time.monotonic()
        self._events.write(
            "batch",
            phase="begun",
            batch=self._batches,
            type=kind,
            nodes=[{"id": str(node), "name": self._names.get(node, "")} for node in nodes],
        )
        ids = self._push_again_after_a_restart(batch)
        for message_id, node, size in zip(ids, nodes, sizes, strict=True):
            sent = _Sent(self._batches, kind, node, size, begun)
            if message_id:
                self._sent[message_id] = sent
            else:
                self._tell(sent, None)
        return ids

    def _push_again_after_a_restart(self, batch: list[Message]) -> list[str]:
        """Flower's push; the hub takes it twice without harm: it knows the messages by their ids.

        An object is taken once in a session, though. A hub that died between taking it and saying so tells the
        repeated call that it was not stored: the batch then goes again, in a session of its own.
        """
        for _ in range(_PUSHES - 1):
            with contextlib.suppress(ObjectPushError):
                return list(super().push_messages(batch))
        return list(super().push_messages(batch))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there, each given once, in the order of the ids."""
        asked = [message_id for message_id in message_ids if message_id]
        order = {message_id: place for place, message_id in enumerate(asked)}
        replies = sorted(
            super().pull_messages(set(asked)),
            key=lambda reply: order.get(reply.metadata.reply_to_message_id, len(order)),
        )
        for reply in replies:
            if (sent := self._sent.pop(reply.metadata.reply_to_message_id, None)) is not None:
                self._tell(sent, reply)
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send and wait. Replies come in the order of the messages; late ones are left out."""
        batch = list(messages)
        if not batch:
            return []
        begun = time.monotonic()
        kind = batch[0].metadata.message_type
        ids = [message_id for message_id in self._push(batch) if message_id]
        batch.clear()  # a model is large, and was sent
        number = self._batches
        replies: dict[str, Message] = {}
        waiting, wait = list(ids), _FIRST_WAIT
        while waiting:
            for reply in self.pull_messages(waiting):
                replies[reply.metadata.reply_to_message_id] = reply
            waiting = [message_id for message_id in waiting if message_id not in replies]
            left = _LONGEST_WAIT if timeout is None else begun + timeout - time.monotonic()
            if not waiting or left <= 0:
                break
            time.sleep(min(wait, left))
            wait = min(wait * _GROWTH, _LONGEST_WAIT)
        for message_id in waiting:
            if (sent := self._sent.get(message_id)) is not None:
                self._tell(sent, None)
        answers = [replies[message_id] for message_id in ids if message_id in replies]
        self._events.write(
            "batch",
            phase="ended",
            batch=number,
            type=kind,
            replied=sum(reply.has_content() for reply in answers),
            refused=sum(reply.has_error() for reply in answers),
            missing=len(waiting),
            seconds=round(time.monotonic() - begun, 3),
            metrics=watched_metrics(answers),
        )
        return answers

    def tell_heads(self) -> None:
        """Every DIZ hears the last heads of all audit chains that were seen, so that each keeps the others'."""
        found = sorted(self._heads.items())[:_MOST_HEADS]
        nodes = [node.node_id for node in self.get_nodes() if self._names.get(node.node_id, "") in self._heads]
        if len(nodes) < 2:
            return
        record = ConfigRecord(
            {
                "heads_nodes": [name for name, _ in found],
                "heads": [head for _, (head, _) in found],
                "heads_signatures": [signature for _, (_, signature) in found],
            }
        )
        content = RecordDict({"flame": record})
        self.send_and_receive(
            [Message(content, dst_node_id=node, message_type=STATUS_MESSAGE, ttl=_HEADS_TTL_SECONDS) for node in nodes],
            timeout=_HEADS_SECONDS,
        )

    def _tell(self, sent: _Sent, reply: Message | None) -> None:
        code, reason, flame = 0, _NO_REPLY, {}
        if reply is not None and reply.has_error():
            code, reason = reply.error.code, (reply.error.reason or "")[:500]
        elif reply is not None:
            reason, flame = "", gate_record(reply.content)
            if head := flame.get("audit_head"):
                self._heads[self._names.get(sent.node_id, "")] = (str(head), str(flame.get("audit_signature", "")))
        self._events.write(
            "reply",
            batch=sent.batch,
            type=sent.kind,
            node=str(sent.node_id),
            name=self._names.get(sent.node_id, ""),
            ok=reply is not None and reply.has_content(),
            code=code,
            reason=reason,
            bytes_in=sent.bytes_in,
            bytes_out=0 if reply is None else content_bytes(reply),
            seconds=round(time.monotonic() - sent.begun, 3),
            flame=flame,
        )


def _natural(name: str) -> tuple[int, str]:
    """As people count: DIZ-2 before DIZ-10."""
    return (len(name), name)
