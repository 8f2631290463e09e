"""Signed checkpoints of the audit chain, and the check of a whole state against them.

A checkpoint is the node's signature over (number, head) of an entry. It is stored beside the chain, and the newest one
also in a file beside the database: a database restored from a backup, or cut at its end, is then older than the file.

Rules this module follows:

1. The file never runs ahead of what is committed: it is written from what another connection sees. A crash may leave
   it one checkpoint behind, which accuses nobody.
2. The file never goes back: if it is newer than the database, that is evidence, and stays.
3. What is read for verification may be anything: it is taken as bytes and judged here.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import canonical_json
from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.data.files import PUBLIC, replace
from flame_fl.gate import audit
from flame_fl.gate.audit import BrokenChainError, Mark
from flame_fl.gate.database import Database
from flame_fl.gate.heads import sign_head
from flame_fl.gate.signatures import AUDIT_NAMESPACE, public_text, sign, verified_key

EVERY = 100
FILE = "audit.checkpoint"
_MOST_FILE_BYTES = 8192
_PAGE = 1000


@dataclass(frozen=True)
class Checkpoint:
    """Entry `seq` of a node's chain has the hash `head`."""

    seq: int
    head: str
    at: str
    signature: str

    def message(self, node: str) -> bytes:
        """What is signed. `node` is the node's public key."""
        return canonical_json(
            {"checkpoint_version": 1, "node": node, "seq": self.seq, "head": self.head, "at": self.at}
        )

    def is_signed_by(self, keys: Collection[str]) -> bool:
        """Whether one of these keys made its signature."""
        for key in keys:
            with suppress(InputError):
                if verified_key(self.signature, self.message(key), AUDIT_NAMESPACE) == key:
                    return True
        return False


@dataclass(frozen=True)
class Findings:
    """What a verification saw.

    Attributes:
        entries: in the chain.
        head: of the last one.
        confirmed: the last entry that a checkpoint or a head held elsewhere vouches for; 0 if none.
        checkpoints: how many were compared; with signatures, if `signed`.
        signed: whether a key was known to check signatures with.
        gap: the first stretch of more than `EVERY` entries without a checkpoint in it, None if there is none.
    """

    entries: int
    head: str
    confirmed: int
    checkpoints: int
    signed: bool
    gap: tuple[int, int] | None


class Checkpoints:
    """The checkpoints of one state file. Without a key none is made; what is there can still be checked.

    Args:
        database: The node's state.
        key: The node's identity.
    """

    def __init__(self, database: Database, key: Ed25519PrivateKey | None = None) -> None:
        self._db, self._key = database, key
        self.file = database.path.with_name(FILE)
        self._unpublished = 0

    # --- make --------------------------------------------------------------------------------------------------

    def note(self, seq: int, head: str, at: str) -> None:
        """Entry `seq` is being recorded, in the caller's transaction: make a checkpoint if it is time for one."""
        if self._key is not None and seq - self._newest() >= EVERY:
            self._add(self._key, seq, head, at)

    def make(self, at: str) -> None:
        """Make a checkpoint of the newest entry now, unless it has one. `publish` after the transaction."""
        rows = self._db.rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        if self._key is not None and rows and rows[0][0] > self._newest():
            seq, head = rows[0]
            self._add(self._key, seq, head, at)

    def publish(self) -> None:
        """Bring the file up to date, if there is something newer and it is committed. After every transaction.

        A file that cannot be written is tried again the next time: what was decided holds without it.
        """
        if not self._unpublished:
            return
        with suppress(OSError, sqlite3.Error), closing(self._second()) as committed:
            rows = committed.execute("SELECT seq, head, at, signature FROM checkpoints ORDER BY seq DESC LIMIT 1")
            for newest in map(_checkpoint, rows):
                there = self._seq_in_file()
                if there < newest.seq:
                    replace(self.file, _file_text(newest), PUBLIC)
                if max(there, newest.seq) >= self._unpublished:
                    self._unpublished = 0

    def sign_head(self, head: str) -> str:
        """The signature that a head leaves with; "" without a key."""
        return "" if self._key is None else sign_head(self._key, head)

    def _newest(self) -> int:
        seq: int = self._db.rows("SELECT COALESCE(MAX(seq), 0) FROM checkpoints")[0][0]
        return seq

    def _add(self, key: Ed25519PrivateKey, seq: int, head: str, at: str) -> None:
        made = Checkpoint(seq, head, at, "")
        signature = sign(key, made.message(public_text(key.public_key())), AUDIT_NAMESPACE)
        self._db.execute("INSERT INTO checkpoints VALUES(?,?,?,?)", seq, head, at, signature)
        self._unpublished = seq

    def _second(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._db.path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)

    def _seq_in_file(self) -> int:
        try:
            found = self.in_file()
        except VerificationError:
            return 0
        return found.seq if found else 0

    # --- read --------------------------------------------------------------------------------------------------

    def entries(self, since: int = 1) -> Iterator[tuple[bytes | None, str]]:
        """(text as stored, stored hash) of the chain's entries, oldest first, in pages: memory does not grow."""
        after = since - 1
        while page := self._db.rows(
            "SELECT seq, CAST(entry AS BLOB), CAST(hash AS BLOB) FROM audit WHERE seq>? ORDER BY seq LIMIT ?",
            after,
            _PAGE,
        ):
            for _, text, stored in page:
                yield text, _text(stored)
            after = page[-1][0]

    def stored(self, since: int = 0) -> Iterator[Checkpoint]:
        """The checkpoints in the database, oldest first."""
        rows = self._db.rows(
            "SELECT seq, CAST(head AS BLOB), CAST(at AS BLOB), CAST(signature AS BLOB) FROM checkpoints"
            " WHERE seq>=? ORDER BY seq",
            since,
        )
        yield from map(_checkpoint, rows)

    def in_file(self) -> Checkpoint | None:
        """The checkpoint in the file; None if there is no file.

        Raises:
            VerificationError: It is no checkpoint.
        """
        try:
            with self.file.open("rb") as file:
                raw = file.read(_MOST_FILE_BYTES + 1)
            told = json.loads(raw)
            seq, *texts = told["seq"], told["head"], told["at"], told["signature"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            seq, texts = None, []
        if type(seq) is not int or not all(isinstance(text, str) for text in texts) or abs(seq) >= 1 << 53:
            raise VerificationError(
                f"{self.file} is no checkpoint.", mend="Keep it as it is, and compare the node with a backup."
            )
        return Checkpoint(seq, *texts)

    def check(self, keys: Collection[str] = (), held: Iterable[Mark] = ()) -> Findings:
        """Check the chain, every checkpoint, the file beside the database, and heads that others hold.

        Args:
            keys: The node's public keys, as `public_text` writes them; without any, signatures are not checked.
            held: Heads that left this node.

        Raises:
            BrokenChainError: Naming the first entry that does not hold.
            VerificationError: The file beside the database is no checkpoint.
        """
        known = [(point, f"the checkpoint of entry {point.seq}") for point in self.stored()]
        damaged: VerificationError | None = None
        try:
            if (newest := self.in_file()) is not None:
                known.append((newest, f"the checkpoint in {self.file.name}"))
        except VerificationError as err:
            damaged = err
        good = [(point, name) for point, name in known if not keys or point.is_signed_by(keys)]
        marks = [Mark(point.head, name, point.seq) for point, name in good]
        found = audit.check(self.entries(), [*marks, *held])
        for point, name in known:
            if (point, name) not in good:
                raise BrokenChainError(point.seq, "forged", f"{name} is not signed by this node's key")
        if damaged is not None:
            raise damaged
        seqs = [point.seq for point, _ in known]
        gap = _gap([*seqs, found.entries]) if seqs else None
        return Findings(found.entries, found.head, found.confirmed, len(set(seqs)), bool(keys), gap)


def _checkpoint(row: tuple[Any, ...]) -> Checkpoint:
    seq, head, at, signature = row
    return Checkpoint(seq, _text(head), _text(at), _text(signature))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _file_text(point: Checkpoint) -> bytes:
    return canonical_json({"seq": point.seq, "head": point.head, "at": point.at, "signature": point.signature}) + b"\n"


def _gap(seqs: Iterable[int]) -> tuple[int, int] | None:
    """The first stretch between these numbers that is longer than it should be."""
    ordered = sorted(seqs)
    for before, after in pairwise(ordered):
        if after - before > EVERY:
            return before + 1, after
    return None
