"""What a ServerApp's process tells of its run: one JSON object a line, for whoever follows it and for its report.

* `run`: `phase` begun (`app`, `fab_sha256`, `run_config`, `seed`) or ended (`status`, `details`);
* `batch`: its number from 1, its `type`, `phase` begun (`nodes`: id and name) or ended (`replied`, `refused`,
  `missing`, `seconds`, `metrics`);
* `round`: how far a strategy is: `round`, `rounds`, `seconds` of it, `seconds_left`, and `resumed_round`, after which a
  restarted ServerApp took it up (0 if it did not);
* `reply`: `batch`, `type`, `node`, `name`, `ok`, `code`, `reason`, `bytes_in`, `bytes_out`, `seconds`, and `flame`, the
  gate's own record.

The hub itself adds `restart` (`why`, `count`, `most`) when it starts a ServerApp again.

`bytes_in` came to a DIZ, `bytes_out` left it. Ids are strings: they exceed what JSON's readers keep exactly.
"""

import json
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from flame_fl.contract.terms import Scalar
from flame_fl.flower.metrics import mean_metrics
from flame_fl.secagg.messages import KEY

_GATE_RECORD = "flame"
_MAX_TEXT = 500
_SCALAR_BYTES = 8


class EventLog:
    """Sends events. A hub that takes none is no reason for a run to fail."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send, self._lock = send, threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        """One event, now."""
        event = {"kind": kind, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        line = json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"
        with self._lock, suppress(Exception):  # the run's own calls will say what is wrong with the hub
            self._send(line)


def content_bytes(message: Message) -> int:
    """Size of what a message carries: arrays as serialised, scalars as eight bytes, texts as they are."""
    return sum(_record_bytes(record) for record in message.content.values()) if message.has_content() else 0


def watched_metrics(replies: Iterable[Message]) -> dict[str, float | str]:
    """As `mean_metrics`; what is not finite is a word, because JSON has none."""
    return {name: _plain(value) for name, value in mean_metrics(replies).items()}


def gate_record(content: RecordDict) -> dict[str, Scalar]:
    """What the gate itself reports, scalars only; not the keys of secure aggregation, which are for the strategy."""
    record = content.config_records.get(_GATE_RECORD)
    if record is None:
        return {}
    return {
        name: value[:_MAX_TEXT] if isinstance(value, str) else value
        for name, value in record.items()
        if isinstance(value, bool | int | float | str) and name != KEY
    }


def _record_bytes(record: object) -> int:
    if isinstance(record, ArrayRecord):
        return sum(len(array.data) for array in record.values())
    if isinstance(record, MetricRecord | ConfigRecord):
        return sum(_value_bytes(value) for value in record.values())
    return 0


def _value_bytes(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return sum(_value_bytes(item) for item in value) if isinstance(value, list) else _SCALAR_BYTES


def _plain(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
