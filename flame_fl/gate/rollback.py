"""A state that is older than what left the node: it is locked until a steward has reconciled it.

A state that came back from a backup or a snapshot has forgotten releases, and with them debits. Each of these shows it:
a head that the node's audit chain had, and has no longer.

- `FILE`: the checkpoint in the file beside the database (`checkpoints`), if the state file alone was put back;
- `KEYS`: the file `last-head` among the node's keys, written after every release, if keys were not put back with it;
- `LEFT`: a head with this node's own signature, which the hub tells (`heads`), whatever was put back. Nobody can make
  one up; the hub can only keep silent.

Rules this module follows:

1. A crash is no rollback: both files are written from what is committed, and may be one release behind.
2. Evidence is stored as a lock before anything may write over it.
3. A head locks once. One that a steward has reconciled, or a release that was stated lost, does not lock again.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flame_fl.contract.errors import VerificationError
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.data.files import PRIVATE, replace
from flame_fl.gate import audit
from flame_fl.gate.audit import BrokenChainError, Checked, Mark
from flame_fl.gate.checkpoints import FILE as CHECKPOINT_FILE
from flame_fl.gate.checkpoints import Checkpoints
from flame_fl.gate.database import Database
from flame_fl.gate.heads import Head, is_signed_by
from flame_fl.privacy.accounting import Events, conversion, total_rdp
from flame_fl.privacy.filters import DISTANCE_SHARE, Filter

LAST_HEAD = "last-head"
FILE = f"the file {CHECKPOINT_FILE} beside the state has a checkpoint that the chain does not have"
KEYS = f"the file {LAST_HEAD} among the node's keys has a head that the chain does not have"
LEFT = "a head with this node's signature is with others and not in the chain"
CLOSED = "every account was closed"
_STATED = "a release was stated lost"
_MOST_FILE_BYTES = 4096
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Lock:
    """A head that shows it, and what a steward said to it; open until `released_at` is set."""

    at: str
    why: str
    head: str
    released_at: str = ""
    by: str = ""
    comment: str = ""


class Locks:
    """The locks of one state file."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> list[Lock]:
        """Every one, oldest first."""
        rows = self._db.rows("SELECT at, why, head, released_at, by, comment FROM locks ORDER BY rowid")
        return [Lock(*(value or "" for value in row)) for row in rows]

    def open(self) -> list[Lock]:
        """Those that no steward has reconciled."""
        return [lock for lock in self.all() if not lock.released_at]

    @property
    def closed(self) -> bool:
        """Whether a reconciliation ever closed the accounts: one that is opened later was perhaps open before, too."""
        return bool(self._db.rows("SELECT 1 FROM locks WHERE why=? LIMIT 1", CLOSED))

    def add(self, why: str, head: str, at: str) -> bool:
        """Lock because of a head; returns False if it says nothing new."""
        if self._db.rows("SELECT 1 FROM locks WHERE head=?", head):
            return False
        stated = self._db.rows("SELECT MIN(rowid) FROM locks WHERE why=? AND head=''", _STATED)[0][0]
        if why == LEFT and stated is not None:  # one of those that a steward said were lost, and debited
            self._db.execute("UPDATE locks SET head=? WHERE rowid=?", head, stated)
            return False
        self._db.execute("INSERT INTO locks(at, why, head) VALUES(?,?,?)", at, why, head)
        return True

    def release(self, at: str, by: str, comment: str, *, heads: Iterable[str], stated: int, closed: bool) -> None:
        """Reconcile what is open.

        Args:
            at: When.
            by: Who.
            comment: Why.
            heads: Of missing releases that others showed.
            stated: How many further releases are said to be missing.
            closed: Whether the accounts were closed.
        """
        self._db.execute("UPDATE locks SET released_at=?, by=?, comment=? WHERE released_at IS NULL", at, by, comment)
        rows = [(LEFT, head) for head in heads] + [(_STATED, "")] * stated + ([(CLOSED, "")] if closed else [])
        for why, head in rows:
            if not head or not self._db.rows("SELECT 1 FROM locks WHERE head=?", head):
                self._db.execute("INSERT INTO locks VALUES(?,?,?,?,?,?)", at, why, head, at, by, comment)

    def has(self, head: str, seq: int | None = None) -> bool:
        """Whether the chain has this head (as entry `seq`)."""
        if seq is not None:
            return bool(self._db.rows("SELECT 1 FROM audit WHERE seq=? AND hash=?", seq, head))
        return bool(self._db.rows("SELECT 1 FROM audit WHERE hash=? ORDER BY seq DESC LIMIT 1", head))

    def newest_release(self) -> tuple[int, str] | None:
        """Number and head of the newest entry that left with a release."""
        rows = self._db.rows(
            'SELECT seq, hash FROM audit WHERE instr(entry, \'"kind":"released"\') ORDER BY seq DESC LIMIT 1'
        )
        return rows[0] if rows else None

    def require_none(self) -> None:
        """Check that nothing is locked.

        Raises:
            RefusedError: 903.
        """
        if self._db.rows("SELECT 1 FROM locks WHERE released_at IS NULL LIMIT 1"):
            raise RefusedError(
                RefusalCode.BUDGET_EXHAUSTED,
                "the state is locked, as it is older than what left this node: `flame node reconcile`",
            )


class LastHead:
    """A file with the newest head of the chain, kept where a restored state does not bring an older one.

    A symbolic link is followed, so that it may lie on another volume.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, seq: int, head: str) -> None:
        """Replace what is there, and wait for the disk.

        Raises:
            OSError: It cannot be written.
        """
        replace(self.file.resolve(), json.dumps({"seq": seq, "head": head}).encode() + b"\n", PRIVATE)

    def read(self) -> tuple[int, str] | None:
        """What it holds, None if there is no file.

        Raises:
            VerificationError: It holds something else.
        """
        told: Any = None
        try:
            with self.file.open("rb") as file:
                told = json.loads(file.read(_MOST_FILE_BYTES))
            seq, head = told["seq"], told["head"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            seq, head = None, None
        if type(seq) is not int or not 0 <= seq < 1 << 53 or not isinstance(head, str):
            raise VerificationError(
                f"{self.file} holds no head.",
                mend="Keep it. Move it away once `flame node audit verify --against` finds nothing missing.",
            )
        return seq, head


def evidence(locks: Locks, points: Checkpoints, last: LastHead | None, key: str) -> Iterator[tuple[str, str]]:
    """What the files beside the state show: (why, head).

    Args:
        locks: Of the state.
        points: Its checkpoints.
        last: The file among the keys.
        key: The node's public key: a checkpoint that another signed is no evidence, and the chain's check tells of it.

    Raises:
        VerificationError: The file among the keys holds something else.
    """
    with suppress(VerificationError):  # likewise
        if head := is_behind(locks, points, key):
            yield FILE, head
    if last is not None and (told := last.read()) is not None:
        seq, head = told
        if seq and not locks.has(head, seq):
            yield KEYS, head


def is_behind(locks: Locks, points: Checkpoints, key: str) -> str:
    """The head in the file beside the state, if this node signed it and its chain does not have it; else "".

    Raises:
        VerificationError: The file holds no checkpoint.
    """
    point = points.in_file()
    lost = point is not None and point.is_signed_by((key,)) and not locks.has(point.head, point.seq)
    return point.head if point is not None and lost else ""


def lost_heads(locks: Locks, heads: Iterable[Head], key: str) -> tuple[str, ...]:
    """Those of some heads that this node signed and its chain does not have."""
    mine = (head.head for head in heads if head.signature and is_signed_by(head, key))
    return tuple(dict.fromkeys(head for head in mine if not locks.has(head)))


def check_locked(points: Checkpoints, keys: Collection[str]) -> Checked:
    """Check a locked state's chain by itself: without the file beside it, whose evidence is known.

    Raises:
        BrokenChainError: It does not hold.
    """
    stored = list(points.stored())
    for point in stored:
        if keys and not point.is_signed_by(keys):
            said = f"the checkpoint of entry {point.seq} is not signed by this node's key"
            raise BrokenChainError(point.seq, "forged", said)
    marks = [Mark(point.head, f"the checkpoint of entry {point.seq}", point.seq) for point in stored]
    return audit.check(points.entries(), marks)


def closing_epsilon(lifetime: Filter, spent: Events) -> float:
    """The cap at which an account's filter admits nothing more: what is spent already, at its order."""
    inner = lifetime.delta * (1 - DISTANCE_SHARE)
    return max(_SMALLEST, min(lifetime.epsilon, total_rdp(spent, lifetime.order) + conversion(lifetime.order, inner)))
