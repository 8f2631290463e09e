"""Words for what happens at a gate of a node."""

from datetime import date

from flame_fl.contract.manifest import Manifest
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Run, Task
from flame_fl.gate.workflow import Gate
from flame_fl.node.config import NodeFiles
from tests.support.gates import make_fab, manifest_from, sent_message, terms_table
from tests.support.stewards import decide

LONG = {"from": date(2020, 1, 1), "until": date(2099, 12, 31)}


def fab_of(**changes: object) -> bytes:
    """A bundle with terms that hold today."""
    return make_fab(terms_table(validity=LONG, **changes))


def ask(gate: Gate, fab: bytes, *, leg: str = "1", run_id: int = 7, kind: str = "train") -> RefusalCode | None:
    """What the gate says to one message; None if something left."""
    answer = gate.handle(Task(Run(run_id, fab), leg, kind, "1", sent_message()))
    return answer.code if isinstance(answer, Refusal) else None


def approve_stated(gate: Gate, fab: bytes) -> Manifest:
    """Approve on the stated terms, for the data as they are, with the key that the node keeps."""
    manifest = manifest_from(fab)
    decide(NodeFiles(gate.store.path.parent), gate, manifest)
    return manifest
