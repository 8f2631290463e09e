"""A run's events as they come, made into what a person watches and what a report is made from. Pure."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import OWN_MESSAGES, STATUS_MESSAGE
from flame_fl.contract.terms import Scalar
from flame_fl.report.facts import RoundFacts
from flame_fl.researcher.gathering import Gathering, gathering_of
from flame_fl.researcher.progress import Progress, Restart, progress_of, restart_of

_CODES = {int(code) for code in RefusalCode}
# the gate had approved, and the app or what it sent failed
_FAILURES = {RefusalCode.RELEASE_REJECTED, RefusalCode.SANDBOX_FAILED, RefusalCode.SANDBOX_TIMEOUT}
_DECISIONS = _CODES - _FAILURES
_MAX_TEXT = 500
_MAX_BY = 40
_MAX_NODES = 10_000
_MAX_RESTARTS = 100


@dataclass
class NodeStory:
    """What one node did, as the ServerApp's side saw it."""

    name: str
    status: str = "unknown"
    code: int = 0
    messages: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    refusals: Counter[int] = field(default_factory=Counter)
    failures: int = 0
    silent: int = 0
    audit_head: str = ""
    by: str = ""


@dataclass
class BatchStory:
    """One batch of messages."""

    index: int
    kind: str
    begun: datetime
    total: int
    replied: int = 0
    refused: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


class Story:
    """Collects events. What is malformed is passed over: they were written beside the researcher's own code."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeStory] = {}
        self.batches: list[BatchStory] = []
        self.asked = False
        self.gathering: Gathering | None = None
        self.progress: Progress | None = None
        self.restarts: list[Restart] = []
        self.seed = 1
        self.run_config: dict[str, Scalar] = {}
        self._by_number: dict[int, BatchStory] = {}

    def take(self, line: str) -> str:
        """One line. Returns the event's kind, "" if it was passed over."""
        try:
            event = json.loads(line)
            kind = event["kind"]
            {
                "run": self._run,
                "batch": self._batch,
                "reply": self._reply,
                "standing": self._told_standing,
                "gather": self._gather,
                "round": self._round,
                "restart": self._restart,
            }[kind](event)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            return ""
        return str(kind)

    def standings(self) -> list[NodeStory]:
        """Nodes in the order in which they were first seen."""
        return list(self.nodes.values())

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for stewards."""
        return self.gathering is not None and self.gathering.phase == "waiting"

    def waiting_for(self) -> list[str]:
        """Names of the nodes that are waited for."""
        found = self.gathering.waiting_for if self.gathering is not None and self.is_waiting else ()
        return [self.nodes[node].name for node in found if node in self.nodes]

    def left_out(self) -> list[NodeStory]:
        """Nodes that the run began without."""
        if self.gathering is None or self.gathering.phase != "begun":
            return []
        return [node for node_id, node in self.nodes.items() if node_id not in self.gathering.sites]

    @property
    def nobody_approved(self) -> bool:
        """Whether there were nodes, and every one of them decided against it, or not yet."""
        return bool(self.nodes) and all(node.code in _DECISIONS and not node.messages for node in self.nodes.values())

    @property
    def nothing_came(self) -> bool:
        """Whether nodes were asked for something, and none ever gave it."""
        return any(batch.total for batch in self._work()) and not any(node.messages for node in self.nodes.values())

    @property
    def all_pending(self) -> bool:
        """Whether nobody approved because nobody has decided yet."""
        return self.nobody_approved and all(node.code == RefusalCode.PENDING_APPROVAL for node in self.nodes.values())

    def dropped(self) -> list[str]:
        """Nodes that approved and were silent or failed at some point."""
        return [node.name for node in self.nodes.values() if not node.code and (node.silent or node.failures)]

    def rounds(self) -> tuple[RoundFacts, ...]:
        """Every batch that is no question of the gates themselves."""
        found = []
        for number, batch in enumerate(self._work(), start=1):
            try:
                found.append(
                    RoundFacts(
                        index=number,
                        message_type=batch.kind,
                        started=batch.begun,
                        seconds=max(0.0, batch.seconds),
                        replied=batch.replied,
                        refused=batch.refused,
                        bytes_in=batch.bytes_in,
                        bytes_out=batch.bytes_out,
                        metrics=batch.metrics,
                    )
                )
            except ValidationError:
                continue
        return tuple(found)

    def now(self) -> tuple[int, BatchStory] | None:
        """Number and batch that goes on, or was the last."""
        work = self._work()
        return (len(work), work[-1]) if work else None

    def _work(self) -> list[BatchStory]:
        return [batch for batch in self.batches if not batch.kind.startswith(OWN_MESSAGES)]

    def _run(self, event: Mapping[str, Any]) -> None:
        if event["phase"] == "begun":
            self.seed = int(event["seed"])
            given = event["run_config"].items()
            self.run_config = {_text(k): value for k, value in given if isinstance(value, bool | int | float | str)}

    def _batch(self, event: Mapping[str, Any]) -> None:
        number = int(event["batch"])
        if event["phase"] == "begun":
            nodes = [(str(node["id"]), str(node["name"])) for node in event["nodes"]]
            for node_id, name in nodes:
                self._node(node_id, name)
            batch = BatchStory(number, _text(event["type"]), _time(event["at"]), len(nodes))
            self.asked |= batch.kind == STATUS_MESSAGE
            self._by_number[number] = batch
            self.batches.append(batch)
        else:
            batch = self._by_number[number]
            batch.seconds = float(event["seconds"])
            batch.metrics = {_text(name): float(value) for name, value in event["metrics"].items()}

    def _reply(self, event: Mapping[str, Any]) -> None:
        batch, node = self._by_number[int(event["batch"])], self._node(str(event["node"]), str(event["name"]))
        code, is_good = int(event["code"]), event["ok"] is True
        bytes_in, bytes_out = max(0, int(event["bytes_in"])), max(0, int(event["bytes_out"]))
        batch.seconds = max(batch.seconds, float(event["seconds"]))
        if batch.kind == STATUS_MESSAGE:
            if is_good or code in _CODES:
                self._standing(node, code, event["flame"] if is_good else {})
            else:  # it was not reached: what it said before still is what it said
                node.silent += code == 0
                node.failures += code != 0
            return
        batch.bytes_in += bytes_in
        node.bytes_in += bytes_in
        if is_good:
            batch.replied += 1
            batch.bytes_out += bytes_out
            node.messages += 1
            node.bytes_out += bytes_out
            if node.status == "unknown" and event["flame"]:
                node.status = "approved"  # a gate's record came with a release
        else:
            batch.refused += 1
            node.refusals[code] += code in _CODES
            node.silent += code == 0
            node.failures += code not in _CODES and code != 0
            if code in _FAILURES and node.status == "unknown":
                node.status = "approved"
            elif not node.messages and code in _DECISIONS and node.status != "approved":
                self._standing(node, code, {})
        self._audit(node, event["flame"])

    def _told_standing(self, event: Mapping[str, Any]) -> None:
        """What a node said before the run began. One without a gate, or without an answer, has said nothing."""
        node, said = self._node(str(event["node"]), str(event["name"])), str(event["status"])
        self.asked = True
        if said in {"silent", "ungated"}:
            node.status, node.code = "unknown", 0
        else:
            self._standing(node, int(event["code"]), {"status": said, **event["flame"]})

    def _gather(self, event: Mapping[str, Any]) -> None:
        self.gathering = gathering_of(event)

    def _round(self, event: Mapping[str, Any]) -> None:
        self.progress = progress_of(event)

    def _restart(self, event: Mapping[str, Any]) -> None:
        if len(self.restarts) < _MAX_RESTARTS:
            self.restarts.append(restart_of(event))

    def _standing(self, node: NodeStory, code: int, flame: Mapping[str, Any]) -> None:
        """What a node says of its approval."""
        said = str(flame.get("status", ""))
        told = int(flame.get("code", code))
        node.code = told if told in _CODES else 0
        node.by = str(flame.get("by", ""))[:_MAX_BY]
        if said in {"approved", "pending", "rejected", "withdrawn", "expired"}:
            node.status = said
        elif node.code == RefusalCode.PENDING_APPROVAL:
            node.status = "pending"
        elif node.code == RefusalCode.NOT_APPROVED:
            node.status = "rejected"
        elif node.code == RefusalCode.WITHDRAWN_OR_EXPIRED:
            node.status = "withdrawn"
        else:
            node.status = "unknown"
        self._audit(node, flame)

    @staticmethod
    def _audit(node: NodeStory, flame: Mapping[str, Any]) -> None:
        head = str(flame.get("audit_head", ""))
        if head and len(head) <= 128:
            node.audit_head = head

    def _node(self, node_id: str, name: str) -> NodeStory:
        if node_id not in self.nodes and len(self.nodes) >= _MAX_NODES:
            raise ValueError("too many nodes")
        return self.nodes.setdefault(node_id, NodeStory(_text(name) or f"node {_text(node_id)}"))


def _text(value: object) -> str:
    return str(value)[:_MAX_TEXT]


def _time(value: object) -> datetime:
    when = datetime.fromisoformat(str(value))
    return when if when.tzinfo else when.replace(tzinfo=UTC)
