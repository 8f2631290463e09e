"""Letting people and nodes in."""

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.places import Places
from flame_fl.flower.superlink_beside import read_public_key
from flame_fl.hub.config import HubFiles
from flame_fl.hub.init import init_hub
from flame_fl.hub.registry import add_member, add_node, add_user, read_access


@pytest.fixture
def files(tmp_path: Path) -> HubFiles:
    return init_hub(Places(tmp_path / "hub.toml", tmp_path), ("h",), "127.0.0.1", 9000)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "n.pub", ec.generate_private_key(ec.SECP384R1()).public_key())


def write_key(path: Path, key, encoding: Encoding = Encoding.OpenSSH) -> Path:
    kind = PublicFormat.OpenSSH if encoding == Encoding.OpenSSH else PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_bytes(encoding, kind))
    return path


def test_a_user_gets_a_token_once(files: HubFiles) -> None:
    """It opens the project; the file does not hold it."""
    token = add_user(files, "alice", "a")
    assert token not in files.access.read_text()
    found = read_access(files).user_of(token)
    assert found is not None
    assert found[1].projects == ("a",)


def test_a_node_is_known_to_the_superlink_too(files: HubFiles, key: Path) -> None:
    """Under the id that the access file names; twice the same key gives no second node."""
    node_id = add_node(files, "DIZ-1", key, "a")
    assert read_access(files).node_ids("@flame/a") == {node_id}
    with pytest.raises(InputError, match="belongs to another node"):
        add_node(files, "DIZ-2", key, "a")
    assert set(read_access(files).nodes) == {"DIZ-1"}


def test_a_node_that_was_half_added_can_be_added(files: HubFiles, key: Path, monkeypatch) -> None:
    """The SuperLink knew it, the access file did not: a crash between the two."""
    import flame_fl.hub.registry as registry

    real, seen = registry.register_node, []

    def crash(*arguments):
        seen.append(real(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "register_node", crash)
    with pytest.raises(KeyboardInterrupt):
        add_node(files, "DIZ-1", key, "a")
    assert read_access(files).nodes == {}
    monkeypatch.setattr(registry, "register_node", real)
    assert add_node(files, "DIZ-1", key, "a") == seen[0]


def test_keys_in_both_forms_are_one(tmp_path: Path) -> None:
    """OpenSSH and PEM: what counts is the form SuperNodes send."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    ssh = write_key(tmp_path / "a", public).read_bytes()
    pem = write_key(tmp_path / "b", public, Encoding.PEM).read_bytes()
    assert read_public_key(ssh) == read_public_key(pem)
    assert read_public_key(ssh).startswith(b"-----BEGIN PUBLIC KEY-----")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no key",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        ec.generate_private_key(ec.SECP256K1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["nothing", "text", "broken", "ed25519", "rsa", "another curve"],
)
def test_what_no_node_can_sign_with_is_refused(files: HubFiles, tmp_path: Path, raw: bytes) -> None:
    """And neither file nor database has heard of it."""
    (tmp_path / "bad.pub").write_bytes(raw)
    with pytest.raises(InputError, match="no public key that a node signs with"):
        add_node(files, "DIZ-1", tmp_path / "bad.pub", "a")
    assert not files.database.exists()


def test_members_of_more_projects(files: HubFiles, key: Path) -> None:
    """A name that is both a user's and a node's is added as both."""
    add_user(files, "x", "a")
    node_id = add_node(files, "x", key, "a")
    add_member(files, "b", "x")
    access = read_access(files)
    assert access.node_ids("@flame/b") == {node_id}
    assert access.has_member(access.users["x"].account, "@flame/b")


def test_many_at_once_lose_nobody(files: HubFiles) -> None:
    """One process, or thread, at a time."""
    threads = [threading.Thread(target=add_user, args=(files, f"u{i}", "a")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_access(files).users) == 8


def test_a_broken_file_lets_nobody_in(files: HubFiles) -> None:
    """Nor is it replaced by an empty one."""
    files.access.write_text("{")
    with pytest.raises(VerificationError):
        read_access(files)
    with pytest.raises(VerificationError):
        add_user(files, "alice", "a")
    assert files.access.read_text() == "{"
