"""Filing: an analysis that was never seen is kept for the steward, within bounds that one submitter cannot use up."""

from dataclasses import dataclass

from flame_fl.contract.manifest import Manifest
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.statement import project_digest
from flame_fl.contract.task import Run
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.audit import plain
from flame_fl.gate.store import Store

_MAX_SUBMITTER = 120


@dataclass(frozen=True)
class Filing:
    """The DIZ's rules about requests.

    Attributes:
        enabled: Whether unknown analyses are filed at all.
        max_pending: How many may wait in all.
        max_pending_per_submitter: How many of one submitter; the hub says who that is.
        max_bytes: Room for all bundles that are kept.
    """

    enabled: bool = True
    max_pending: int = 2000
    max_pending_per_submitter: int = 50
    max_bytes: int = 2 << 30

    @property
    def max_bytes_per_submitter(self) -> int:
        """A tenth of the room."""
        return self.max_bytes // 10

    def file(self, store: Store, manifest: Manifest, run: Run) -> ApprovalRecord:
        """Keep an analysis for the steward, with its bundle and its project. Returns what is stored of it now.

        Raises:
            RefusedError: 901, nothing more is taken.
        """
        submitter = plain(run.submitter, _MAX_SUBMITTER)
        with store.transaction():  # nobody decides between the look and the filing
            if (known := store.approval(manifest.digest)) is not None:
                return known
            if not self.enabled:
                raise RefusedError(RefusalCode.NOT_APPROVED, "this node takes no requests")
            if (
                store.approval_counts().get(Status.PENDING.value, 0) >= self.max_pending
                or store.pending_of(submitter) >= self.max_pending_per_submitter
                or store.bundle_bytes() + len(run.raw_fab) > self.max_bytes
                or store.bundle_bytes(submitter) + len(run.raw_fab) > self.max_bytes_per_submitter
            ):
                raise RefusedError(RefusalCode.NOT_APPROVED, "too many requests wait for the steward")
            store.keep_bundle(run.fab_sha256, run.raw_fab)
            if manifest.terms is not None and store.project(project_digest(manifest.terms.project)) is None:
                store.put_project(
                    ProjectRecord(manifest.terms.project, Status.PENDING, by="gate", comment="first sight")
                )
            record = ApprovalRecord(
                manifest.digest,
                Status.PENDING,
                manifest,
                by="gate",
                comment="first sight",
                fab_sha256=run.fab_sha256,
                submitter=submitter,
            )
            store.put_approval(record)
        return record
