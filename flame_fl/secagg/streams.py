"""Masks: the key stream of AES-256 in counter mode, read as little-endian unsigned integers.

One key is used for one stream: every key comes from HKDF-SHA256 over secrets of one sum, so that the counter may
start at zero. Streams are added in pieces that stay in the processor's cache, all streams to one piece before the
next: what costs is making the stream, not moving the vector.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Words = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]

KEY_BYTES = 32
_PIECE_BYTES = 1 << 18
_ZEROS = memoryview(bytes(_PIECE_BYTES))


def derive(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """A 256-bit key from a secret, by HKDF-SHA256 (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(secret)


def add_streams(vector: Words, plus: Sequence[bytes], minus: Sequence[bytes] = ()) -> None:
    """Add and subtract streams modulo 2^32 or 2^64, in place.

    Args:
        vector: Shape (m,), contiguous.
        plus: Keys of the streams to add.
        minus: Keys of the streams to subtract.
    """
    if vector.dtype.kind != "u":
        raise TypeError("masks are added modulo 2^32 or 2^64, to unsigned integers")
    streams = [(_stream(key), True) for key in plus] + [(_stream(key), False) for key in minus]
    kind = np.dtype(f"<u{vector.itemsize}")
    step = _PIECE_BYTES // vector.itemsize
    buffer = bytearray(_PIECE_BYTES + 15)  # update_into wants room for one block more
    for start in range(0, len(vector), step):
        piece = vector[start : start + step]
        zeros = _ZEROS[: piece.nbytes]
        for stream, add in streams:
            stream.update_into(zeros, buffer)
            words = np.frombuffer(buffer, kind, len(piece))
            (np.add if add else np.subtract)(piece, words, out=piece)


def _stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
