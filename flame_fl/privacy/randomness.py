"""Random words: the operating system's randomness, stretched by a stream cipher.

Every call for noise gets a stream of its own: a fresh key of 256 bits from the kernel (`os.urandom`), stretched by
ChaCha20 (RFC 8439). Nothing outlives the call: there is no state that a fork, a snapshot of a machine or a second
release could use again. ChaCha20 rather than a block cipher in counter mode: its blocks are no permutation, so there is
no collision term to add up, and it takes the same time for every key on every processor.

The assumption, and the only one that noise makes beside arithmetic: nobody can tell the key stream of an unknown random
key from uniform bits.
"""

import hashlib
import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

KEY_BYTES = 32
_NONCE = bytes(16)  # block counter and nonce start at zero: a key has one stream


class Stream:
    """Uniform bits from one key. `key` has 32 bytes and makes exactly one stream."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.ChaCha20(key, _NONCE), mode=None).encryptor()
        self._zeros = b""
        self._buffer = bytearray()

    def words(self, count: int) -> npt.NDArray[np.uint32]:
        """The next `count` words of 32 bits, shape (count,). They are overwritten by the next call."""
        if len(self._zeros) != 4 * count:
            self._zeros, self._buffer = bytes(4 * count), bytearray(4 * count)
        self._cipher.update_into(self._zeros, self._buffer)
        return np.frombuffer(self._buffer, dtype="<u4")

    def integer(self, size_bytes: int) -> int:
        """The next integer, uniform in [0, 2^(8·size_bytes))."""
        return int.from_bytes(self._cipher.update(bytes(size_bytes)), "big")


def fresh_key() -> bytes:
    """256 bits from the kernel, which blocks until it has been seeded."""
    return os.urandom(KEY_BYTES)


def seeded_key(seed: int, call: int) -> bytes:
    """The key of a test's `call`-th stream: another one for each seed and call, and no secret at all."""
    return hashlib.sha256(f"flame_fl noise for tests {seed} {call}".encode()).digest()
