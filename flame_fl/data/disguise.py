"""Pseudonyms and shifted dates: the same patient is the same word in every view of one project, and in no other one.

HMAC-SHA256 (RFC 2104) under a key of the project, which is derived (HKDF, RFC 5869) from a key that never leaves the
node. A pseudonym has 80 bits: among a million patients two share one with probability 4e-13.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PSEUDONYM_BYTES = 10
KEY_BYTES = 32


@dataclass(frozen=True)
class Disguise:
    """How ids and dates are shown to an app.

    Attributes:
        key: The project's; None shows ids as they are (made-up and public data only).
        shift_days: Dates of a patient move by one number of days between minus this and plus this; 0 leaves them.
    """

    key: bytes | None = None
    shift_days: int = 0

    def __repr__(self) -> str:
        return f"Disguise(key={'set' if self.key else None}, shift_days={self.shift_days})"

    def patient(self, patient_id: str) -> str:
        """A patient's pseudonym, in 20 hexadecimal digits."""
        return self._word("patient", patient_id)

    def record(self, record_id: str) -> str:
        """A record's (a sample's, an image's) pseudonym."""
        return self._word("record", record_id)

    def days(self, patient_id: str) -> int:
        """By how many days this patient's dates move."""
        if self.key is None or self.shift_days == 0:
            return 0
        return int.from_bytes(self._mac("days", patient_id), "big") % (2 * self.shift_days + 1) - self.shift_days

    def _word(self, kind: str, word: str) -> str:
        return word if self.key is None else self._mac(kind, word)[:_PSEUDONYM_BYTES].hex()

    def _mac(self, kind: str, word: str) -> bytes:
        assert self.key is not None  # noqa: S101  (the callers ask)
        return hmac.new(self.key, f"{kind}\0{word}".encode(), sha256).digest()


def derived_key(node_key: bytes, purpose: str) -> bytes:
    """The key for one purpose, such as one project's pseudonyms; one says nothing of another."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"flame_fl data\0" + purpose.encode()).derive(node_key)


def block_of(key: bytes, patient_id: str, blocks: int) -> int:
    """Which of so many blocks a patient belongs to: a keyed hash of the id, nothing balanced (decided by nobody)."""
    return int.from_bytes(hmac.new(key, f"block\0{patient_id}".encode(), sha256).digest(), "big") % blocks
