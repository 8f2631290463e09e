"""What the page reads of the state beside the store's own questions: pages of long tables, never a whole one.

Each call opens the file read-only and closes it: a page never waits for the gate's work, nor the gate for a page.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flame_fl.gate import audit
from flame_fl.gate.claims import Account
from flame_fl.privacy.accounting import PrivacyEvent, event_from


@dataclass(frozen=True)
class AuditRow:
    """One entry of the chain as a page shows it."""

    seq: int
    at: str
    kind: str
    body: Mapping[str, Any]
    hash: str


@dataclass(frozen=True)
class Earlier:
    """Another analysis of the same app: what a difference may be taken to."""

    digest: str
    status: str
    at: str


@dataclass(frozen=True)
class Messages:
    """How one type of message went in one run."""

    message_type: str
    released: int
    refused: int
    working: int


@dataclass(frozen=True)
class Queries:
    """Read-only questions to a node's state file."""

    path: Path

    def audit_page(self, *, limit: int, before: int | None = None) -> list[AuditRow]:
        """Entries, newest first; with `before` those with a smaller number."""
        rows = self._rows(
            "SELECT seq, entry, hash FROM audit WHERE ?1 IS NULL OR seq<?1 ORDER BY seq DESC LIMIT ?2", before, limit
        )
        return [_audit_row(*row) for row in rows]

    def audit_about(self, word: str, *, limit: int) -> list[AuditRow]:
        """The newest entries that hold a word, such as a digest or a run."""
        rows = self._rows(
            "SELECT seq, entry, hash FROM audit WHERE instr(entry, ?1) ORDER BY seq DESC LIMIT ?2", word, limit
        )
        return [_audit_row(*row) for row in rows]

    def audit_head(self) -> tuple[int, str]:
        """How many entries there are, and the last one's hash."""
        rows = self._rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        return rows[0] if rows else (0, audit.GENESIS)

    def others_of(self, app: str, digest: str, *, limit: int = 20) -> list[Earlier]:
        """Other analyses of an app, approved ones first, then the newest."""
        rows = self._rows(
            "SELECT digest, status, at FROM approvals WHERE app=? AND digest<>?"
            " ORDER BY status='approved' DESC, rowid DESC LIMIT ?",
            app,
            digest,
            limit,
        )
        return [Earlier(*row) for row in rows]

    def messages(self, run_ids: Sequence[str]) -> dict[str, list[Messages]]:
        """Messages of several runs, by run and type."""
        rows = self._rows(
            "SELECT run_id, message_type, SUM(state='released'), SUM(state='refused'), SUM(state='reserved')"
            " FROM legs WHERE run_id IN (SELECT value FROM json_each(?)) GROUP BY run_id, message_type",
            json.dumps(list(run_ids)),
        )
        found: dict[str, list[Messages]] = {}
        for run_id, *rest in rows:
            found.setdefault(run_id, []).append(Messages(*rest))
        return found

    def newest_decisions(self, limit: int) -> list[tuple[str, str, str, str, str, str]]:
        """(subject, digest, act, by, at, comment) of the last decisions."""
        return self._rows(
            "SELECT subject, digest, act, by, at, comment FROM decisions ORDER BY seq DESC LIMIT ?", limit
        )

    def debits(self, account: Account) -> list[tuple[str, str, str, PrivacyEvent]]:
        """(when, project, data stores, event) of each debit from an account, oldest first.

        Raises:
            ValueError: An event is of a kind that this version does not know.
        """
        rows = self._rows(
            "SELECT at, project, stores, event FROM debits WHERE unit=? AND namespace=? ORDER BY seq",
            account.unit,
            account.namespace,
        )
        events = {text: event_from(json.loads(text)) for text in {row[3] for row in rows}}
        return [(at, project, stores, event) for at, project, stores, text in rows if (event := events[text])]

    def _rows(self, sql: str, *args: Any) -> list[Any]:
        with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(sql, args).fetchall()


def _audit_row(seq: int, text: str, stored: str) -> AuditRow:
    entry = audit.parse(text) or {}
    body = entry.get("body")
    shown = body if isinstance(body, dict) else {}
    return AuditRow(
        seq,
        str(entry.get("at", "")),
        str(entry.get("kind", "")),
        {str(k): v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in shown.items()},
        str(stored),
    )
