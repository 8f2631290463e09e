"""What must survive a crash: approvals, runs, legs, the ledger and the audit chain, in one SQLite file per node.

Rules this module follows:

1. Every change of state and the audit entry that tells of it are one transaction: neither exists without the other,
   also after `kill -9`. `durable=True` (a real node) waits for the disk at each commit; a simulation's nodes survive
   the death of the process but not a power cut.
2. Budgets are debited by `reserve`, before the sandbox starts; a crash keeps the debit. Nothing refunds.
3. A leg's reply is stored with its commit. The same leg asked again gets the same bytes. A large reply is a file
   beside the database, complete on disk before the transaction that names its hash; an orphan of a crash is harmless,
   and overwritten when the leg is tried again.
4. The schema carries a version. An unknown version stops; nothing is guessed.
"""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import VerificationError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Terms
from flame_fl.gate import audit
from flame_fl.gate.approval import ApprovalRecord, Status
from flame_fl.privacy.accounting import GaussianRelease

SCHEMA_VERSION = 1
_LARGE_REPLY_BYTES = 64 * 1024
_MIGRATIONS = {
    1: """
    CREATE TABLE approvals(digest TEXT PRIMARY KEY, app TEXT NOT NULL, status TEXT NOT NULL, manifest TEXT NOT NULL,
        binding TEXT, steward_terms TEXT, unsafe_open INTEGER NOT NULL, by TEXT NOT NULL, at TEXT NOT NULL,
        comment TEXT NOT NULL);
    CREATE TABLE runs(run_id TEXT PRIMARY KEY, digest TEXT NOT NULL, fab_sha256 TEXT NOT NULL, config TEXT NOT NULL,
        opened TEXT NOT NULL);
    CREATE TABLE legs(run_id TEXT NOT NULL, leg_id TEXT NOT NULL, message_type TEXT NOT NULL, message_sha256 TEXT NOT NULL,
        state TEXT NOT NULL, attempts INTEGER NOT NULL, reply BLOB, reply_file_sha256 TEXT, code INTEGER,
        PRIMARY KEY(run_id, leg_id));
    CREATE TABLE ledger(seq INTEGER PRIMARY KEY, at TEXT NOT NULL, store TEXT NOT NULL, project TEXT NOT NULL,
        digest TEXT NOT NULL, run_id TEXT NOT NULL, leg_id TEXT NOT NULL, attempt INTEGER NOT NULL, event TEXT NOT NULL,
        rho REAL, state TEXT NOT NULL);
    CREATE INDEX ledger_by_store ON ledger(store);
    CREATE TABLE audit(seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL);
    """
}


@dataclass(frozen=True)
class Leg:
    """One message of one run, as stored."""

    message_sha256: str
    state: str  # reserved | released | refused
    attempts: int
    reply: bytes | None
    code: RefusalCode | None


@dataclass(frozen=True)
class LedgerEntry:
    """One debit. `rho` is None where no arithmetic claim is made."""

    at: str
    store: str
    project: str
    run_id: str
    leg_id: str
    attempt: int
    event: Mapping[str, Any]
    rho: float | None
    state: str  # reserved | committed


class Store:
    """A node's state. One instance per process and file; calls are serialised."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        self._durable = durable
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._migrate()
        except sqlite3.DatabaseError as err:
            self._db.close()
            raise VerificationError(
                f"The state file {path} cannot be used: {err}.",
                mend="If another process holds it, end that one; otherwise restore the file from a backup.",
            ) from err

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise VerificationError(
                f"The state file {self.path} has schema {version}; this flame_fl knows up to {SCHEMA_VERSION}.",
                mend="Use the newer flame_fl that wrote it.",
            )
        for step in range(version + 1, SCHEMA_VERSION + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {_MIGRATIONS[step]} PRAGMA user_version={step}; COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Nested use joins the outer one."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *args: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    # --- approvals ---------------------------------------------------------------------------------------------

    def approval(self, digest: str) -> ApprovalRecord | None:
        """What is stored of an analysis."""
        rows = self._rows(
            "SELECT digest, status, manifest, binding, steward_terms, unsafe_open, by, at, comment"
            " FROM approvals WHERE digest=?",
            digest,
        )
        return _approval(rows[0]) if rows else None

    def approvals(self, app: str | None = None) -> list[ApprovalRecord]:
        """All analyses ever seen, or those of one app ("publisher/name"), oldest first."""
        rows = self._rows(
            "SELECT digest, status, manifest, binding, steward_terms, unsafe_open, by, at, comment"
            " FROM approvals WHERE ?1 IS NULL OR app=?1 ORDER BY rowid",
            app,
        )
        return [_approval(row) for row in rows]

    def put_approval(self, record: ApprovalRecord) -> None:
        """File or change an analysis, and audit it."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO approvals VALUES(?,?,?,?,?,?,?,?,?,?) ON CONFLICT(digest) DO UPDATE SET status=excluded.status,"
                " binding=excluded.binding, steward_terms=excluded.steward_terms, unsafe_open=excluded.unsafe_open,"
                " by=excluded.by, at=excluded.at, comment=excluded.comment",
                (
                    record.analysis_digest,
                    record.manifest.app,
                    record.status.value,
                    record.manifest.model_dump_json(by_alias=True),
                    record.binding_digest,
                    record.steward_terms.model_dump_json(by_alias=True) if record.steward_terms else None,
                    record.unsafe_open,
                    record.by,
                    record.at,
                    record.comment,
                ),
            )
            self.record(
                f"approval-{record.status.value}",
                {
                    "analysis": record.analysis_digest,
                    "binding": record.binding_digest or "",
                    "by": record.by,
                    "comment": record.comment,
                    "unsafe_open": record.unsafe_open,
                },
            )

    # --- runs and legs -----------------------------------------------------------------------------------------

    def open_run(self, run_id: str, digest: str, fab_sha256: str, config: Mapping[str, Any], max_runs: int) -> None:
        """Note a run, once.

        Raises:
            RefusedError: 908, the analysis has had its runs, or the run id stands for something else.
        """
        stated = json.dumps(dict(config), sort_keys=True)
        with self.transaction():
            rows = self._rows("SELECT digest, fab_sha256, config FROM runs WHERE run_id=?", run_id)
            if rows:
                if rows[0] != (digest, fab_sha256, stated):
                    raise RefusedError(
                        RefusalCode.TERMS_VIOLATED, "this run id stands for another analysis or run config"
                    )
                return
            if self._rows("SELECT COUNT(*) FROM runs WHERE digest=?", digest)[0][0] >= max_runs:
                raise RefusedError(RefusalCode.TERMS_VIOLATED, f"the analysis has had its {max_runs} runs")
            self._db.execute("INSERT INTO runs VALUES(?,?,?,?,?)", (run_id, digest, fab_sha256, stated, _now()))
            self.record(
                "run-opened", {"run": run_id, "analysis": digest, "fab": fab_sha256, "run_config": dict(config)}
            )

    def leg(self, run_id: str, leg_id: str) -> Leg | None:
        """What is stored of a leg.

        Raises:
            VerificationError: Its reply is on disk with other bytes than were committed.
        """
        rows = self._rows(
            "SELECT message_sha256, state, attempts, reply, reply_file_sha256, code FROM legs WHERE run_id=? AND leg_id=?",
            run_id,
            leg_id,
        )
        if not rows:
            return None
        sha, state, attempts, reply, file_sha, code = rows[0]
        if file_sha is not None:
            reply = self._read_reply(run_id, leg_id, file_sha)
        return Leg(sha, state, attempts, reply, None if code is None else RefusalCode(code))

    def legs_of(self, run_id: str, message_type: str | None = None) -> int:
        """How many distinct messages (of one type) the run has had here."""
        count: int = self._rows(
            "SELECT COUNT(*) FROM legs WHERE run_id=?1 AND (?2 IS NULL OR message_type=?2)", run_id, message_type
        )[0][0]
        return count

    def reserve_leg(self, run_id: str, leg_id: str, message_type: str, message_sha256: str) -> int:
        """Note an attempt at a leg; returns which attempt it is, from 1."""
        self._db.execute(
            "INSERT INTO legs VALUES(?,?,?,?,'reserved',1,NULL,NULL,NULL)"
            " ON CONFLICT(run_id, leg_id) DO UPDATE SET attempts=attempts+1",
            (run_id, leg_id, message_type, message_sha256),
        )
        attempts: int = self._rows("SELECT attempts FROM legs WHERE run_id=? AND leg_id=?", run_id, leg_id)[0][0]
        return attempts

    def end_leg(self, run_id: str, leg_id: str, *, reply: bytes | None, code: RefusalCode | None) -> None:
        """Store what left: the reply's bytes, or the refusal."""
        file_sha = None
        if reply is not None and len(reply) > _LARGE_REPLY_BYTES:
            file_sha = sha256_hex(reply)
            self._write_reply(run_id, leg_id, reply)
            reply = None
        self._db.execute(
            "UPDATE legs SET state=?, reply=?, reply_file_sha256=?, code=? WHERE run_id=? AND leg_id=?",
            ("released" if code is None else "refused", reply, file_sha, code, run_id, leg_id),
        )

    def forget_replies(self, run_id: str) -> None:
        """Drop the stored replies of a run that has ended; their hashes stay in the audit chain."""
        with self.transaction():
            self._db.execute("UPDATE legs SET reply=NULL, reply_file_sha256=NULL WHERE run_id=?", (run_id,))
        shutil.rmtree(self._reply_file(run_id, "").parent, ignore_errors=True)

    def _reply_file(self, run_id: str, leg_id: str) -> Path:
        # leg ids come from the hub: only their hash becomes a file name
        return self.path.parent / "replies" / sha256_hex(run_id.encode()) / sha256_hex(leg_id.encode())

    def _write_reply(self, run_id: str, leg_id: str, reply: bytes) -> None:
        file = self._reply_file(run_id, leg_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            stream.write(reply)
            if self._durable:
                stream.flush()
                os.fsync(stream.fileno())

    def _read_reply(self, run_id: str, leg_id: str, file_sha: str) -> bytes:
        try:
            reply = self._reply_file(run_id, leg_id).read_bytes()
        except FileNotFoundError:
            reply = b""
        if sha256_hex(reply) != file_sha:
            raise VerificationError(
                f"A stored reply beside {self.path} is missing or was changed.",
                mend="Restore the node's whole state folder from one backup; never copy state.db alone.",
            )
        return reply

    # --- ledger ------------------------------------------------------------------------------------------------

    def debit(
        self,
        store: str,
        project: str,
        digest: str,
        run_id: str,
        leg_id: str,
        attempt: int,
        event: GaussianRelease | None,
    ) -> None:
        """Reserve one release's event against a data store."""
        self._db.execute(
            "INSERT INTO ledger(at, store, project, digest, run_id, leg_id, attempt, event, rho, state)"
            " VALUES(?,?,?,?,?,?,?,?,?,'reserved')",
            (
                _now(),
                store,
                project,
                digest,
                run_id,
                leg_id,
                attempt,
                json.dumps({"event": "no-claim"} if event is None else event.as_json()),
                None if event is None else event.rho,
            ),
        )

    def commit_debit(self, run_id: str, leg_id: str, attempt: int) -> None:
        """The release left: its debit is final."""
        self._db.execute(
            "UPDATE ledger SET state='committed' WHERE run_id=? AND leg_id=? AND attempt=?", (run_id, leg_id, attempt)
        )

    def rho_spent(self, store: str, digest: str | None = None) -> float:
        """zCDP debited from a data store, by one analysis or by all."""
        total: float = self._rows(
            "SELECT COALESCE(SUM(rho), 0.0) FROM ledger WHERE store=?1 AND (?2 IS NULL OR digest=?2)", store, digest
        )[0][0]
        return total

    def ledger(self) -> list[LedgerEntry]:
        """Every debit, oldest first."""
        rows = self._rows(
            "SELECT at, store, project, run_id, leg_id, attempt, event, rho, state FROM ledger ORDER BY seq"
        )
        return [
            LedgerEntry(at, store, project, run_id, leg_id, attempt, json.loads(event), rho, state)
            for at, store, project, run_id, leg_id, attempt, event, rho, state in rows
        ]

    # --- audit -------------------------------------------------------------------------------------------------

    def record(self, kind: str, body: Mapping[str, Any]) -> str:
        """Append an audit entry; returns the new head."""
        with self.transaction():
            rows = self._rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            seq, head = rows[0] if rows else (0, audit.GENESIS)
            entry = audit.next_entry(seq + 1, head, _now(), kind, body)
            self._db.execute(
                "INSERT INTO audit VALUES(?,?,?)",
                (entry.seq, json.dumps(entry.as_json(), sort_keys=True), entry.hash),
            )
            return entry.hash

    def audit_rows(self) -> Iterator[tuple[dict[str, Any], str]]:
        """(entry as JSON, stored hash), oldest first."""
        for entry, stored in self._rows("SELECT entry, hash FROM audit ORDER BY seq"):
            try:
                yield json.loads(entry), stored
            except ValueError:
                yield {}, stored

    def verify_audit(self) -> tuple[int, str]:
        """Entries and head of the chain.

        Raises:
            VerificationError: It does not hold.
        """
        return audit.verify(self.audit_rows())


def _approval(row: tuple[Any, ...]) -> ApprovalRecord:
    digest, status, manifest, binding, steward_terms, unsafe_open, by, at, comment = row
    return ApprovalRecord(
        digest,
        Status(status),
        Manifest.model_validate_json(manifest),
        binding,
        None if steward_terms is None else Terms.model_validate_json(steward_terms),
        bool(unsafe_open),
        by,
        at,
        comment,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
