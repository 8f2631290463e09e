"""Audit chains and states with checkpoints, and what somebody with access to the file could do to them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import canonical_json
from flame_fl.gate.audit import GENESIS, next_entry
from flame_fl.gate.checkpoints import Checkpoints
from flame_fl.gate.database import Database
from flame_fl.gate.signatures import public_text

Row = tuple[str, str]
AT = "2026-01-01T00:00:00.000+00:00"
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
PUBLIC, OTHER_PUBLIC = public_text(KEY.public_key()), public_text(OTHER_KEY.public_key())


def chain(length: int, *, after: Sequence[Row] = (), note: str = "") -> list[Row]:
    """A chain's rows, or `after` and so many more."""
    rows = list(after)
    for seq in range(len(rows) + 1, len(rows) + length + 1):
        entry = next_entry(seq, rows[-1][1] if rows else GENESIS, AT, "kind", {"note": note})
        rows.append((canonical_json(entry.as_json()).decode(), entry.hash))
    return rows


class State:
    """A node's state file with entries and, every so many of them, a checkpoint."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey | None = KEY) -> None:
        self.database = Database(folder / "state.db", durable=False)
        self.points = Checkpoints(self.database, key)

    @property
    def rows(self) -> list[Row]:
        return [
            (str(text), stored) for text, stored in self.database.rows("SELECT entry, hash FROM audit ORDER BY seq")
        ]

    def record(self, count: int, note: str = "") -> None:
        """As a store does: entry and checkpoint in one transaction, the file after it."""
        for _ in range(count):
            with self.database.transaction():
                rows = self.rows_after()
                seq, head = rows[0] if rows else (0, GENESIS)
                entry = next_entry(seq + 1, head, AT, "kind", {"note": note})
                text = canonical_json(entry.as_json()).decode()
                self.database.execute("INSERT INTO audit VALUES(?,?,?)", entry.seq, text, entry.hash)
                self.points.note(entry.seq, entry.hash, AT)
            self.points.publish()

    def rows_after(self) -> list[tuple[int, str]]:
        return self.database.rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")

    def put(self, rows: Sequence[Row]) -> None:
        """Replace the chain by another."""
        self.alter("DELETE FROM audit")
        with closing(sqlite3.connect(self.database.path)) as other, other:
            other.executemany("INSERT INTO audit VALUES(?,?,?)", [(n, *row) for n, row in enumerate(rows, 1)])

    def alter(self, *statements: str) -> None:
        """What a person with the file and without the key could do."""
        with closing(sqlite3.connect(self.database.path)) as other, other:
            for statement in statements:
                other.execute(statement)
