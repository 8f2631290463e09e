"""Ed25519 signatures as `ssh-keygen -Y sign` makes them (SSHSIG, openssh-portable's PROTOCOL.sshsig).

A steward may sign with this module or with `ssh-keygen` and a key that never leaves a device of their own. Only one
text stands for one signature: reserved fields, trailing bytes and other encodings of the same signature are refused.
"""

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)
from sshsig.ssh_public_key import Ed25519PublicKey as SshKey
from sshsig.sshsig import InvalidSignature, SshsigSignature, SshsigWrapper, check_signature

from flame_fl.contract.errors import InputError

APPROVAL_NAMESPACE, AUDIT_NAMESPACE = "flame-approval", "flame-audit"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAX_CHARS = 4096
_HASH = b"sha512"
_SIGNATURE_BYTES = 64
_WIDTH = 70  # as ssh-keygen breaks its lines


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as one line of OpenSSH's, without comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def sign(key: Ed25519PrivateKey, message: bytes, namespace: str) -> str:
    """An armoured signature over `message`."""
    hashed = hashlib.new(_HASH.decode(), message).digest()
    wrapped = SshsigWrapper(namespace=namespace.encode(), hash_algo=_HASH, hash=hashed).to_bytes()
    return _armoured(key.public_key(), namespace, _HASH, key.sign(wrapped))


def verified_key(signature: str, message: bytes, namespace: str) -> str:
    """The public key that made a signature over `message`, as `public_text` writes it.

    Raises:
        InputError: It is no signature over these bytes, for another purpose, or by a key of another kind.
    """
    again = InputError(
        "This is no Ed25519 signature over this statement.", mend="Sign exactly the file that was given."
    )
    text = signature.strip()
    if len(text) > _MAX_CHARS or not text.isascii() or not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise InputError(
            "This is no whole SSH signature.", mend=f"Paste all of it, from {_BEGIN} to {_END}, as ssh-keygen wrote it."
        )
    try:
        parts = SshsigSignature.from_armored(text)
        key = check_signature(message, text, namespace)
    except InvalidSignature as err:
        if namespace.encode() != parts.namespace:
            raise InputError(
                "The signature is for another purpose.", mend=f"Sign with `ssh-keygen -Y sign -n {namespace}`."
            ) from err
        raise again from err
    except Exception as err:  # a parser of hostile bytes may raise what it likes
        raise again from err
    if not isinstance(key, SshKey):
        raise InputError("The signature is not by an Ed25519 key.", mend="Make one with `ssh-keygen -t ed25519`.")
    public = str(key.openssh_str())
    only = _armoured(_loaded(public), namespace, parts.hash_algo, parts.signature[-_SIGNATURE_BYTES:])
    if _body(only) != _body(text):  # the parser is lenient about lengths and what follows
        raise again
    return public


def read_public_key(text: str) -> str:
    """A public key in one form, without its comment.

    Raises:
        InputError: It is no Ed25519 key of OpenSSH's.
    """
    try:
        key = load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm) as err:
        raise InputError("This is no public key.", mend="Give the line of a .pub file: ssh-ed25519 AAAA….") from err
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("This is no Ed25519 key.", mend="Make one with `ssh-keygen -t ed25519`.")
    return public_text(key)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """A private key as `ssh-keygen -t ed25519` makes it.

    Raises:
        InputError: It cannot be read, needs a passphrase, or is of another kind.
    """
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise InputError(
            f"{path} cannot be read as a private key of OpenSSH's.",
            mend="Give an Ed25519 key; if it has a passphrase, sign with `ssh-keygen -Y sign` and give --signature.",
        ) from err
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is no Ed25519 key.", mend="Make one with `ssh-keygen -t ed25519`.")
    return key


@lru_cache(maxsize=4096)
def fingerprint(public_key: str) -> str:
    """What `ssh-keygen -l` shows of a public key: "SHA256:…"."""
    return str(SshKey.from_openssh_str(public_key).sha256_str())


def _loaded(public_key: str) -> Ed25519PublicKey:
    key = load_ssh_public_key(public_key.encode())
    assert isinstance(key, Ed25519PublicKey)  # noqa: S101  (the caller's was)
    return key


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _armoured(key: Ed25519PublicKey, namespace: str, hash_algo: bytes, signature: bytes) -> str:
    """The one text that stands for a signature."""
    algorithm = _string(b"ssh-ed25519")
    parts = (algorithm + _string(key.public_bytes_raw()), namespace.encode(), b"", hash_algo)
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(_string, parts)) + _string(algorithm + _string(signature))
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "\n".join((_BEGIN, *lines, _END)) + "\n"


def _body(armoured: str) -> str:
    return "".join(armoured.strip().splitlines()[1:-1])
