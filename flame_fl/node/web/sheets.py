"""The sheet that a steward reads: built once for what is stored and what the node has, and kept when it is shown.

Dry runs work in a thread, one at a time; what one showed becomes part of the sheet until the page ends.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.gate.approval import ApprovalRecord
from flame_fl.gate.workflow import Gate
from flame_fl.node import steward
from flame_fl.node.dry_run import dry_run
from flame_fl.node.dry_run_outcome import DryRunOutcome
from flame_fl.node.sheet import Sheet, build_sheet
from flame_fl.node.wiring import Node

_MOST, _FRESH_SECONDS = 64, 60.0
_Key = tuple[object, ...]


@dataclass
class DryRuns:
    """The dry run that goes on, and what the last ones showed, by analysis."""

    node: Node
    gate: Gate
    going: str = ""
    outcomes: dict[str, DryRunOutcome] = field(default_factory=dict)
    faults: dict[str, FlameError] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, record: ApprovalRecord) -> None:
        """Start one.

        Raises:
            InputError: One goes on.
        """
        with self._lock:
            if self.going:
                raise InputError("Another dry run goes on.", mend="Wait until it has ended.")
            self.going = record.analysis_digest
        threading.Thread(target=self._run, args=(record,), name="dry run", daemon=True).start()

    def _run(self, record: ApprovalRecord) -> None:
        digest = record.analysis_digest
        self.faults.pop(digest, None)
        try:
            self.outcomes[digest] = dry_run(self.node, self.gate, record)
        except FlameError as err:
            self.faults[digest] = err
        except Exception:  # a thread's end must not leave the page waiting
            self.faults[digest] = FlameError("The dry run failed.", mend="See the node's log.")
        finally:
            self.going = ""


@dataclass
class Shelf:
    """The sheets that were built last."""

    node: Node
    gate: Gate
    dry_runs: DryRuns
    clock: Callable[[], float] = time.monotonic
    _sheets: "OrderedDict[_Key, tuple[float, Sheet]]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sheet(self, record: ApprovalRecord) -> Sheet:
        """The sheet of an analysis as it is now; it is kept in the state, for its hash goes into what is signed."""
        key, now = self._key(record), self.clock()
        with self._lock:
            built, sheet = self._sheets.get(key, (0.0, None))
        if sheet is None or now - built > _FRESH_SECONDS:
            sheet = build_sheet(
                self.gate, self.node.config, record, dry_run=self.dry_runs.outcomes.get(record.analysis_digest)
            )
            self.gate.store.keep_sheet(sheet.sha256, sheet.text.decode())
            with self._lock:
                self._sheets[key] = (now, sheet)
                self._sheets.move_to_end(key)
                while len(self._sheets) > _MOST:
                    self._sheets.popitem(last=False)
        return sheet

    def was_shown(self, sha256: str, digest: str) -> bool:
        """Whether such a sheet of an analysis was shown here."""
        text = self.gate.store.sheet(sha256)
        try:
            return text is not None and json.loads(text).get("digest") == digest
        except (ValueError, AttributeError):
            return False

    def _key(self, record: ApprovalRecord) -> _Key:
        store, digest = self.gate.store, record.analysis_digest
        project = steward.project_of(self.gate, record)
        outcome = self.dry_runs.outcomes.get(digest)
        return (
            digest,
            record.status,
            record.number,
            len(record.signatures),
            len(store.decisions("analysis", digest)),
            project and (project.status, project.number, len(project.signatures), project.binding),
            binding_of(self.gate, record),
            self.gate.trust().needed,
            self.gate.today(),
            [(account, store.spent(account), store.caps(account)) for account in store.accounts()].__repr__(),
            [(row.run_id, row.released, row.refused) for row in store.runs(digest)].__repr__(),
            outcome and outcome.at,
        )


def binding_of(gate: Gate, record: ApprovalRecord) -> str:
    """Digest of what an approval would be bound to now; "" without terms."""
    if record.terms is None:
        return ""
    return gate.binding(record.manifest.app, record.terms, record.steward_terms).digest
