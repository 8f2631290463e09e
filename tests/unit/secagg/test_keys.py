"""Agreement, seals and signatures, by published vectors and by what must not pass."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.errors import InputError
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.keys import agree, new_secret, public_of, require_signature, seal, sign, unseal

# RFC 7748, 6.1: two key pairs and what they agree on.
ALICE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
BOB = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
AGREED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


def test_keys_agree_as_the_standard_says() -> None:
    alice, bob = bytes.fromhex(ALICE), bytes.fromhex(BOB)
    assert (public_of(alice).hex(), public_of(bob).hex()) == (ALICE_PUBLIC, BOB_PUBLIC)
    assert agree(alice, bytes.fromhex(BOB_PUBLIC)).hex() == agree(bob, bytes.fromhex(ALICE_PUBLIC)).hex() == AGREED


@pytest.mark.parametrize("public", [bytes(32), (1).to_bytes(32, "little"), bytes(31), bytes(33)])
def test_what_gives_no_secret_is_refused(public: bytes) -> None:
    with pytest.raises(MaskError):
        agree(new_secret(), public)


def test_secrets_are_fresh() -> None:
    assert len({new_secret() for _ in range(1000)}) == 1000
    assert len(new_secret()) == 32


def test_a_seal_opens_with_its_key_and_subject_only() -> None:
    key = new_secret()
    sealed = seal(key, b"share", b"about")
    assert unseal(key, sealed, b"about") == b"share"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong in ((new_secret(), sealed, b"about"), (key, sealed, b"else"), (key, changed, b"about")):
        with pytest.raises(MaskError, match="cannot be opened"):
            unseal(*wrong)
    for length in range(0, len(sealed), 5):
        with pytest.raises(MaskError, match="cannot be opened"):
            unseal(key, sealed[:length], b"about")


def test_the_same_text_is_never_sealed_alike() -> None:
    key = new_secret()
    assert len({seal(key, b"share", b"about") for _ in range(100)}) == 100


def test_a_signature_holds_for_its_kind_and_statement_only() -> None:
    identity, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    signature = sign(identity, "survivors", ["context", ["a", "b"]])
    require_signature(identity.public_key(), signature, "survivors", ["context", ["a", "b"]])
    for wrong in (
        (other.public_key(), signature, "survivors", ["context", ["a", "b"]]),
        (identity.public_key(), signature, "mask-key", ["context", ["a", "b"]]),
        (identity.public_key(), signature, "survivors", ["context", ["b", "a"]]),
        (identity.public_key(), "00" * 64, "survivors", ["context", ["a", "b"]]),
        (identity.public_key(), "no hex", "survivors", ["context", ["a", "b"]]),
        (identity.public_key(), "", "survivors", ["context", ["a", "b"]]),
    ):
        with pytest.raises(MaskError, match="does not hold"):
            require_signature(*wrong)


def test_what_has_no_canonical_form_is_not_signed() -> None:
    with pytest.raises(InputError):
        sign(Ed25519PrivateKey.generate(), "survivors", float("nan"))
