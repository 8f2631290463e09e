"""The heads of peers' audit chains that a node keeps, so that no DIZ can rewrite its own unseen.

The hub brings them (`heads.witnessed_in`), so it can bring what it likes: it fills this table at most, within bounds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flame_fl.gate.database import Database
from flame_fl.gate.heads import Head

MOST, MOST_PER_RUN = 100_000, 10_000


@dataclass(frozen=True)
class Kept:
    """A peer's head as this node keeps it: of which run, since when."""

    head: Head
    run_id: str
    at: str


class Witnesses:
    """The heads that one state file keeps."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def keep(self, heads: Iterable[Head], run_id: str, at: str) -> int:
        """Keep heads of peers, each once; returns how many are new.

        A run can bring `MOST_PER_RUN`; beyond `MOST` in all the oldest go.
        """
        new = 0
        with self._db.transaction():
            had: int = self._db.rows("SELECT COUNT(*) FROM witnessed WHERE run_id=?", run_id)[0][0]
            for head in heads:
                if had + new >= MOST_PER_RUN:
                    break
                row = (head.node, head.head, head.signature, run_id, at)
                new += self._db.execute("INSERT OR IGNORE INTO witnessed VALUES(?,?,?,?,?)", *row)
            if new:
                self._db.execute("DELETE FROM witnessed WHERE rowid <= (SELECT MAX(rowid) FROM witnessed) - ?", MOST)
        return new

    def all(self) -> Iterator[Kept]:
        """In the order they came."""
        for row in self._db.rows(
            "SELECT CAST(peer AS BLOB), CAST(head AS BLOB), CAST(signature AS BLOB), CAST(run_id AS BLOB),"
            " CAST(at AS BLOB) FROM witnessed ORDER BY rowid"
        ):
            peer, head, signature, run_id, at = (bytes(value).decode("utf-8", "replace") for value in row)
            yield Kept(Head(peer, head, signature), run_id, at)
