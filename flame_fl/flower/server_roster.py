"""Who takes part in a run, and whether it begins, waits or ends. Pure; hubs and simulations decide alike.

A run begins with the DIZ that have approved when it begins. Only a DIZ that has not decided is worth waiting for: one
that rejected, withdrew or is outside its terms will not change its mind because a run waits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.terms import Scalar

Word = Literal["approved", "pending", "refused", "silent", "ungated"]
EndedFor = Literal["pending", "refused", "few"]
_CODES = frozenset(int(code) for code in RefusalCode)
_UNDELIVERED = frozenset({3, 4, 5})
"""Flower's own codes for a message, reply or node that is not there."""


@dataclass(frozen=True)
class Answer:
    """What a node said to `query.flame_status`. `code` is a refusal's, else 0; `record` is what the gate wrote."""

    word: Word
    code: int = 0
    record: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """Where one node stands."""

    node_id: int
    name: str
    word: Word
    code: int = 0
    connected: bool = True

    @property
    def is_open(self) -> bool:
        """Whether it may still approve."""
        return self.word in {"pending", "silent"}


@dataclass(frozen=True)
class Go:
    """Begin with these nodes."""

    sites: tuple[int, ...]


@dataclass(frozen=True)
class Hold:
    """Wait for these nodes; for any that connects, if there are none."""

    waiting_for: tuple[int, ...]


@dataclass(frozen=True)
class End:
    """Do not begin: the missing DIZ have not decided, or refused, or are not there."""

    why: EndedFor


Decision = Go | Hold | End


def decide(
    standings: Iterable[Standing],
    min_sites: int,
    *,
    seconds_left: float = 0.0,
    min_only: bool = False,
    takes_ungated: bool = False,
) -> Decision:
    """Whether a run begins.

    Args:
        standings: Every node of the project that was ever connected.
        min_sites: So many must have approved and be connected.
        seconds_left: How much longer the run may wait.
        min_only: Begin as soon as there are enough, rather than when every node has decided.
        takes_ungated: A node without a gate counts as one that approved (an app that states no terms).
    """
    nodes = list(standings)
    good = {"approved", "ungated"} if takes_ungated else {"approved"}
    ready = tuple(sorted(node.node_id for node in nodes if node.word in good and node.connected))
    unsure = tuple(node.node_id for node in nodes if node.is_open)
    refused = any(node.word == "refused" for node in nodes)
    enough = len(ready) >= min_sites
    if seconds_left > 0:
        if unsure and not (min_only and enough):
            return Hold(unsure)
        if not enough and not refused:
            return Hold(())
    if enough:
        return Go(ready)
    pending = sum(node.word == "pending" for node in nodes)
    if pending and (not refused or len(ready) + pending >= min_sites):
        return End("pending")
    return End("refused" if refused else "few")


def answer_of(*, error: int | None, record: Mapping[str, Scalar] | None) -> Answer:
    """Sort an answer.

    Args:
        error: The reply's error code, None if it has content.
        record: The gate's own record in the content, None if there is none.
    """
    if error is not None:
        if error in _UNDELIVERED:
            return Answer("silent")
        return _refusal(error, {}) if error in _CODES else Answer("ungated")
    if not record:
        return Answer("ungated")
    status, code = record.get("status"), record.get("code")
    if not isinstance(status, str) or not isinstance(code, int):
        return Answer("ungated")
    if (status, code) == ("approved", 0):
        return Answer("approved", 0, record)
    return _refusal(code, record)


def _refusal(code: int, record: Mapping[str, Scalar]) -> Answer:
    return Answer("pending" if code == RefusalCode.PENDING_APPROVAL else "refused", code, record)


def pause_seconds(waited: float) -> float:
    """How long a node that has not decided is left alone, after so many seconds of waiting.

    Each question is an entry in that DIZ's audit log: quick while somebody may be sitting there, then sparing.
    """
    if waited < 30:
        return 3.0
    if waited < 120:
        return 10.0
    return 60.0 if waited < 3600 else 300.0
