"""Counts what the gates tell while a run goes on, for progress and for the report."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flame_fl.contract.task import OWN_MESSAGES, STATUS_MESSAGE
from flame_fl.gate.workflow import Event


@dataclass
class NodeTally:
    """What one node did in this run, counted from its gate's events."""

    messages: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    sandbox_seconds: float = 0.0
    refusals: Counter[int] = field(default_factory=Counter)


@dataclass
class Batch:
    """One batch of messages that the ServerApp sent: what a report calls a round."""

    index: int
    message_type: str
    started: datetime
    begun: float
    seconds: float = 0.0
    replied: int = 0
    refused: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


class Tally:
    """Collects events from all gates; safe to call from their threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.nodes: dict[str, NodeTally] = defaultdict(NodeTally)
        self.batches: list[Batch] = []
        self.details: list[Event] = []
        self.how_far = ""

    def round(self, said: Mapping[str, Any]) -> None:
        """A strategy tells how far it is."""
        left = max(0, round(float(said["seconds_left"])))
        self.how_far = f"round {said['round']} of {said['rounds']}, about {left // 60} min {left % 60:02d} s left"

    def batch(self, kind: str, done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """A batch begins (`done` = 0, no metrics), goes on, or is over (`metrics` are what its replies hold)."""
        with self._lock:
            if kind.startswith(OWN_MESSAGES) or total == 0:
                return
            if (done == 0 and metrics is None) or not self.batches:
                self.batches.append(Batch(len(self.batches) + 1, kind, datetime.now(UTC), time.monotonic()))
            self.batches[-1].metrics |= metrics or {}
            self.batches[-1].seconds = time.monotonic() - self.batches[-1].begun

    def last_refused_by_all(self) -> bool:
        """Whether the last batch was answered with refusals only."""
        with self._lock:
            return bool(self.batches) and self.batches[-1].refused > 0 and self.batches[-1].replied == 0

    def event(self, event: Event) -> None:
        """A gate did something."""
        with self._lock:
            node = self.nodes[event.node]
            node.seconds += event.seconds
            node.sandbox_seconds += event.sandbox_seconds
            if event.kind == "refused":
                node.refusals[event.code] += 1
            if event.detail:
                self.details.append(event)
            if event.message_type == STATUS_MESSAGE:
                return
            node.bytes_in += event.bytes_in
            own = event.message_type.startswith(OWN_MESSAGES)
            if event.kind != "refused":
                node.messages += not own
                node.bytes_out += event.bytes_out
            if self.batches:
                batch = self.batches[-1]
                batch.bytes_in += event.bytes_in
                batch.bytes_out += event.bytes_out
                if own:  # a leg of secure aggregation belongs to the batch that it is about
                    return
                batch.replied += event.kind != "refused"
                batch.refused += event.kind == "refused"
