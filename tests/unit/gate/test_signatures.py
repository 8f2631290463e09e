"""Signatures as `ssh-keygen -Y sign` makes them: the same bytes, and only one text for one signature."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.gate.signatures import (
    APPROVAL_NAMESPACE,
    fingerprint,
    public_text,
    read_private_key,
    read_public_key,
    sign,
    verified_key,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
PUBLIC = public_text(KEY.public_key())
MESSAGE = b'{"a":1}'
SIGNATURE = sign(KEY, MESSAGE, APPROVAL_NAMESPACE)

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def keygen(*words: str | Path, into: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *map(str, words)], input=into, capture_output=True, check=False)


@needs_ssh
class TestBesideSshKeygen:
    def test_its_signatures_hold_here(self, tmp_path: Path) -> None:
        """And ours are the same, byte for byte, since Ed25519 is deterministic."""
        keygen("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
        (tmp_path / "m").write_bytes(MESSAGE)
        assert keygen("-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f", tmp_path / "key", tmp_path / "m").returncode == 0
        theirs = (tmp_path / "m.sig").read_text()
        public = read_public_key((tmp_path / "key.pub").read_text())
        assert verified_key(theirs, MESSAGE, APPROVAL_NAMESPACE) == public
        assert sign(read_private_key(tmp_path / "key"), MESSAGE, APPROVAL_NAMESPACE) == theirs

    def test_ours_hold_there(self, tmp_path: Path) -> None:
        (tmp_path / "allowed").write_text(f"steward {PUBLIC}\n")
        (tmp_path / "s").write_text(SIGNATURE)
        words = ("-Y", "verify", "-f", tmp_path / "allowed", "-I", "steward", "-s", tmp_path / "s")
        assert keygen(*words, "-n", APPROVAL_NAMESPACE, into=MESSAGE).returncode == 0
        assert keygen(*words, "-n", APPROVAL_NAMESPACE, into=MESSAGE + b" ").returncode != 0

    def test_the_fingerprint_is_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "key.pub").write_text(f"{PUBLIC} a comment\n")
        assert keygen("-l", "-f", tmp_path / "key.pub").stdout.decode().split()[1] == fingerprint(PUBLIC)

    @pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
    def test_another_kind_of_key_is_refused(self, kind: str, tmp_path: Path) -> None:
        keygen("-q", "-t", kind, "-N", "", "-f", tmp_path / "key")
        (tmp_path / "m").write_bytes(MESSAGE)
        keygen("-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f", tmp_path / "key", tmp_path / "m")
        with pytest.raises(InputError, match="Ed25519"):
            verified_key((tmp_path / "m.sig").read_text(), MESSAGE, APPROVAL_NAMESPACE)
        for read in (
            lambda: read_public_key((tmp_path / "key.pub").read_text()),
            lambda: read_private_key(tmp_path / "key"),
        ):
            with pytest.raises(InputError, match="Ed25519"):
                read()

    def test_a_key_with_a_passphrase_says_what_to_do(self, tmp_path: Path) -> None:
        keygen("-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "key")
        with pytest.raises(InputError) as err:
            read_private_key(tmp_path / "key")
        assert "--signature" in str(err.value.mend)


@given(st.binary(max_size=200))
def test_what_is_signed_is_verified(message: bytes) -> None:
    """By the same key, and over these bytes only."""
    made = sign(KEY, message, APPROVAL_NAMESPACE)
    assert verified_key(made, message, APPROVAL_NAMESPACE) == PUBLIC
    with pytest.raises(InputError):
        verified_key(made, message + b"x", APPROVAL_NAMESPACE)


def test_another_purpose_is_named() -> None:
    with pytest.raises(InputError, match="another purpose"):
        verified_key(sign(KEY, MESSAGE, "git"), MESSAGE, APPROVAL_NAMESPACE)


@given(st.integers(0, len(SIGNATURE) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_there_is_one_text_for_one_signature(at: int, letter: str) -> None:
    """No reserved field, length or padding can be changed."""
    changed = SIGNATURE[:at] + letter + SIGNATURE[at + 1 :]
    if "".join(changed.split()) != "".join(SIGNATURE.split()):
        with pytest.raises(InputError):
            verified_key(changed, MESSAGE, APPROVAL_NAMESPACE)


def test_lines_may_be_broken_as_mail_programs_do() -> None:
    """Blanks around and Windows line ends are no change."""
    assert verified_key("\n " + SIGNATURE.replace("\n", "\r\n") + "\n", MESSAGE, APPROVAL_NAMESPACE) == PUBLIC


@pytest.mark.parametrize("text", ["", "x", SIGNATURE[:-40], SIGNATURE * 20, "ä" + SIGNATURE, PUBLIC])
def test_what_is_no_signature(text: str) -> None:
    with pytest.raises(InputError):
        verified_key(text, MESSAGE, APPROVAL_NAMESPACE)
