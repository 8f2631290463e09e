"""Audit entries in a hash chain: who, what digest, which decision, how many bytes; never a patient's value.

Each entry's hash covers its sequence number, the hash before it, a 256-bit random salt and its body, all as canonical
JSON; the very text that was hashed is what is stored. Changing, dropping or reordering an entry breaks every later
hash. The salt keeps a head from confirming a guess about what an entry says.

Two things the chain itself cannot show: that its newest entries were dropped, and that an entry was changed and every
later one made to fit. `check` finds both with marks: checkpoints that the node signed, and heads that left the node
with its releases and that others hold. A mark vouches for every entry up to its own.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flame_fl.contract.canonical import digest, sha256_hex
from flame_fl.contract.errors import VerificationError

GENESIS = "0" * 64
Text = str | bytes | None


@dataclass(frozen=True)
class Entry:
    """One link. `body` holds strings, numbers and nested tables of them."""

    seq: int
    prev: str
    at: str
    kind: str
    salt: str
    body: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What is stored and hashed."""
        return {
            "seq": self.seq,
            "prev": self.prev,
            "at": self.at,
            "kind": self.kind,
            "salt": self.salt,
            "body": dict(self.body),
        }

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.as_json())


@dataclass(frozen=True)
class Mark:
    """What a chain must hold: a head, and who says so.

    A mark with `seq` is a checkpoint, of the node's own making: it says of which entry it is. One without is a head
    that others hold. Who has the node's key can sign other checkpoints, so where both disagree, others count.
    """

    head: str
    held_by: str
    seq: int | None = None


@dataclass(frozen=True)
class Checked:
    """A chain that holds. `confirmed` is the last entry that a mark vouches for, 0 if there is none."""

    entries: int
    head: str
    confirmed: int


class BrokenChainError(VerificationError):
    """A chain that does not hold.

    Args:
        number: The first entry that does not hold.
        kind: What it looks like: edited | replaced | dropped | reordered | repeated | truncated | rewritten | forged.
        said: A clause that says how it shows.
        mark: The mark that the chain does not hold, if that is what shows it.
    """

    def __init__(self, number: int, kind: str, said: str, mark: Mark | None = None) -> None:
        super().__init__(
            f"The audit chain is broken at entry {number} ({kind}): {said}.",
            mend="Keep the file as it is and compare it with a backup and with the heads that other sites hold.",
        )
        self.number, self.kind, self.mark = number, kind, mark


def next_entry(seq: int, head: str, at: str, kind: str, body: Mapping[str, Any]) -> Entry:
    """The entry that follows `head`, with fresh salt."""
    return Entry(seq, head, at, kind, secrets.token_hex(32), body)


def plain(text: str, most: int = 200) -> str:
    """Text from outside as an entry may hold it: short, and without anything a terminal could obey."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def parse(text: object) -> dict[str, Any] | None:
    """An entry's JSON; None if it is none."""
    try:
        value = json.loads(text) if isinstance(text, str | bytes) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def verify(rows: Iterable[tuple[object, object]], marks: Iterable[Mark] = ()) -> tuple[int, str]:
    """Check a chain: as `check`; returns how many entries, and the head."""
    checked = check(rows, marks)
    return checked.entries, checked.head


def check(rows: Iterable[tuple[object, object]], marks: Iterable[Mark] = ()) -> Checked:
    """Check a chain of (entry as stored text, stored hash), oldest first, and that every mark is in it.

    Rows are taken one by one and not kept; marks are.

    Raises:
        BrokenChainError: Naming the first entry that does not hold. Where only marks show the damage, every entry up
            to the last one that a mark vouches for is as it was: the number is of the one after it. Where a head that
            others hold is missing, only such heads vouch.
    """
    anywhere: dict[str, Mark] = {}
    placed: dict[int, list[Mark]] = {}
    for mark in marks:
        if mark.seq is None:
            anywhere.setdefault(mark.head, mark)
        else:
            placed.setdefault(mark.seq, []).append(mark)
    head, count, confirmed, by_others = GENESIS, 0, 0, 0
    failed: Mark | None = None
    links = _links(rows)
    for seq, prev, hashed, stored in links:
        _require_next(count + 1, head, (seq, prev, hashed, stored), links)
        head, count = hashed, count + 1
        here = placed.pop(count, ())
        wrong = next((mark for mark in here if mark.head != head), None)
        failed = failed or wrong
        if anywhere.pop(head, None):
            by_others = count
        if by_others == count or (here and wrong is None):
            confirmed = count
    failed = failed or min((m for ms in placed.values() for m in ms), key=_place, default=None)
    if failed is not None:
        raise _unmet(failed, count, confirmed)
    if anywhere:
        raise _missing(next(iter(anywhere.values())), count, by_others, confirmed)
    return Checked(count, head, confirmed)


_Link = tuple[object, object, str, object]


def _links(rows: Iterable[tuple[object, object]]) -> Iterator[_Link]:
    """Of each row: its number and predecessor as it states them, the hash of its text, the hash stored beside it."""
    for text, stored in rows:
        entry = parse(text) or {}
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        yield entry.get("seq"), entry.get("prev"), sha256_hex(raw) if isinstance(raw, bytes) else "", stored


def _require_next(number: int, head: str, link: _Link, rest: Iterator[_Link]) -> None:
    seq, prev, hashed, stored = link
    if hashed != stored or type(seq) is not int:
        raise BrokenChainError(number, "edited", "its text does not have its hash")
    if seq != number:
        if any(later == number for later, *_ in rest):
            raise BrokenChainError(number, "reordered", f"entry {seq} stands in its place, and it comes later")
        if seq < number:
            raise BrokenChainError(number, "repeated", f"entry {seq} stands in its place")
        gone = f"entries {number} to {seq - 1} are" if seq - 1 > number else f"entry {number} is"
        raise BrokenChainError(number, "dropped", f"{gone} missing")
    if prev != head:
        before = f"entry {number - 1}" if number > 1 else "the beginning"
        raise BrokenChainError(
            number, "replaced", f"it does not follow {before}: one of both was replaced, and its hash made to fit"
        )


def _unmet(mark: Mark, count: int, confirmed: int) -> BrokenChainError:
    """What a checkpoint that does not fit shows."""
    last, seq = f"entry {confirmed} is the last that is vouched for", _place(mark)
    if seq <= confirmed:  # what it is of is as it was: the checkpoint is not
        return BrokenChainError(seq, "forged", f"{mark.held_by} names another; {last}", mark)
    if seq <= count:
        said = f"entries {confirmed + 1} to {seq} are not those of {mark.held_by}; {last}"
        return BrokenChainError(confirmed + 1, "rewritten", said, mark)
    said = f"the chain ends with entry {count}, but {mark.held_by} is of entry {seq}; {last}"
    return BrokenChainError(count + 1, "truncated", said, mark)


def _missing(mark: Mark, count: int, by_others: int, confirmed: int) -> BrokenChainError:
    """What a head that left, and is of no entry, shows."""
    told = f"head {mark.head[:16]}…, held by {mark.held_by}, is of no entry"
    if by_others == count:
        return BrokenChainError(count + 1, "truncated", f"{told}, and others vouch for all that is there", mark)
    said = f"{told}: entries {by_others + 1} to {count} were rewritten, or later ones dropped"
    said += f"; others vouch up to {by_others}"
    if confirmed > by_others:
        said += f", the node's own checkpoints up to {confirmed}, which hold unless its key was used for it"
    return BrokenChainError(by_others + 1, "rewritten", said, mark)


def _place(mark: Mark) -> int:
    return mark.seq or 0
