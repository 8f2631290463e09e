"""What must survive a crash: approvals, runs, legs, the ledger and the audit chain, in one SQLite file per node.

Rules this module follows:

1. Every change of state and the audit entry that tells of it are one transaction: neither exists without the other,
   also after `kill -9`.
2. Budgets are debited by `reserve`, before the sandbox starts; a crash keeps the debit. Nothing refunds.
3. A leg's reply is stored with its commit, once: of several attempts at a leg only the last one reserved can commit.
   The same leg asked again gets the same bytes.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import canonical_json, sha256_hex
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate import audit
from flame_fl.gate.checkpoints import Checkpoints
from flame_fl.gate.database import Database
from flame_fl.gate.decision_store import DecisionStore
from flame_fl.gate.heads import Head
from flame_fl.gate.lock_store import LockStore
from flame_fl.gate.mask_store import MaskStore
from flame_fl.gate.replies import LARGE_BYTES, ReplyFiles
from flame_fl.gate.rollback import LastHead, check_locked
from flame_fl.gate.signatures import public_text
from flame_fl.gate.witnesses import Witnesses

if TYPE_CHECKING:  # a command that prints the audit log has no use for PyArrow
    from flame_fl.gate.cohorts import Members


@dataclass(frozen=True)
class Leg:
    """One message of one run, as stored."""

    message_sha256: str
    state: str  # reserved | released | refused
    attempts: int
    reply: bytes | None
    code: RefusalCode | None


@dataclass(frozen=True)
class RunRow:
    """A run as a person sees it in a list."""

    run_id: str
    digest: str
    config: str
    opened: str
    stopped: str
    released: int
    refused: int
    working: int


class Store(DecisionStore, LockStore, MaskStore):
    """A node's state. One instance per process and file; calls are serialised.

    Args:
        path: The file.
        durable: Wait for the disk at each commit.
        key: The node's identity; without it no checkpoint is made.
        last_head: Where the newest head that left is kept beside the state, if anywhere.
    """

    def __init__(
        self, path: Path, *, durable: bool = True, key: Ed25519PrivateKey | None = None, last_head: Path | None = None
    ) -> None:
        self.path, self._public = path, "" if key is None else public_text(key.public_key())
        self._last_head = None if last_head is None else LastHead(last_head)
        self._db = Database(path, durable=durable)
        self._points = Checkpoints(self._db, key)
        self._replies = ReplyFiles(path.parent / "replies", durable)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Nested use joins the outer one."""
        with self._db.transaction():
            yield
        self._points.publish()

    # --- runs and legs -----------------------------------------------------------------------------------------

    def open_run(self, run_id: str, digest: str, fab_sha256: str, config: Mapping[str, Any], max_runs: int) -> None:
        """Note a run, once.

        Raises:
            RefusedError: 908, the analysis has had its runs, or the run id stands for something else; 907, it was
                stopped.
        """
        stated = json.dumps(dict(config), sort_keys=True)
        with self.transaction():
            rows = self._db.rows("SELECT digest, fab_sha256, config, stopped FROM runs WHERE run_id=?", run_id)
            if rows:
                if rows[0][:3] != (digest, fab_sha256, stated):
                    raise RefusedError(
                        RefusalCode.TERMS_VIOLATED, "this run id stands for another analysis or run config"
                    )
                if rows[0][3]:
                    raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, "the run was stopped here")
                return
            if self._db.rows("SELECT COUNT(*) FROM runs WHERE digest=?", digest)[0][0] >= max_runs:
                raise RefusedError(RefusalCode.TERMS_VIOLATED, f"the analysis has had its {max_runs} runs")
            self._db.execute("INSERT INTO runs VALUES(?,?,?,?,?,'')", run_id, digest, fab_sha256, stated, _now())
            self.record(
                "run-opened", {"run": run_id, "analysis": digest, "fab": fab_sha256, "run_config": dict(config)}
            )

    def runs(self, digest: str | None = None, *, limit: int = 100) -> list[RunRow]:
        """Runs of one analysis, or of all, newest first, with what each had and let out so far."""
        rows = self._db.rows(
            "SELECT run_id, digest, config, opened, stopped,"
            " (SELECT COUNT(*) FROM legs l WHERE l.run_id=r.run_id AND l.state='released'),"
            " (SELECT COUNT(*) FROM legs l WHERE l.run_id=r.run_id AND l.state='refused'),"
            " (SELECT COUNT(*) FROM legs l WHERE l.run_id=r.run_id AND l.state='reserved')"
            " FROM runs r WHERE ?1 IS NULL OR digest=?1 ORDER BY rowid DESC LIMIT ?2",
            digest,
            limit,
        )
        return [RunRow(*row) for row in rows]

    def stop_run(self, run_id: str, by: str) -> bool:
        """Answer nothing more of a run, nor again what was answered; returns False if there is no such run."""
        with self.transaction():
            if not self._db.execute(
                "UPDATE runs SET stopped=? WHERE run_id=? AND stopped=''", f"{_now()} {by}", run_id
            ):
                return bool(self._db.rows("SELECT 1 FROM runs WHERE run_id=?", run_id))
            self.record("run-stopped", {"run": run_id, "by": by})
        return True

    def is_stopped(self, run_id: str) -> bool:
        """Whether a person stopped a run."""
        return bool(self._db.rows("SELECT 1 FROM runs WHERE run_id=? AND stopped<>''", run_id))

    def leg(self, run_id: str, leg_id: str) -> Leg | None:
        """What is stored of a leg.

        Raises:
            VerificationError: Its reply is on disk with other bytes than were committed.
        """
        rows = self._db.rows(
            "SELECT message_sha256, state, attempts, reply, reply_file_sha256, code FROM legs"
            " WHERE run_id=? AND leg_id=?",
            run_id,
            leg_id,
        )
        if not rows:
            return None
        sha, state, attempts, reply, file_sha, code = rows[0]
        if file_sha is not None:
            reply = self._replies.read(run_id, leg_id, file_sha)
        return Leg(sha, state, attempts, reply, None if code is None else RefusalCode(code))

    def legs_of(self, run_id: str, message_type: str | None = None) -> int:
        """How many distinct messages (of one type) the run has had here."""
        count: int = self._db.rows(
            "SELECT COUNT(*) FROM legs WHERE run_id=?1 AND (?2 IS NULL OR message_type=?2)", run_id, message_type
        )[0][0]
        return count

    def worked_legs_of(self, run_id: str) -> int:
        """How many distinct messages of the run a sandbox had to work on, without those of secure aggregation."""
        count: int = self._db.rows(
            "SELECT COUNT(*) FROM legs WHERE run_id=? AND message_type NOT GLOB 'query.flame_*'", run_id
        )[0][0]
        return count

    def reserve_leg(self, run_id: str, leg_id: str, message_type: str, message_sha256: str) -> int:
        """Note an attempt at a leg; returns which attempt it is, from 1."""
        self._db.execute(
            "INSERT INTO legs VALUES(?,?,?,?,'reserved',1,NULL,NULL,NULL,0)"
            " ON CONFLICT(run_id, leg_id) DO UPDATE SET attempts=attempts+1",
            run_id,
            leg_id,
            message_type,
            message_sha256,
        )
        attempts: int = self._db.rows("SELECT attempts FROM legs WHERE run_id=? AND leg_id=?", run_id, leg_id)[0][0]
        return attempts

    def end_leg(
        self,
        run_id: str,
        leg_id: str,
        attempt: int,
        *,
        reply: Sequence[bytes | memoryview] | None = None,
        code: RefusalCode | None = None,
        numbers: int = 0,
    ) -> bool:
        """Store what left: the reply's bytes, in parts, or the refusal.

        Returns:
            Whether `attempt` still stood for the leg. If another was reserved meanwhile, that one answers, this does
            not, and nothing is changed.
        """
        large = reply if reply is not None and sum(len(part) for part in reply) > LARGE_BYTES else None
        changed = self._db.execute(
            "UPDATE legs SET state=?, reply=?, reply_file_sha256=?, code=?, numbers=?"
            " WHERE run_id=? AND leg_id=? AND attempts=? AND state='reserved'",
            "released" if code is None else "refused",
            None if large is not None or reply is None else b"".join(reply),
            None if large is None else sha256_hex(*large),
            code,
            numbers,
            run_id,
            leg_id,
            attempt,
        )
        if changed and large is not None:  # after the update: an attempt that lost must not touch the winner's file
            self._replies.write(run_id, leg_id, large)
        return changed == 1

    def forget_replies(self, run_id: str) -> None:
        """Drop the stored replies and the keys of masks of a run that has ended; hashes stay in the audit chain."""
        with self.transaction():
            self._db.execute("UPDATE legs SET reply=NULL, reply_file_sha256=NULL WHERE run_id=?", run_id)
            self.erase_masks(run_id)
            self.record("run-ended", {"run": run_id})
        self._db.empty_log()  # it still has the keys
        self._replies.forget(run_id)

    def forget_old_replies(self, days: int) -> None:
        """Drop the stored replies of runs opened more than so many days ago."""
        oldest = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")
        for (run_id,) in self._db.rows(
            "SELECT DISTINCT run_id FROM legs JOIN runs USING(run_id) WHERE opened < ?"
            " AND (reply IS NOT NULL OR reply_file_sha256 IS NOT NULL)",
            oldest,
        ):
            self.forget_replies(run_id)

    # --- cohorts -----------------------------------------------------------------------------------------------

    def released_cohorts(self, store: str, *, digest: str | None = None) -> set[str]:
        """The hashes (`Cohort.members_sha256`) of the different sets of patients that something was released about.

        Only of releases without an arithmetic claim.

        Args:
            store: The data store, in whatever version.
            digest: Of this analysis only; None is of any.
        """
        rows = self._db.rows(
            "SELECT DISTINCT fingerprint FROM cohorts WHERE store=?1 AND (?2 IS NULL OR digest=?2)"
            " AND ground IN ('none', 'reviewed')",
            store,
            digest,
        )
        return {fingerprint for (fingerprint,) in rows}

    def members_of(self, fingerprint: str) -> "Members":
        """The patients of a set that something was released about: their sorted hashes."""
        rows = self._db.rows("SELECT members FROM cohorts WHERE fingerprint=? LIMIT 1", fingerprint)
        return np.frombuffer(rows[0][0], np.uint64)

    def note_cohort(self, digest: str, store: str, members: "Members", namespace: str, ground: str) -> None:
        """Something of this analysis is released about these patients."""
        raw = members.astype(np.uint64).tobytes()
        self._db.execute(
            "INSERT OR IGNORE INTO cohorts VALUES(?,?,?,?,?,?)", digest, store, sha256_hex(raw), raw, namespace, ground
        )

    def cohort_check(self, digest: str, store: str, binding: str) -> bool | None:
        """Whether a noised count found enough patients for an analysis under a claim; None if it was not made yet."""
        rows = self._db.rows(
            "SELECT enough FROM cohort_checks WHERE digest=? AND store=? AND binding=?", digest, store, binding
        )
        return bool(rows[0][0]) if rows else None

    def note_cohort_check(self, digest: str, store: str, binding: str, *, enough: bool, noised: int) -> None:
        """Decide it, once."""
        self._db.execute(
            "INSERT INTO cohort_checks VALUES(?,?,?,?,?,?)", digest, store, binding, enough, noised, _now()
        )

    def numbers_released(self, digest: str) -> int:
        """How many numbers left in all answers of an analysis so far, whatever run they were in."""
        total: int = self._db.rows(
            "SELECT COALESCE(SUM(numbers), 0) FROM legs JOIN runs USING(run_id) WHERE digest=?", digest
        )[0][0]
        return total

    # --- audit -------------------------------------------------------------------------------------------------

    def record(self, kind: str, body: Mapping[str, Any]) -> str:
        """Append an audit entry; returns the new head."""
        with self.transaction():
            rows = self._db.rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            seq, head = rows[0] if rows else (0, audit.GENESIS)
            entry = audit.next_entry(seq + 1, head, _now(), kind, body)
            self._db.execute(
                "INSERT INTO audit VALUES(?,?,?)",
                entry.seq,
                canonical_json(entry.as_json()).decode(),
                entry.hash,
            )
            self._points.note(entry.seq, entry.hash, entry.at)
            return entry.hash

    def checkpoint(self) -> None:
        """Sign where the audit chain is now, if this store has the node's key."""
        with self.transaction():
            self._points.make(_now())

    def sign_head(self, head: str) -> str:
        """The node's signature under a head that leaves, "" without a key."""
        return self._points.sign_head(head)

    def witness(self, heads: Sequence[Head], run_id: str) -> None:
        """Keep heads of other DIZ: what they said then cannot be taken back without our knowing."""
        with self.transaction():
            if new := Witnesses(self._db).keep(heads, run_id, _now()):
                said = sha256_hex(canonical_json([[head.node, head.head] for head in heads]))
                self.record("heads-witnessed", {"run": run_id, "heads": new, "sha256": said})

    def audit_rows(self) -> Iterator[tuple[dict[str, Any], str]]:
        """(entry as JSON, stored hash), oldest first; an entry that is no JSON is empty."""
        for text, stored in self._points.entries():
            yield audit.parse(text) or {}, stored

    def last_of(self, kind: str) -> dict[str, Any] | None:
        """The body of the newest entry of a kind."""
        rows = self._db.rows("SELECT entry FROM audit WHERE instr(entry, ?) ORDER BY seq DESC", f'"kind":"{kind}"')
        for (text,) in rows:
            entry = audit.parse(text) or {}
            if entry.get("kind") == kind:
                return dict(entry["body"])
        return None

    def verify_audit(self, keys: Collection[str] | None = None) -> tuple[int, str]:
        """Entries and head of the chain, which is compared with its checkpoints.

        Args:
            keys: Public keys that may have signed checkpoints; None is this node's own, if the store has it.

        A locked state is known to be older than the file beside it, which is then left out.

        Raises:
            VerificationError: It does not hold; it names the first entry that does not.
        """
        own = (self._public,) if self._public else ()
        known = own if keys is None else keys
        found = check_locked(self._points, known) if self.locks.open() else self._points.check(known)
        return found.entries, found.head


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
