"""Keys of one set-up or one sum: X25519 (RFC 7748), sealed with ChaCha20-Poly1305 (RFC 8439), signed with Ed25519."""

import secrets

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from flame_fl.contract.canonical import canonical_json
from flame_fl.secagg.errors import MaskError

_DOMAIN = b"flame-secure-aggregation-1\n"
_NONCE_BYTES = 12


def new_secret() -> bytes:
    """256 bits of the operating system's randomness: an X25519 private key, or a seed."""
    return secrets.token_bytes(32)


def public_of(private: bytes) -> bytes:
    """The X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """The secret that two key pairs share.

    Raises:
        MaskError: The public key is a point of small order, with which every secret would be the same.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as err:
        raise MaskError("a public key gives no secret: a point of small order") from err


def seal(key: bytes, text: bytes, about: bytes) -> bytes:
    """Encrypt and authenticate `text`, bound to `about`."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, text, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """What was sealed.

    Raises:
        MaskError: It was not sealed with this key and about this, or was changed.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as err:
        raise MaskError("a sealed message cannot be opened") from err


def sign(identity: Ed25519PrivateKey, kind: str, said: object) -> str:
    """A signature, as hex, under a statement of a kind."""
    return identity.sign(_statement(kind, said)).hex()


def require_signature(identity: Ed25519PublicKey, signature: str, kind: str, said: object) -> None:
    """Check a signature.

    Raises:
        MaskError: It is not this identity's under this statement.
    """
    try:
        identity.verify(bytes.fromhex(signature), _statement(kind, said))
    except (InvalidSignature, ValueError) as err:
        raise MaskError(f"a signature under a statement ({kind}) does not hold") from err


def _statement(kind: str, said: object) -> bytes:
    return _DOMAIN + kind.encode() + b"\n" + canonical_json(said)
