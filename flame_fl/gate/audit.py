"""Audit entries in a hash chain: who, what digest, which decision, how many bytes; never a patient's value.

Each entry's hash covers its sequence number, the hash before it, a 256-bit random salt and its body, all as canonical
JSON. Changing, dropping or reordering an entry breaks every later hash; the head, which leaves the node with every
release, pins the whole past. The salt keeps a head from confirming a guess about what an entry says.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flame_fl.contract.canonical import digest
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


def verify(rows: Iterable[tuple[Mapping[str, Any], str]]) -> tuple[int, str]:
    """Check a chain of (entry as JSON, stored hash), oldest first.

    Returns:
        How many entries, and the head.

    Raises:
        VerificationError: Naming the first entry that does not hold.
    """
    head, count = GENESIS, 0
    for row, stored in rows:
        try:
            entry = Entry(**row)
        except TypeError:
            raise VerificationError(f"Audit entry {count + 1} is not an entry of this format.") from None
        if entry.seq != count + 1 or entry.prev != head or entry.hash != stored:
            raise VerificationError(
                f"The audit chain is broken at entry {count + 1}.",
                mend="Keep the file as it is and compare it with a backup and with the heads that other sites hold.",
            )
        head, count = stored, count + 1
    return count, head
