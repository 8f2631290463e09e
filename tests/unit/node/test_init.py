"""`flame node init`: made once, whole, private, and never over something that is there."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.places import Places
from flame_fl.node.config import NodeFiles, load_config
from flame_fl.node.init import NewNode, init_node, read_ca
from flame_fl.node.wiring import open_node


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_node_is_one_that_can_be_opened(files: NodeFiles, places: Places) -> None:
    """It offers nothing, its audit chain begins with how it was made, and its settings say what was asked for."""
    node = open_node(places)
    assert (node.config.node.name, node.config.hub.address) == ("DIZ-1", "localhost:8000")
    assert node.data.registry.all() == {}
    assert node.config.demo.approve_content == ()
    assert node.config.sandbox.kind == "docker"


def test_private_files_are_private(files: NodeFiles) -> None:
    """Keys, secret and folders of state: the owner's only, whatever the umask."""
    assert [mode(p) for p in (files.flower_key, files.identity_key, files.data_key, files.secret)] == [0o600] * 4
    assert [mode(p) for p in (files.keys, files.views, files.sandboxes, files.logs)] == [0o700] * 4
    assert mode(files.database) & 0o077 == 0


def test_the_keys_are_what_flower_and_we_need(files: NodeFiles) -> None:
    """ECDSA P-384 for Flower, Ed25519 for the identity; each public half belongs to its private one."""
    flower = load_ssh_private_key(files.flower_key.read_bytes(), None)
    identity = load_ssh_private_key(files.identity_key.read_bytes(), None)
    assert isinstance(flower, ec.EllipticCurvePrivateKey)
    assert flower.curve.name == "secp384r1"
    assert isinstance(identity, ed25519.Ed25519PrivateKey)
    for path, key in ((files.flower_key, flower), (files.identity_key, identity)):
        assert load_ssh_public_key(path.with_suffix(".pub").read_bytes()) == key.public_key()


def test_the_key_of_the_data_is_random(files: NodeFiles) -> None:
    """32 bytes: pseudonyms and snapshots' names come from it."""
    assert len(files.data_key.read_bytes()) == 32
    assert len(set(files.data_key.read_bytes())) > 8


def test_two_nodes_share_nothing(ca: Path, tmp_path: Path) -> None:
    """Ids, keys and secrets are drawn for each."""
    made = []
    for name in ("a", "b"):
        places = Places(tmp_path / name / "node.toml", tmp_path / name)
        files = init_node(places, NewNode("DIZ", "h:1", ca))
        made.append((load_config(places).node.id, files.secret.read_bytes(), files.flower_key.read_bytes()))
    assert len({part for each in made for part in each}) == 6


@pytest.mark.parametrize("kept", ["node.toml", "keys/flower", "keys/identity", "state.db"])
def test_nothing_is_ever_made_over_what_is_there(places: Places, ca: Path, kept: str) -> None:
    """Any one of the files that matter is enough; not a byte of the folder changes."""
    path = places.state / kept
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(InputError, match="a node here already"):
        init_node(places, NewNode("DIZ-1", "localhost:8000", ca))
    assert [p for p in places.state.rglob("*") if p.is_file()] == [path]
    assert path.read_text() == "precious"


def test_a_second_init_changes_nothing(files: NodeFiles, places: Places, ca: Path) -> None:
    """As above, with a whole node."""
    before = {p: p.read_bytes() for p in places.state.rglob("*") if p.is_file()}
    with pytest.raises(InputError):
        init_node(places, NewNode("DIZ-2", "elsewhere:1", ca))
    assert {p: p.read_bytes() for p in places.state.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("name", "hub"),
    [("", "h:1"), ("a\nb", "h:1"), ('x"y', "h:1"), ("DIZ", "h"), ("DIZ", 'h:1"\n[x]'), ("[red]", "h:1")],
)
def test_what_cannot_be_said_in_settings_makes_no_node(places: Places, ca: Path, name: str, hub: str) -> None:
    """A quote in a name must not become a setting; nothing is written."""
    with pytest.raises(InputError):
        init_node(places, NewNode(name, hub, ca))
    assert not places.state.exists()


def test_a_ca_that_is_none_is_refused_before_anything_is_made(places: Places, tmp_path: Path) -> None:
    """The sentence names the file and whom to ask."""
    wrong = tmp_path / "wrong.crt"
    wrong.write_text("no certificate")
    for path in (wrong, tmp_path / "missing.crt"):
        with pytest.raises(InputError, match=path.name) as err:
            read_ca(path)
        assert "administrator" in err.value.mend
        with pytest.raises(InputError):
            init_node(places, NewNode("DIZ-1", "h:1", path))
    assert not places.state.exists()


def test_a_folder_that_cannot_be_made_is_named(ca: Path, tmp_path: Path) -> None:
    """A file stands where the state should be."""
    (tmp_path / "taken").write_text("")
    places = Places(tmp_path / "taken" / "node.toml", tmp_path / "taken" / "state")
    with pytest.raises(FlameError, match="cannot be written") as err:
        init_node(places, NewNode("DIZ-1", "h:1", ca))
    assert "FLAME_HOME" in err.value.mend
