"""The bytes that parties of a minimum-count test send each other, and those in which a party is kept.

A message is a header (what it is, of which test, exchange, from whom and to whom), in the first exchange the sender's
nonce, and then elements of 8 bytes, little-endian. Its length follows from the test, so that nothing is parsed that
could be longer, nested or absent. That a message is its sender's is for the caller's seal to show; the header only
keeps messages from being mixed up.
"""

import json
import struct
from dataclasses import asdict, dataclass

import numpy as np

from flame_fl.contract.errors import InputError
from flame_fl.secagg.field import Elements, Field
from flame_fl.secagg.threshold_terms import CountTest

NONCE_BYTES, TAG_BYTES = 16, 32
_HEADER = struct.Struct("<4s32sBHH")
_MAGIC, _STATE_MAGIC = b"FMC1", b"FMS1"
_MOST_STATE_HEAD = 1 << 16


@dataclass(frozen=True)
class Address:
    """Of a message: the tag of its test, the exchange, and the places of its two parties."""

    tag: bytes
    exchange: int
    sender: int
    receiver: int

    def header(self) -> bytes:
        """As bytes."""
        return _HEADER.pack(_MAGIC, self.tag, self.exchange, self.sender, self.receiver)


def write_message(address: Address, nonce: bytes, rows: Elements) -> bytes:
    """A message; `nonce` is empty after the first exchange; `rows` has shape (rows, cells)."""
    return address.header() + nonce + rows.astype("<u8").tobytes()


def read_message(raw: object, address: Address, test: CountTest) -> tuple[bytes, Elements]:
    """The nonce and the elements, shape (rows, cells), of a message that must have this address.

    Raises:
        InputError: It is another test's, exchange's or party's, or malformed. The sentence names the sender.
    """
    sender = test.parties[address.sender]
    if not isinstance(raw, bytes):
        raise InputError(f"The message of {sender} is not bytes.")
    nonce_bytes = NONCE_BYTES if address.exchange == 1 else 0
    shape = (test.rows(address.exchange), test.cells)
    if len(raw) != _HEADER.size + nonce_bytes + 8 * shape[0] * shape[1]:
        raise InputError(f"The message of {sender} has another length than its place in the test asks for.")
    if raw[: _HEADER.size] != address.header():
        raise InputError(f"The message of {sender} belongs to another test, exchange or party.")
    start = _HEADER.size + nonce_bytes
    elements = np.frombuffer(raw, "<u8", offset=start).astype(np.uint64).reshape(shape)
    if not Field(test.prime).holds(elements):
        raise InputError(f"The message of {sender} holds numbers outside of the field.")
    return raw[_HEADER.size : start], elements


@dataclass(frozen=True)
class Kept:
    """What a party remembers between two messages.

    Attributes:
        test: The test.
        place: Which of the parties it is, from 0.
        exchange: How many exchanges it has sent; one more than there are when the test is over.
        tag: What its next messages are tagged with; in the first exchange the test's digest.
        nonce: Its own; 16 bytes.
        held: Its shares, shape (rows, cells).
        own: What it would have sent to itself, shape (rows, cells).
    """

    test: CountTest
    place: int
    exchange: int
    tag: bytes
    nonce: bytes
    held: Elements
    own: Elements


def write_state(kept: Kept) -> bytes:
    """A party as bytes. They hold its shares: whoever reads those of t + 1 parties knows every total."""
    head = {
        "test": {**asdict(kept.test), "session": kept.test.session.hex()},
        "place": kept.place,
        "exchange": kept.exchange,
        "tag": kept.tag.hex(),
        "nonce": kept.nonce.hex(),
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    elements = (rows.astype("<u8").tobytes() for rows in (kept.held, kept.own))
    return b"".join((_STATE_MAGIC, struct.pack("<I", len(text)), text, *elements))


def read_state(raw: bytes) -> Kept:
    """The party that was kept.

    Raises:
        InputError: These are no such bytes.
    """
    try:
        return _read_state(raw)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as err:
        raise InputError("What was kept of a minimum-count test can't be read.", mend="The test ends here.") from err


def _read_state(raw: bytes) -> Kept:
    size = int(struct.unpack_from("<I", raw, len(_STATE_MAGIC))[0])
    start = len(_STATE_MAGIC) + 4
    if raw[: len(_STATE_MAGIC)] != _STATE_MAGIC or size > _MOST_STATE_HEAD:
        raise ValueError("no head")
    head = json.loads(raw[start : start + size])
    fields = head["test"]
    session, parties = bytes.fromhex(fields.pop("session")), tuple(fields.pop("parties"))
    test = CountTest(parties=parties, session=session, **fields)
    test.check()
    tag, nonce = bytes.fromhex(head["tag"]), bytes.fromhex(head["nonce"])
    place, exchange = head["place"], head["exchange"]
    if len(tag) != TAG_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("no such party")
    if place not in range(len(parties)) or exchange not in range(1, test.exchanges + 2):
        raise ValueError("no such place")
    held, own = test.held(exchange), test.rows(exchange)
    elements = np.frombuffer(raw, "<u8", offset=start + size).astype(np.uint64).reshape(held + own, test.cells)
    if not Field(test.prime).holds(elements):
        raise ValueError("outside of the field")
    return Kept(test, place, exchange, tag, nonce, elements[:held], elements[held:])
