"""A node that is killed at a chosen point of its work, by a real SIGKILL, and what the outside knows of it.

`serve` runs in a process that has imported everything and does nothing else: for each job it forks a node, which opens
its state as after any restart, answers, tells the outside of every step at once, and kills itself when it has come to
the job's point. A point is either side of a statement that writes, of the beginning and the end of a transaction, of a
file that is written (and in its midst), of the app's work, and of the moment in which a reply leaves.
"""

import gc
import os
import re
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from flame_fl.contract.ports import Envelope
from flame_fl.contract.task import Reply
from flame_fl.gate import checkpoints, rollback, store
from flame_fl.gate.cohort_check import NOISE
from flame_fl.gate.database import Database
from flame_fl.gate.ledger_store import LedgerStore
from flame_fl.gate.noised import NoisedSum, sigma_of
from flame_fl.gate.replies import ReplyFiles
from flame_fl.gate.rollback import LAST_HEAD
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate, NodeLimits
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.simulation.policy import identity_file, simulated_key
from tests.support import gates
from tests.support.gates import ENFORCED, TRAIN, FakeSandbox, World, good_update, make_fab, manifest_from, terms_table

Unit = Literal["site", "patient"]
BLOCKS = 3
LIMITS = NodeLimits(epsilon_cap=20.0, delta=1e-5, min_patients=5, fixed_slots=False)
_MESSAGES = {"train": TRAIN | {"per_run": 100_000}}
_CLAIM = ENFORCED | {"epsilon_max": 20.0, "noise_multiplier": 60.0}
_UNITS: dict[Unit, dict[str, Any]] = {
    "site": _CLAIM,
    "patient": _CLAIM | {"unit": "patient", "blocks": BLOCKS, "slot_seconds": 60.0, "noise_multiplier": 90.0},
}
FABS: dict[Unit, bytes] = {
    unit: make_fab(terms_table(privacy=privacy, messages=_MESSAGES, limits={"runs": 1000}), name=f"app-of-unit-{unit}")
    for unit, privacy in _UNITS.items()
}
_STATEMENT = re.compile(r"\s*(INSERT(?: OR IGNORE)? INTO \w+|UPDATE \w+|DELETE FROM \w+)")
_STEPS = {"_require_enough": "count", "_reserve": "reserve", "_run_enforced": "run", "_commit_and_record": "commit"}
_CHECKPOINT_EVERY = 4


def open_store(folder: Path) -> Store:
    """A node's state, as after a restart: with its key, and with the last head kept beside it."""
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    file = folder / "state.db"
    opened = Store(file, durable=False, key=simulated_key(identity_file(file)), last_head=folder / "keys" / LAST_HEAD)
    opened._db.execute("PRAGMA synchronous=OFF")  # a kill is no power cut: what was written is there
    opened.look_back()
    return opened


class Target(NamedTuple):
    """A point, and which time that a node comes there, from 1."""

    label: str
    time: int


@dataclass(frozen=True)
class Job:
    """What one node is to do until it dies.

    Attributes:
        folder: Its state.
        unit: Of the analysis that asks.
        run_id: Its run.
        legs: What it is asked, in order; points are counted from the first one.
        target: The point; None lives on, and tells all points.
        large: Whether replies go to files.
        approve: Whether the steward decides first.
        fault: One of FAULTS, or "" for the gate as it is.
    """

    folder: Path
    unit: Unit
    run_id: int
    legs: tuple[str, ...]
    target: Target | None
    large: bool
    approve: bool
    fault: str = ""


class Said(NamedTuple):
    """A word of the node's: start | reply | dying | points | ended."""

    kind: str
    leg: str = ""
    raw: bytes = b""


class Points:
    """Counts points, and dies at one."""

    def __init__(self, target: Target | None, say: Callable[[Said], None]) -> None:
        self._target, self._say = target, say
        self.seen: list[str] = []
        self.step = ""
        self.armed = False

    def reach(self, what: str) -> None:
        """The node has come to a point."""
        if not self.armed:
            return
        label = f"{self.step or 'verify'}: {what}"
        self.seen.append(label)
        if self._target == (label, self.seen.count(label)):
            self._say(Said("dying", label))
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, label: str) -> Iterator[None]:
        """Both sides of something."""
        self.reach(f"before {label}")
        yield
        self.reach(f"after {label}")


def _hook(points: Points) -> None:
    """Put points into the gate. For good: this process will not live on."""
    patch = pytest.MonkeyPatch()
    execute, transaction, write = Database.execute, Database.transaction, ReplyFiles.write

    def execute_counted(self: Database, sql: str, *args: Any) -> int:
        found = _STATEMENT.match(sql)
        if found is None:
            return execute(self, sql, *args)
        with points.around(found[1]):
            return execute(self, sql, *args)

    @contextmanager
    def transaction_counted(self: Database) -> Iterator[None]:
        if self._connection.in_transaction:
            with transaction(self):
                yield
            return
        points.reach("before BEGIN")
        with transaction(self):
            points.reach("after BEGIN")
            yield
            points.reach("before COMMIT")
        points.reach("after COMMIT")

    def write_counted(self: ReplyFiles, run_id: str, leg_id: str, reply: Sequence[bytes | memoryview]) -> None:
        def parts() -> Iterator[bytes | memoryview]:
            for part in reply:
                yield part
                points.reach("in a reply's file")

        with points.around("a reply's file"):
            # it is gone through once
            write(self, run_id, leg_id, parts())  # type: ignore[arg-type]

    for name, step in _STEPS.items():
        patch.setattr(Gate, name, _stepping(points, getattr(Gate, name), step))
    patch.setattr(NoisedSum, "release", _stepping(points, NoisedSum.release, "release", "the noise"))
    patch.setattr(Database, "execute", execute_counted)
    patch.setattr(Database, "transaction", transaction_counted)
    patch.setattr(ReplyFiles, "write", write_counted)
    for module, what in ((checkpoints, "the checkpoint's file"), (rollback, "the last head's file")):
        patch.setattr(module, "replace", _stepping(points, module.replace, None, what))  # type: ignore[attr-defined]
    patch.setattr(checkpoints, "EVERY", _CHECKPOINT_EVERY)
    patch.setattr(os, "fsync", lambda descriptor: None)  # as above


def _stepping(points: Points, method: Any, step: str | None, label: str = "") -> Any:
    def stepped(*args: Any, **kwargs: Any) -> Any:
        before, points.step = points.step, step or points.step
        try:
            if not label:
                return method(*args, **kwargs)
            with points.around(label):
                return method(*args, **kwargs)
        finally:
            points.step = before

    return stepped


def _debit_afterwards(patch: pytest.MonkeyPatch, later: list[Callable[[], None]]) -> None:
    debit = LedgerStore.debit
    patch.setattr(LedgerStore, "debit", lambda *args: later.append(lambda: debit(*args)))


def _no_transactions(patch: pytest.MonkeyPatch, later: list[Callable[[], None]]) -> None:
    patch.setattr(Database, "transaction", lambda self: nullcontext())


def _no_replies(patch: pytest.MonkeyPatch, later: list[Callable[[], None]]) -> None:
    patch.setattr(Store, "end_leg", lambda *args, **kwargs: True)


def _last_head_first(patch: pytest.MonkeyPatch, later: list[Callable[[], None]]) -> None:
    commit = Store.commit_debit

    def commit_debit(self: Store, *args: Any) -> None:
        commit(self, *args)
        self.record("released", {"run": "", "leg": str(time.monotonic())})
        self.keep_head()

    patch.setattr(Store, "commit_debit", commit_debit)


FAULTS = {
    "debits are made once the reply has left": _debit_afterwards,
    "a transaction is none": _no_transactions,
    "replies are not stored": _no_replies,
    "the last head is kept before the commit": _last_head_first,
}
"""What could be wrong with a gate, by name, so that a test can see whether it would notice."""


def _live(job: Job, outside: Connection) -> None:
    points, later = Points(job.target, outside.send), list[Callable[[], None]]()
    if job.fault:
        FAULTS[job.fault](pytest.MonkeyPatch(), later)
    _hook(points)
    pytest.MonkeyPatch().setattr(gates, "Store", lambda file, durable: open_store(file.parent))
    if job.large:
        pytest.MonkeyPatch().setattr(store, "LARGE_BYTES", 64)

    def work(message: Envelope) -> Any:
        with points.around("the app"):
            return good_update()

    world = World(job.folder, noise=ExactNoise(), limits=LIMITS, sandbox=FakeSandbox(work))
    if job.approve:
        world.decide(FABS[job.unit])
    points.armed = True
    for leg in job.legs:
        outside.send(Said("start", leg))
        points.step = ""
        answer = world.ask(FABS[job.unit], leg=leg, run_id=job.run_id)
        assert isinstance(answer, Reply), (job, answer, world.detail)
        points.step = "send"
        points.reach("before the reply leaves")
        outside.send(Said("reply", leg, answer.encoded))
        points.reach("after the reply left")
        while later:
            later.pop()()
    outside.send(Said("points", "\n".join(points.seen)))


def serve(jobs: Connection, outside: Connection) -> None:
    """Until there is no job: fork a node, and say how it ended: the signal, or its exit code."""
    for fab in FABS.values():  # tables of the noise are made once
        if (terms := manifest_from(fab).terms) is not None:
            ExactNoise().discrete_gaussian(sigma_of(terms.privacy), 1)
    ExactNoise().discrete_gaussian((NOISE**2, 1), 1)
    gc.freeze()
    while (job := jobs.recv()) is not None:
        if (child := os.fork()) == 0:
            code = 1
            try:
                _live(job, outside)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        outside.send(Said("ended", str(os.waitstatus_to_exitcode(status))))


@dataclass
class Life:
    """What the outside heard of one node."""

    points: list[str] = field(default_factory=list)
    replies: list[tuple[str, bytes]] = field(default_factory=list)
    in_flight: str = ""
    died_at: str = ""
    code: int = 0

    @classmethod
    def heard(cls, words: Iterator[Said]) -> "Life":
        """From its first word until it has ended."""
        life = cls()
        for said in words:
            match said.kind:
                case "points":
                    life.points += said.leg.splitlines()
                case "start":
                    life.in_flight = said.leg
                case "reply":
                    life.replies.append((said.leg, said.raw))
                    life.in_flight = ""
                case "dying":
                    life.died_at = said.leg
                case "ended":
                    life.code = int(said.leg)
                    return life
        raise AssertionError("the server of nodes died")


@dataclass
class Killer:
    """Chooses where the next node dies: at the point of its path at which the fewest have died so far."""

    died: Counter[str] = field(default_factory=Counter)
    _paths: dict[object, Counter[str]] = field(default_factory=dict)

    def choose(self, path: object) -> Target | None:
        """Where to die; None, so that a node lives and tells its points, if none has taken such a path yet."""
        points = self._paths.get(path)
        if points is None:
            return None
        # of those at which equally few died, in a mixed order that is always the same
        label = min(points, key=lambda point: (self.died[point], sha256(point.encode()).digest()))
        return Target(label, self.died[label] % points[label] + 1)

    def heard(self, path: object, life: Life) -> None:
        """A node died, or lived through its path."""
        if life.died_at:
            self.died[life.died_at] += 1
            return
        points = self._paths.setdefault(path, Counter())
        points |= Counter(life.points)
        for point in points:
            self.died.setdefault(point, 0)
