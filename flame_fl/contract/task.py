"""What a gate is handed: a run, and the messages of that run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.content import Content
from flame_fl.contract.frames import encode
from flame_fl.contract.terms import Scalar

OWN_RECORD: Final = "flame"
"""The record of a message that is for the gate, and of a reply that is from it. No app sees or makes it."""
OWN_MESSAGES: Final = "query.flame_"
"""How message types begin that gates answer themselves: their status, and the legs of secure aggregation."""
STATUS_MESSAGE: Final = "query.flame_status"
"""What a gate answers itself: how the analysis stands at its DIZ. No sandbox, no data."""


@dataclass(frozen=True)
class Run:
    """One execution of an analysis, as the hub announces it. Nothing in it is believed before step 1."""

    run_id: int
    raw_fab: bytes
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    submitter: str = ""
    """Who started it, as the hub says: good for quotas and for the steward to know, never for a decision."""

    @cached_property
    def fab_sha256(self) -> str:
        """SHA-256 of the bundle's bytes, computed here: the hub's word for it is not asked."""
        return sha256_hex(self.raw_fab)


@dataclass(frozen=True)
class Task:
    """One message for this node. `leg_id` is stable when the hub sends the same message again."""

    run: Run
    leg_id: str
    message_type: str
    group_id: str
    content: Content

    @cached_property
    def sha256(self) -> str:
        """Digest of what is asked: type, group and content."""
        extra = {"type": self.message_type, "group": self.group_id}
        return sha256_hex(*encode(self.content, extra))


@dataclass(frozen=True)
class Reply:
    """What leaves: released content. `stored` are the bytes stored with the commit, where they are at hand."""

    content: Content
    stored: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The bytes that were stored: an encoding is the only one of its content."""
        return b"".join(encode(self.content)) if self.stored is None else self.stored
