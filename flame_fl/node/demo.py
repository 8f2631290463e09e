"""A steward that is a rule, for `flame federation up --demo` only. Everything it approves is marked DEMO."""

from datetime import UTC, datetime

from flame_fl.contract.refusal import RefusedError
from flame_fl.contract.task import Run
from flame_fl.gate.approval import DEMO_POLICY, ApprovalRecord, Status
from flame_fl.gate.workflow import Gate


def approve_if_demo(gate: Gate, run: Run, contents: frozenset[str]) -> None:
    """Approve an analysis at first sight, on its stated terms, if its bundle's content is one of `contents`."""
    try:
        manifest = gate.manifest(run)
    except RefusedError:
        return  # the gate will say so itself
    known = gate.store.approval(manifest.digest)
    if known is not None and known.status is not Status.PENDING:
        return
    if manifest.terms is None or manifest.fab_content_sha256 not in contents:
        return
    binding = gate.binding(manifest.app, manifest.terms)
    gate.store.put_approval(
        ApprovalRecord(
            manifest.digest,
            Status.APPROVED,
            manifest,
            binding.digest,
            by=DEMO_POLICY,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            comment="demonstration: approved by content hash, by no person",
            data=binding.data,
        )
    )
