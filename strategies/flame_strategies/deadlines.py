"""What the gates tell of an analysis's terms, and what follows for a round: its quorum, its deadline, its room. Pure.

A gate's answer to ``query.flame_status`` carries, in the record "flame" and beside its standing, facts of the terms
that the researcher wrote and the steward approved: `Told`. A gate that tells none leaves the strategy's own settings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_QUORUM = 2
DEFAULT_SECONDS = 900.0
SPARE_MESSAGES = 4
"""What ``per_run`` should have beyond the rounds: each restart of a ServerApp asks one round a second time."""

_MARGIN = 1.1  # the gate's own work beside the sandbox's: hashing, clipping, noise, its ledger
_GRACE_SECONDS = 60.0
_BYTES_PER_SECOND = 1e6  # a hospital's slow line, in either direction
_MOST_SECONDS = 30 * 86400.0


@dataclass(frozen=True)
class Told:
    """What one gate tells; None where it does not.

    Attributes:
        min_sites: The terms' quorum.
        seconds: Deadline of one message at the node, or of all its slots together, seconds.
        left: Messages that the run may still send to the node, by message type.
        max_bytes: Bytes of the arrays that may leave in one reply, by message type.
    """

    min_sites: int | None = None
    seconds: float | None = None
    left: Mapping[str, int] = field(default_factory=dict)
    max_bytes: Mapping[str, int] = field(default_factory=dict)


def read_told(record: Mapping[str, Any]) -> Told:
    """Read a gate's record; what is missing or malformed is not told.

    Args:
        record: ``min_sites``, ``seconds``, ``slots`` and ``slot_seconds`` (0 where the node runs the app as a whole),
            and the lists ``messages``, ``messages_left`` and ``messages_bytes``, of one length.
    """
    slots, slot_seconds = _count(record.get("slots")), _seconds(record.get("slot_seconds"))
    seconds = _seconds(record.get("seconds"))
    if slots and slot_seconds:
        seconds = min(slots * slot_seconds, _MOST_SECONDS)
    return Told(
        min_sites=_count(record.get("min_sites")) or None,
        seconds=seconds or None,
        left=_by_type(record, "messages_left"),
        max_bytes=_by_type(record, "messages_bytes"),
    )


def quorum(told: Iterable[Told]) -> int:
    """So many nodes must contribute: the largest that a gate tells, else `DEFAULT_QUORUM`."""
    return max((one.min_sites for one in told if one.min_sites is not None), default=DEFAULT_QUORUM)


def reply_seconds(told: Iterable[Told], model_bytes: int, *, turns: int = 1) -> float:
    """How long to wait for the slowest node's reply, seconds.

    The time that the terms grant it with a margin, twice the model on a slow line, and a minute: a node that needs
    longer has been ended by its own gate.

    Args:
        told: One for each node that is asked. A node whose time is not told gets `DEFAULT_SECONDS`.
        model_bytes: Size of the model.
        turns: Messages that a node may have to answer before this one is done, this one included.
    """
    if turns < 1:
        raise ValueError("A node answers at least one message.")
    sent = 2 * model_bytes / _BYTES_PER_SECOND
    work = (DEFAULT_SECONDS if one.seconds is None else _work(one.seconds) + sent for one in told)
    return min(turns * max(work, default=DEFAULT_SECONDS), _MOST_SECONDS)


def without_room(told: Mapping[int, Told], message_type: str, rounds: int) -> dict[int, int]:
    """Nodes that would answer 908 before the last round, with the messages that they still answer.

    Args:
        told: By node.
        message_type: What the rounds send.
        rounds: How many are to come.
    """
    return {
        node: one.left[message_type]
        for node, one in sorted(told.items())
        if message_type in one.left and one.left[message_type] < rounds
    }


def room_sentence(message_type: str, rounds: int) -> str:
    """What to do about `without_room`."""
    return (
        f"A round that is asked again after a restart counts again: state messages.{message_type}.per_run of at least "
        f"{rounds + SPARE_MESSAGES} ({rounds} rounds and some to spare) in the app's pyproject.toml, and have it "
        "approved anew."
    )


def _work(seconds: float) -> float:
    return _MARGIN * seconds + _GRACE_SECONDS


def _by_type(record: Mapping[str, Any], name: str) -> dict[str, int]:
    types, values = record.get("messages"), record.get(name)
    if not isinstance(types, list) or not isinstance(values, list) or len(types) != len(values):
        return {}
    pairs = zip(types, values, strict=True)
    return {t: n for t, n in pairs if isinstance(t, str) and isinstance(n, int) and not isinstance(n, bool) and n >= 0}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000 else 0


def _seconds(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < float(value) <= _MOST_SECONDS else 0.0  # type: ignore[arg-type]
