"""A steward of a real node, who signs with the key that the node keeps."""

from flame_fl.contract.manifest import Manifest
from flame_fl.gate.approval import ApprovalRecord, Status
from flame_fl.gate.decisions import Wish
from flame_fl.gate.signatures import read_private_key
from flame_fl.gate.workflow import Gate
from flame_fl.node import steward
from flame_fl.node.config import NodeFiles


def decide(files: NodeFiles, gate: Gate, manifest: Manifest, status: Status = Status.APPROVED) -> None:
    """File an analysis and decide about it, and its project, as a steward at the command line would."""
    if gate.store.approval(manifest.digest) is None:
        gate.store.put_approval(ApprovalRecord(manifest.digest, Status.PENDING, manifest, by="gate"))
    digest = manifest.digest
    if status in {Status.APPROVED, Status.WITHDRAWN}:
        key = read_private_key(files.steward_key)
        steward.approve_with_key(gate, steward.prepare(gate, digest), key, Wish("test"), with_project=True)
    if status in {Status.REJECTED, Status.WITHDRAWN}:
        steward.reject(gate, digest, by="steward", comment="test")
