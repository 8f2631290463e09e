"""One SQLite file per node: connection, schema, transactions.

Rules this module follows:

1. A transaction is all or nothing, also after `kill -9`. `durable=True` (a real node) waits for the disk at each
   commit; a simulation's nodes survive the death of the process but not a power cut.
2. A commit that fails is rolled back and raised: nothing is ever half-open for the next caller to join.
3. The schema carries a version. An unknown version stops; nothing is guessed.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flame_fl.contract.errors import VerificationError

SCHEMA_VERSION = 5
_MIGRATIONS = {
    1: """
    CREATE TABLE approvals(digest TEXT PRIMARY KEY, app TEXT NOT NULL, status TEXT NOT NULL, manifest TEXT NOT NULL,
        binding TEXT, steward_terms TEXT, unsafe_open INTEGER NOT NULL, by TEXT NOT NULL, at TEXT NOT NULL,
        comment TEXT NOT NULL);
    CREATE TABLE runs(run_id TEXT PRIMARY KEY, digest TEXT NOT NULL, fab_sha256 TEXT NOT NULL, config TEXT NOT NULL,
        opened TEXT NOT NULL);
    CREATE TABLE legs(run_id TEXT NOT NULL, leg_id TEXT NOT NULL, message_type TEXT NOT NULL,
        message_sha256 TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, reply BLOB,
        reply_file_sha256 TEXT, code INTEGER, PRIMARY KEY(run_id, leg_id));
    CREATE TABLE ledger(seq INTEGER PRIMARY KEY, at TEXT NOT NULL, store TEXT NOT NULL, project TEXT NOT NULL,
        digest TEXT NOT NULL, run_id TEXT NOT NULL, leg_id TEXT NOT NULL, attempt INTEGER NOT NULL, event TEXT NOT NULL,
        rho REAL, state TEXT NOT NULL);
    CREATE INDEX ledger_by_attempt ON ledger(run_id, leg_id, attempt);
    CREATE TABLE audit(seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL)
    """,
    2: """
    ALTER TABLE approvals ADD COLUMN data TEXT NOT NULL DEFAULT '{}';
    CREATE TABLE cohorts(digest TEXT NOT NULL, store TEXT NOT NULL, fingerprint TEXT NOT NULL, members BLOB NOT NULL,
        PRIMARY KEY(digest, store, fingerprint))
    """,
    # approvals of earlier schemas are not signed: they wait for the steward again
    3: """
    ALTER TABLE approvals ADD COLUMN project TEXT NOT NULL DEFAULT '';
    ALTER TABLE approvals ADD COLUMN fab_sha256 TEXT NOT NULL DEFAULT '';
    ALTER TABLE approvals ADD COLUMN submitter TEXT NOT NULL DEFAULT '';
    ALTER TABLE approvals ADD COLUMN signatures TEXT NOT NULL DEFAULT '[]';
    UPDATE approvals SET status='pending', comment='was approved before approvals were signed' WHERE status='approved';
    CREATE INDEX approvals_by_status ON approvals(status);
    CREATE INDEX approvals_by_app ON approvals(app);
    CREATE TABLE projects(digest TEXT PRIMARY KEY, id TEXT NOT NULL, status TEXT NOT NULL, project TEXT NOT NULL,
        roster TEXT NOT NULL, by TEXT NOT NULL, at TEXT NOT NULL, comment TEXT NOT NULL, signatures TEXT NOT NULL);
    CREATE TABLE bundles(sha256 TEXT PRIMARY KEY, raw BLOB NOT NULL);
    CREATE TABLE sheets(sha256 TEXT PRIMARY KEY, sheet TEXT NOT NULL);
    CREATE TABLE decisions(seq INTEGER PRIMARY KEY, subject TEXT NOT NULL, digest TEXT NOT NULL, act TEXT NOT NULL,
        by TEXT NOT NULL, at TEXT NOT NULL, comment TEXT NOT NULL, sheet TEXT NOT NULL, statement TEXT NOT NULL,
        signature TEXT NOT NULL, key TEXT NOT NULL);
    CREATE INDEX decisions_by_digest ON decisions(subject, digest);
    CREATE TABLE stewards(key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, added TEXT NOT NULL, by TEXT NOT NULL);
    CREATE VIEW approval_records AS SELECT digest, status, manifest, binding, steward_terms, unsafe_open, by, at,
        comment, data, signatures, (SELECT COUNT(*) FROM decisions d WHERE d.subject='analysis'
        AND d.digest=approvals.digest AND d.act<>'approve') AS number, fab_sha256, submitter, app,
        approvals.rowid AS place FROM approvals;
    CREATE VIEW project_records AS SELECT project, status, roster, by, at, comment, signatures,
        (SELECT COUNT(*) FROM decisions d WHERE d.subject='project' AND d.digest=projects.digest
        AND d.act<>'approve') AS number, digest, id, projects.rowid AS place FROM projects;
    ALTER TABLE runs ADD COLUMN stopped TEXT NOT NULL DEFAULT '';
    CREATE INDEX runs_by_digest ON runs(digest);
    CREATE TABLE checkpoints(seq INTEGER PRIMARY KEY, head TEXT NOT NULL, at TEXT NOT NULL, signature TEXT NOT NULL);
    CREATE TABLE witnessed(peer TEXT NOT NULL, head TEXT NOT NULL, signature TEXT NOT NULL, run_id TEXT NOT NULL,
        at TEXT NOT NULL, PRIMARY KEY(peer, head))
    """,
    # one row per account and attempt; an earlier release of unit site is debited from its patients as well
    4: """
    CREATE TABLE debits(seq INTEGER PRIMARY KEY, at TEXT NOT NULL, unit TEXT NOT NULL, namespace TEXT NOT NULL,
        stores TEXT NOT NULL, project TEXT NOT NULL, digest TEXT NOT NULL, run_id TEXT NOT NULL, leg_id TEXT NOT NULL,
        attempt INTEGER NOT NULL, event TEXT NOT NULL, distance REAL NOT NULL, state TEXT NOT NULL);
    INSERT INTO debits(at, unit, namespace, stores, project, digest, run_id, leg_id, attempt, event, distance, state)
        SELECT MIN(at), CASE WHEN MAX(rho) IS NULL THEN 'none' ELSE 'site' END, '', GROUP_CONCAT(store), MIN(project),
        MIN(digest), run_id, leg_id, attempt, MIN(event), 0.0, MIN(state) FROM ledger GROUP BY run_id, leg_id, attempt
        ORDER BY MIN(seq);
    INSERT INTO debits(at, unit, namespace, stores, project, digest, run_id, leg_id, attempt, event, distance, state)
        SELECT at, 'patient', 'patients', stores, project, digest, run_id, leg_id, attempt, event, distance, state
        FROM debits WHERE unit='site' ORDER BY seq;
    DROP TABLE ledger;
    CREATE INDEX debits_by_account ON debits(unit, namespace, digest, event);
    CREATE INDEX debits_by_attempt ON debits(run_id, leg_id, attempt);
    CREATE TABLE accounts(unit TEXT NOT NULL, namespace TEXT NOT NULL, renyi_order REAL NOT NULL, delta REAL NOT NULL,
        at TEXT NOT NULL, PRIMARY KEY(unit, namespace));
    CREATE TABLE caps(seq INTEGER PRIMARY KEY, unit TEXT NOT NULL, namespace TEXT NOT NULL, project TEXT NOT NULL,
        epsilon REAL NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, comment TEXT NOT NULL);
    CREATE TABLE cohort_checks(digest TEXT NOT NULL, store TEXT NOT NULL, binding TEXT NOT NULL, enough INTEGER NOT
    NULL,
        noised INTEGER NOT NULL, at TEXT NOT NULL, PRIMARY KEY(digest, store, binding));
    ALTER TABLE cohorts ADD COLUMN namespace TEXT NOT NULL DEFAULT 'patients';
    ALTER TABLE cohorts ADD COLUMN ground TEXT NOT NULL DEFAULT 'none';
    CREATE INDEX cohorts_by_store ON cohorts(store, digest, ground, fingerprint);
    CREATE INDEX cohorts_by_fingerprint ON cohorts(fingerprint);
    ALTER TABLE legs ADD COLUMN numbers INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE locks(at TEXT NOT NULL, why TEXT NOT NULL, head TEXT NOT NULL, released_at TEXT, by TEXT, comment TEXT)
    """,
    5: """
    CREATE TABLE masks(run_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, state TEXT NOT NULL,
        held TEXT NOT NULL DEFAULT '')
    """,
}


def require_state(path: Path) -> None:
    """Check that a file is a node's state, without writing to it.

    Raises:
        VerificationError: It is not.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    except sqlite3.Error as err:
        raise VerificationError(f"The state file {path} cannot be read: {err}.", mend="Check what file it is.") from err
    if version == 0 or "audit" not in tables or not {"ledger", "debits"} & tables:
        raise VerificationError(f"{path} is no state of a node.", mend="Give a run folder or a node's state folder.")


class Database:
    """A connection that threads share; calls are serialised."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        except (OSError, sqlite3.Error) as err:
            raise VerificationError(
                f"The state file {path} cannot be opened: {err}.", mend="Check the folder and its permissions."
            ) from err
        try:
            self.execute("PRAGMA journal_mode=WAL")
            self.execute("PRAGMA secure_delete=ON")  # keys of masks that are dropped are to be gone
            self.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            with self.transaction():
                self._migrate()
        except sqlite3.DatabaseError as err:
            self.close()
            raise VerificationError(
                f"The state file {path} cannot be used: {err}.",
                mend="If another process holds it, end that one; otherwise restore the file from a backup.",
            ) from err
        except VerificationError:
            self.close()
            raise

    def _migrate(self) -> None:
        version = self.rows("PRAGMA user_version")[0][0]
        if version > SCHEMA_VERSION:
            raise VerificationError(
                f"The state file {self.path} has schema {version}; this flame_fl knows up to {SCHEMA_VERSION}.",
                mend="Use the newer flame_fl that wrote it.",
            )
        for step in range(version + 1, SCHEMA_VERSION + 1):
            for statement in _MIGRATIONS[step].split(";"):
                self.execute(statement)
            self.execute(f"PRAGMA user_version={step}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Nested use joins the outer one."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # after some failures SQLite has done it already
            self._connection.execute("ROLLBACK")

    def empty_log(self) -> None:
        """Move what the write-ahead log holds into the file, and leave nothing of it behind; not in a transaction."""
        with self._lock:
            if not self._connection.in_transaction:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def execute(self, sql: str, *args: Any) -> int:
        """Run one statement; returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(sql, args).rowcount

    def rows(self, sql: str, *args: Any) -> list[Any]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(sql, args).fetchall()
