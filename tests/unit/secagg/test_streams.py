"""Key derivation and key streams, by published vectors and by another implementation of AES."""

import numpy as np
import pytest
from Crypto.Cipher import AES

from flame_fl.secagg.keys import new_secret
from flame_fl.secagg.streams import _PIECE_BYTES, Words, add_streams, derive

DTYPES = (np.uint32, np.uint64)
Kind = type[np.uint32 | np.uint64]

# RFC 5869, appendix A, SHA-256: the first block of the output is the same for every length that is asked for.
HKDF = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
    ),
    ("0b" * 22, "", "", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"),
]
# NIST AESAVS, KeySbox, 256 bits: the block of zeros under this key, which is where a stream begins.
ZERO_BLOCK = (
    "c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558",
    "46f2fb342d6f0ab477476fc501242c5f",
)


@pytest.mark.parametrize(("secret", "salt", "info", "expected"), HKDF)
def test_keys_are_derived_as_the_standard_says(secret: str, salt: str, info: str, expected: str) -> None:
    assert derive(bytes.fromhex(secret), salt=bytes.fromhex(salt), info=bytes.fromhex(info)).hex() == expected


def test_a_stream_begins_with_the_standards_block() -> None:
    key, block = map(bytes.fromhex, ZERO_BLOCK)
    vector = np.zeros(4, np.uint32)
    add_streams(vector, [key])
    assert vector.astype("<u4").tobytes() == block


def reference(key: bytes, size: int, dtype: Kind) -> Words:
    """The stream by another library: counters, big-endian, encrypted one block at a time."""
    blocks = -(-size * np.dtype(dtype).itemsize // 16)
    counters = b"".join(number.to_bytes(16, "big") for number in range(blocks))
    stream = AES.new(key, AES.MODE_ECB).encrypt(counters)
    return np.frombuffer(stream, np.dtype(dtype).newbyteorder("<"))[:size].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extra", [-3, -1, 0, 1, 5])
def test_a_stream_is_aes_of_a_counter_across_the_pieces(dtype: Kind, extra: int) -> None:
    size = 2 * _PIECE_BYTES // np.dtype(dtype).itemsize + extra
    key, vector = new_secret(), np.zeros(size, dtype)
    add_streams(vector, [key])
    assert (vector == reference(key, size, dtype)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_streams_add_and_subtract_modulo_the_range(dtype: Kind) -> None:
    start = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, 1000, dtype, endpoint=True)
    keys = [new_secret() for _ in range(5)]
    vector = start.copy()
    add_streams(vector, keys[:3], keys[3:])
    expected = start.astype(object)
    for place, key in enumerate(keys):
        expected = expected + (1 if place < 3 else -1) * reference(key, 1000, dtype).astype(object)
    assert vector.tolist() == [number % (int(np.iinfo(dtype).max) + 1) for number in expected]
    add_streams(vector, keys[3:], keys[:3])
    assert (vector == start).all()


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_a_short_vector_is_masked_as_the_beginning_of_a_long_one(size: int) -> None:
    key = new_secret()
    short, long = np.zeros(size, np.uint32), np.zeros(100, np.uint32)
    add_streams(short, [key])
    add_streams(long, [key])
    assert (short == long[:size]).all()


def test_no_streams_change_nothing() -> None:
    vector = np.arange(10, dtype=np.uint32)
    add_streams(vector, [])
    assert vector.tolist() == list(range(10))


def test_what_cannot_be_added_modulo_its_range_is_not_masked() -> None:
    """Masks added as floating point would be rounded, and would neither hide the numbers nor come off again."""
    with pytest.raises((TypeError, ValueError)):
        add_streams(np.zeros(10, np.float32), [new_secret()])  # type: ignore[arg-type]
