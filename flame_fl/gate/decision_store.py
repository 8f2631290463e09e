"""What was filed and what was decided: analyses, projects, stewards, in the node's state file.

Every change and the audit entry that tells of it are one transaction (`flame_fl.gate.store`, rule 1). Decisions are
only ever added.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flame_fl.contract.manifest import Manifest
from flame_fl.contract.statement import Statement
from flame_fl.contract.terms import Project, Terms
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.database import Database
from flame_fl.gate.trust import Signed


@dataclass(frozen=True)
class Decision:
    """One decision, for ever: who, when, what was shown, what was signed."""

    subject: str  # project | analysis
    digest: str
    act: str  # approve | reject | withdraw
    by: str
    at: str
    comment: str = ""
    sheet: str = ""
    statement: str = ""
    signature: str = ""
    key: str = ""


class DecisionStore(ABC):
    """Analyses, projects, decisions and stewards. `Store` is one; it says how to record and what a transaction is."""

    _db: Database

    @abstractmethod
    def record(self, kind: str, body: Mapping[str, Any]) -> str:
        """Append an audit entry; returns the new head."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Sign where the audit chain is now."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""

    def approval(self, digest: str) -> ApprovalRecord | None:
        """What is stored of an analysis."""
        rows = self._db.rows("SELECT * FROM approval_records WHERE digest=?", digest)
        return _approval(rows[0]) if rows else None

    def approvals(self, app: str | None = None) -> list[ApprovalRecord]:
        """All analyses ever seen, or those of one app ("publisher/name"), oldest first."""
        rows = self._db.rows("SELECT * FROM approval_records WHERE ?1 IS NULL OR app=?1 ORDER BY place", app)
        return [_approval(row) for row in rows]

    def approvals_like(self, prefix: str) -> list[ApprovalRecord]:
        """The analyses whose digest begins so; two at most."""
        upper = prefix + "g"  # after every hex digit
        rows = self._db.rows(
            "SELECT * FROM approval_records WHERE digest>=? AND digest<? LIMIT 2", prefix.lower(), upper.lower()
        )
        return [_approval(row) for row in rows]

    def approved_before(self, app: str, digest: str) -> list[ApprovalRecord]:
        """Approved analyses of an app that were filed before one, the last approved first."""
        rows = self._db.rows(
            "SELECT * FROM approval_records WHERE app=?1 AND status='approved'"
            " AND place<(SELECT rowid FROM approvals WHERE digest=?2) ORDER BY at DESC LIMIT 20",
            app,
            digest,
        )
        return [_approval(row) for row in rows]

    def approvals_page(
        self, status: str | None, *, limit: int, before: int | None = None
    ) -> list[tuple[int, ApprovalRecord]]:
        """Analyses with one stored status, or all, newest first, each with its number in the table.

        Args:
            status: As stored: an approved one whose day is over counts as approved here.
            limit: How many at most.
            before: Only those with a smaller number: the last one of the page before.
        """
        rows = self._db.rows(
            "SELECT * FROM approval_records WHERE (?1 IS NULL OR status=?1) AND (?2 IS NULL OR place<?2)"
            " ORDER BY place DESC LIMIT ?3",
            status,
            before,
            limit,
        )
        return [(row[-1], _approval(row)) for row in rows]

    def approval_counts(self) -> dict[str, int]:
        """How many analyses have each stored status."""
        return dict(self._db.rows("SELECT status, COUNT(*) FROM approvals GROUP BY status"))

    def pending_of(self, submitter: str) -> int:
        """How many analyses of one submitter wait for the steward."""
        count: int = self._db.rows("SELECT COUNT(*) FROM approvals WHERE status='pending' AND submitter=?", submitter)[
            0
        ][0]
        return count

    def put_approval(self, record: ApprovalRecord, decision: Decision | None = None) -> None:
        """File or change an analysis, keep the decision, and audit it."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO approvals(digest, app, status, manifest, binding, steward_terms, unsafe_open, by, at,"
                " comment, data, project, fab_sha256, submitter, signatures) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
                " ON CONFLICT(digest) DO UPDATE SET"
                " status=excluded.status, binding=excluded.binding, steward_terms=excluded.steward_terms,"
                " unsafe_open=excluded.unsafe_open, by=excluded.by, at=excluded.at, comment=excluded.comment,"
                " data=excluded.data, project=excluded.project, signatures=excluded.signatures",
                record.analysis_digest,
                record.manifest.app,
                record.status.value,
                record.manifest.model_dump_json(by_alias=True),
                record.binding_digest,
                record.steward_terms.model_dump_json(by_alias=True) if record.steward_terms else None,
                record.unsafe_open,
                record.by,
                record.at or _now(),
                record.comment,
                json.dumps(dict(record.data), sort_keys=True),
                record.project_id,
                record.fab_sha256,
                record.submitter,
                _signatures_text(record.signatures),
            )
            self._decided(decision)
            said = {
                "analysis": record.analysis_digest,
                "binding": record.binding_digest or "",
                "by": record.by,
                "comment": record.comment,
                "unsafe_open": record.unsafe_open,
            }
            self.record(f"approval-{record.status.value}", said | _audited(decision))
            self._signed(decision)

    def bundle(self, fab_sha256: str) -> bytes | None:
        """A bundle that was filed."""
        rows = self._db.rows("SELECT raw FROM bundles WHERE sha256=?", fab_sha256)
        return bytes(rows[0][0]) if rows else None

    def keep_bundle(self, fab_sha256: str, raw: bytes) -> None:
        """Keep a bundle for the steward's sheet."""
        self._db.execute("INSERT OR IGNORE INTO bundles VALUES(?,?)", fab_sha256, raw)

    def drop_bundle(self, fab_sha256: str) -> None:
        """Keep a bundle no longer, unless something that waits or was approved names it."""
        self._db.execute(
            "DELETE FROM bundles WHERE sha256=?1 AND NOT EXISTS(SELECT 1 FROM approvals WHERE fab_sha256=?1"
            " AND status<>'rejected')",
            fab_sha256,
        )

    def refile(self, digest: str, fab_sha256: str, raw: bytes) -> None:
        """Another packing of what waits: the newest is kept, since that is what would run."""
        with self.transaction():
            before = self._db.rows("SELECT fab_sha256 FROM approvals WHERE digest=?", digest)
            self.keep_bundle(fab_sha256, raw)
            self._db.execute("UPDATE approvals SET fab_sha256=? WHERE digest=?", fab_sha256, digest)
            for (sha256,) in before:
                self.drop_bundle(sha256)

    def bundle_bytes(self, submitter: str | None = None) -> int:
        """How much room the bundles take, in all or of one submitter."""
        size: int = self._db.rows(
            "SELECT COALESCE(SUM(LENGTH(raw)), 0) FROM bundles WHERE ?1 IS NULL OR sha256 IN"
            " (SELECT fab_sha256 FROM approvals WHERE submitter=?1)",
            submitter,
        )[0][0]
        return size

    def keep_sheet(self, sha256: str, text: str) -> None:
        """Keep a sheet that is shown to somebody who decides."""
        self._db.execute("INSERT OR IGNORE INTO sheets VALUES(?,?)", sha256, text)

    def sheet(self, sha256: str) -> str | None:
        """A sheet that was shown."""
        rows = self._db.rows("SELECT sheet FROM sheets WHERE sha256=?", sha256)
        return str(rows[0][0]) if rows else None

    # --- projects and stewards ---------------------------------------------------------------------------------

    def project(self, digest: str) -> ProjectRecord | None:
        """What is stored of a project, by its digest."""
        rows = self._db.rows("SELECT * FROM project_records WHERE digest=?", digest)
        return _project(rows[0]) if rows else None

    def projects(self, project_id: str | None = None) -> list[ProjectRecord]:
        """All projects ever seen, or those that call themselves so, oldest first."""
        rows = self._db.rows("SELECT * FROM project_records WHERE ?1 IS NULL OR id=?1 ORDER BY place", project_id)
        return [_project(row) for row in rows]

    def put_project(self, record: ProjectRecord, decision: Decision | None = None) -> None:
        """File or change a project, keep the decision, and audit it."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO projects VALUES(?,?,?,?,?,?,?,?,?) ON CONFLICT(digest) DO UPDATE SET"
                " status=excluded.status, roster=excluded.roster, by=excluded.by, at=excluded.at,"
                " comment=excluded.comment, signatures=excluded.signatures",
                record.digest,
                record.project.id,
                record.status.value,
                record.project.model_dump_json(),
                json.dumps(dict(record.roster), sort_keys=True),
                record.by,
                record.at or _now(),
                record.comment,
                _signatures_text(record.signatures),
            )
            self._decided(decision)
            said = {
                "project": record.project.id,
                "digest": record.digest,
                "roster": sorted(record.roster),
                "by": record.by,
                "comment": record.comment,
            }
            self.record(f"project-{record.status.value}", said | _audited(decision))
            self._signed(decision)

    def _decided(self, decision: Decision | None) -> None:
        if decision is not None:
            self._db.execute(
                "INSERT INTO decisions(subject, digest, act, by, at, comment, sheet, statement, signature, key)"
                " VALUES(?,?,?,?,?,?,?,?,?,?)",
                *(getattr(decision, name) for name in Decision.__dataclass_fields__),
            )

    def _signed(self, decision: Decision | None) -> None:
        if decision is not None:
            self.checkpoint()

    def decisions(self, subject: str, digest: str) -> list[Decision]:
        """Every decision about a project or an analysis, oldest first."""
        rows = self._db.rows(
            "SELECT subject, digest, act, by, at, comment, sheet, statement, signature, key FROM decisions"
            " WHERE subject=? AND digest=? ORDER BY seq",
            subject,
            digest,
        )
        return [Decision(*row) for row in rows]

    def stewards(self) -> dict[str, str]:
        """Names of the stewards by public key."""
        return dict(self._db.rows("SELECT key, name FROM stewards ORDER BY name"))

    def add_steward(self, key: str, name: str, by: str) -> bool:
        """Trust a key; returns False if the key or the name is there already."""
        with self.transaction():
            if not self._db.execute("INSERT OR IGNORE INTO stewards VALUES(?,?,?,?)", key, name, _now(), by):
                return False
            self.record("steward-added", {"name": name, "key": key, "by": by})
            self.checkpoint()
        return True

    def remove_steward(self, name: str, by: str) -> bool:
        """Trust a key no longer: what it signed holds no more. Returns False if there is none."""
        with self.transaction():
            if not self._db.execute("DELETE FROM stewards WHERE name=?", name):
                return False
            self.record("steward-removed", {"name": name, "by": by})
            self.checkpoint()
        return True


def _approval(row: tuple[Any, ...]) -> ApprovalRecord:
    digest, status, manifest, binding, steward_terms, unsafe_open, by, at, comment, data, signatures, *rest = row
    number, fab_sha256, submitter, _, _ = rest
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
        json.loads(data),
        _signatures(signatures),
        number,
        fab_sha256,
        submitter,
    )


def _project(row: tuple[Any, ...]) -> ProjectRecord:
    project, status, roster, by, at, comment, signatures, number, _, _, _ = row
    return ProjectRecord(
        Project.model_validate_json(project),
        Status(status),
        json.loads(roster),
        by,
        at,
        comment,
        _signatures(signatures),
        number,
    )


def _signatures_text(signatures: Sequence[Signed]) -> str:
    return json.dumps([[s.statement.text.decode(), s.signature, s.by] for s in signatures])


def _signatures(text: str) -> tuple[Signed, ...]:
    return tuple(Signed(Statement.model_validate_json(said), made, by) for said, made, by in json.loads(text))


def _audited(decision: Decision | None) -> dict[str, str]:
    if decision is None:
        return {}
    return {"act": decision.act, "sheet": decision.sheet, "key": decision.key, "signature": decision.signature}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
