"""A secret that the DIZ share and the hub does not have, agreed through the hub's messages.

Each DIZ makes an X25519 pair (RFC 7748) for the run. One DIZ, the leader, draws a seed and seals it for each of them
with ChaCha20-Poly1305 (RFC 8439) under HKDF-SHA256 (RFC 5869) of the pair's secret. Everything is bound to the
fingerprint of all keys: a box opens only if both ends were shown the same keys of the same nodes in the same run.

That holds against a hub that passes on what it is given and looks at it. A hub that shows each DIZ keys of its own
stands between them: then the fingerprints at the DIZ differ, and stewards who compare them see it afterwards. With a
pairing key, 32 bytes that the stewards hand on among themselves and keep in their stores, its value enters HKDF beside
each pair's secret, and such a hub opens nothing. A short phrase would not do: the hub could try phrases on a box.

Partial predictions for another DIZ are hidden from the hub by a one-time pad: the pair's ChaCha20 stream under a fresh
salt, added modulo 2^64 to the numbers in fixed point, so that the hub can add up several and read none.
"""

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kernel_age.errors import InputError

Float = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

FEWEST = 3
"""Fewer DIZ than this agree on nothing: of two, each would learn the other's part of its predictions."""

KEY_BYTES = 32
SEALED_BYTES = 12 + 32 + 16  # nonce, seed, tag
_DOMAIN = b"kernel-age-1"
_SCALE = float(2**40)
_MOST = float(2**18)  # times the scale, and up to 16 parts, below 2^62


@dataclass(frozen=True)
class Circle:
    """The DIZ of one run and their public keys, as a message shows them.

    Attributes:
        run: Flower's id of the run.
        nodes: Flower's ids of the nodes, ascending.
        keys: Their X25519 public keys.
    """

    run: int
    nodes: tuple[int, ...]
    keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Check that these can be the DIZ of a run.

        Raises:
            InputError: Too few, not in order, or a key that is none or another's.
        """
        if len(self.nodes) < FEWEST:
            raise InputError(f"{len(self.nodes)} DIZ take part; at least {FEWEST} are needed.")
        if list(self.nodes) != sorted(set(self.nodes)) or len(set(self.keys)) != len(self.nodes):
            raise InputError("Each DIZ needs one key of its own, in the order of the node ids; start the run again.")
        if any(len(key) != KEY_BYTES for key in self.keys):
            raise InputError("A public key has not 32 bytes; start the run again.")

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 over the run, the nodes and their keys: what stewards compare."""
        parts = [_DOMAIN, self.run.to_bytes(16, "big", signed=True)]
        parts += [n.to_bytes(16, "big", signed=True) + k for n, k in zip(self.nodes, self.keys, strict=True)]
        return sha256(b"".join(parts)).digest()


@dataclass(frozen=True)
class Member:
    """One DIZ in its circle; every secret stays in here.

    Attributes:
        circle: What it was shown.
        node: Its own id.
        private: Its X25519 private key.
        pairing: The project's pairing key, empty without one.
    """

    circle: Circle
    node: int
    private: bytes
    pairing: bytes = b""

    def __post_init__(self) -> None:
        """Check that the circle shows this DIZ as it is.

        Raises:
            InputError: Its own key is not there, or is another's.
        """
        if self._key(self.node) != public_of(self.private):
            raise InputError("The keys shown to this DIZ do not hold its own; somebody changed them on the way.")

    def __repr__(self) -> str:
        """Without secrets."""
        return f"Member(node={self.node}, circle={len(self.circle.nodes)} DIZ)"

    def seal(self, seed: bytes, to: int) -> bytes:
        """The leader's seed for one DIZ, (60,) bytes."""
        nonce = secrets.token_bytes(12)
        box = ChaCha20Poly1305(self._secret(self.node, to, b"seed"))
        return nonce + box.encrypt(nonce, seed, self.circle.fingerprint)

    def unseal(self, sealed: bytes, leader: int) -> bytes:
        """The seed in a box that the leader sealed for this DIZ.

        Raises:
            InputError: The leader saw other keys, has another pairing key, or the box was changed.
        """
        try:
            box = ChaCha20Poly1305(self._secret(leader, self.node, b"seed"))
            return box.decrypt(sealed[:12], sealed[12:], self.circle.fingerprint)
        except (InvalidTag, ValueError):
            raise InputError(
                "The sealed seed does not open: the DIZ were shown different keys, or have different pairing keys. "
                "Compare the fingerprints in the nodes' logs before another run."
            ) from None

    def hide(self, numbers: Float, to: int, salt: bytes) -> Words:
        """Numbers for another DIZ, (n,), readable by it alone.

        Raises:
            InputError: A number is not finite or beyond 2^18.
        """
        if not np.all(np.abs(numbers) < _MOST):
            raise InputError("A partial prediction is out of range; the smoother of the message is unusable.")
        return np.rint(numbers * _SCALE).astype(np.int64).view(np.uint64) + self._pad(self.node, to, salt, len(numbers))

    def reveal(self, total: Words, salts: dict[int, bytes]) -> Float:
        """The sum of what others have hidden for this DIZ, (n,), given the salt of each."""
        plain = total.copy()
        for node, salt in salts.items():
            plain -= self._pad(node, self.node, salt, len(total))
        return plain.view(np.int64) / _SCALE

    def _pad(self, sender: int, receiver: int, salt: bytes, count: int) -> Words:
        return np.frombuffer(stream(self._secret(sender, receiver, b"pad", salt), 8 * count), np.dtype("<u8"))

    def _secret(self, sender: int, receiver: int, purpose: bytes, salt: bytes = b"") -> bytes:
        """A key for what one DIZ sends another; both of them derive the same."""
        other = receiver if sender == self.node else sender
        try:
            public = X25519PublicKey.from_public_bytes(self._key(other))
            shared = X25519PrivateKey.from_private_bytes(self.private).exchange(public)
        except ValueError:  # a point of small order
            raise InputError("A public key gives no secret; somebody changed it on the way.") from None
        direction = b"".join(node.to_bytes(16, "big", signed=True) for node in (sender, receiver))
        return derive(shared + self.pairing, _DOMAIN + purpose + self.circle.fingerprint + direction, salt)

    def _key(self, node: int) -> bytes:
        try:
            return self.circle.keys[self.circle.nodes.index(node)]
        except ValueError:
            raise InputError(f"Node {node} is not among the DIZ of this run.") from None


def public_of(private: bytes) -> bytes:
    """The X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pairing_key(text: str | None, *, required: bool) -> bytes:
    """The project's pairing key from its 64 hexadecimal digits; empty where none is required.

    Raises:
        InputError: It is required and missing, or is not 64 hexadecimal digits.
    """
    if not required:
        return b""
    if text is None or not re.fullmatch("[0-9a-f]{64}", text):
        raise InputError(
            "The terms require a pairing key: write the project's 64 hexadecimal digits, drawn with "
            "`openssl rand -hex 32`, into the column 'pairing' of the samples table."
        )
    return bytes.fromhex(text)


def derive(secret: bytes, info: bytes, salt: bytes = b"") -> bytes:
    """HKDF-SHA256, 32 bytes."""
    return HKDF(SHA256(), 32, salt or None, info).derive(secret)


def stream(key: bytes, count: int) -> bytes:
    """`count` bytes of ChaCha20's stream under a key that is used for nothing else."""
    encryptor = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    return encryptor.update(bytes(count))


def in_words(fingerprint: bytes) -> str:
    """A fingerprint as people read it out: 16 groups of 4 hexadecimal digits."""
    digits = fingerprint.hex()
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))
