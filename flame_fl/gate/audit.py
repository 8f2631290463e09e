"""Audit entries in a hash chain: who, what digest, which decision, how many bytes; never a patient's value.

Each entry's hash covers its sequence number, the hash before it, a 256-bit random salt and its body, all as canonical
JSON; the very text that was hashed is what is stored. Changing, dropping or reordering an entry breaks every later
hash. Dropping the newest entries breaks nothing that the chain itself could show: that is found by comparing with a
head that left, and one leaves the node with every release. The salt keeps a head from confirming a guess about what an
entry says.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flame_fl.contract.canonical import digest, sha256_hex
from flame_fl.contract.errors import VerificationError

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One link. `body` holds strings, numbers and nested tables of them."""

    seq: int
    prev: str
    at: str
    kind: str
    salt: str
    body: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What is stored and hashed."""
        return {
            "seq": self.seq,
            "prev": self.prev,
            "at": self.at,
            "kind": self.kind,
            "salt": self.salt,
            "body": dict(self.body),
        }

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.as_json())


def next_entry(seq: int, head: str, at: str, kind: str, body: Mapping[str, Any]) -> Entry:
    """The entry that follows `head`, with fresh salt."""
    return Entry(seq, head, at, kind, secrets.token_hex(32), body)


def plain(text: str, most: int = 200) -> str:
    """Text from outside as an entry may hold it: short, and without anything a terminal could obey."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def parse(text: object) -> dict[str, Any] | None:
    """An entry's JSON; None if it is none."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def verify(rows: Iterable[tuple[object, object]]) -> tuple[int, str]:
    """Check a chain of (entry as stored text, stored hash), oldest first.

    Returns:
        How many entries, and the head.

    Raises:
        VerificationError: Naming the first entry that does not hold.
    """
    head, count = GENESIS, 0
    for text, stored in rows:
        entry = parse(text) or {}
        hashed = sha256_hex(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else ""
        if entry.get("seq") != count + 1 or entry.get("prev") != head or hashed != stored:
            raise VerificationError(
                f"The audit chain is broken at entry {count + 1}.",
                mend="Keep the file as it is and compare it with a backup and with the heads that other sites hold.",
            )
        head, count = hashed, count + 1
    return count, head
