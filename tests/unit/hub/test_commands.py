"""`flame hub …` as an administrator types it."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flame_fl.cli.main import run
from flame_fl.researcher.hubs import load_hub

Hub = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch, capsys) -> Hub:
    """Runs `flame hub …`: code, standard output, standard error."""
    monkeypatch.setenv("FLAME_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("COLUMNS", "200")

    def go(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["hub", *map(str, arguments)])
        return code, *capsys.readouterr()

    return go


@pytest.fixture
def made(hub: Hub) -> Hub:
    """A hub that was made."""
    assert hub("init", "--name", "hub.example.org", "--name", "10.0.0.1", "--port", 9443)[0] == 0
    return hub


@pytest.fixture
def key(tmp_path: Path) -> Path:
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    (tmp_path / "n.pub").write_bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return tmp_path / "n.pub"


def test_init_says_what_was_made(hub: Hub, tmp_path: Path) -> None:
    """As text and as JSON; a second time nothing is touched."""
    code, out, _ = hub("init", "--name", "h", "--json")
    assert code == 0
    said = json.loads(out)
    assert Path(said["config"]).is_file()
    assert Path(said["ca"]).is_file()
    before = (tmp_path / "hub" / "hub.toml").read_text()
    code, _, err = hub("init", "--name", "h")
    assert code == 2
    assert "a hub here already" in err
    assert (tmp_path / "hub" / "hub.toml").read_text() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("up",),
        ("user", "add", "alice", "--project", "p"),
        ("node", "add", "DIZ-1", "x.pub", "--project", "p"),
        ("project", "add-member", "p", "alice"),
    ],
    ids=lambda a: " ".join(a[:2]),
)
def test_without_a_hub_there_is_nothing_to_do(hub: Hub, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Exit code 2, and the command that makes one; nothing is written."""
    code, _, err = hub(*arguments)
    assert code == 2
    assert "flame hub init" in err
    assert not (tmp_path / "hub").exists()


def test_a_token_is_shown_once(made: Hub, tmp_path: Path) -> None:
    """With the lines for the researcher; and nowhere else."""
    code, out, _ = made("user", "add", "alice", "--project", "p")
    assert code == 0
    (token,) = [line.strip() for line in out.splitlines() if line.strip().startswith("flame_")]
    assert 'address = "hub.example.org:9443"' in out
    assert token not in (tmp_path / "hub" / "access.json").read_text()
    _, out, _ = made("status")
    assert token not in out
    assert "alice" in out
    code, out, _ = made("user", "add", "bob", "--project", "p", "--json")
    assert json.loads(out)["token"].startswith("flame_")


def test_a_token_goes_into_a_file(made: Hub, tmp_path: Path) -> None:
    """For its owner only, with an entry that `flame run` reads; an old file is not written over."""
    token_file, hubs = tmp_path / "keys" / "alice.token", tmp_path / "config" / "hubs.toml"
    arguments = ("--project", "p", "--token-file", token_file, "--hubs-file", hubs, "--hub-name", "local")
    code, out, _ = made("user", "add", "alice", *arguments)
    assert code == 0
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert token_file.read_text() not in out
    hub = load_hub(hubs, "local")
    assert (hub.address, hub.token) == ("hub.example.org:9443", token_file.read_text())
    code, _, err = made("user", "add", "carol", *arguments)
    assert code == 2
    assert "exists" in err
    code, out, _ = made("status", "--json")
    assert json.loads(out)["users"] == {"alice": ["p"]}
    assert made("user", "add", "dora", "--project", "p", "--hubs-file", hubs)[0] == 2


def test_a_node_s_diz_is_told_what_it_needs(made: Hub, key: Path, tmp_path: Path) -> None:
    """Address and certificate."""
    code, out, _ = made("node", "add", "DIZ-1", key, "--project", "p")
    assert code == 0
    assert "hub.example.org:9443" in out
    assert str(tmp_path / "hub" / "tls" / "ca.crt") in out
    code, _, err = made("node", "add", "DIZ-1", key, "--project", "p")
    assert code == 2
    assert "node" in err


def test_members_and_status(made: Hub, key: Path) -> None:
    """Down, with who works with whom."""
    made("node", "add", "DIZ-1", key, "--project", "p")
    made("user", "add", "alice", "--project", "q", "--json")
    assert made("project", "add-member", "q", "DIZ-1")[0] == 0
    assert made("project", "add-member", "q", "nobody")[0] == 2
    code, out, _ = made("status", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["up"], said["nodes"], said["users"]) == (False, {"DIZ-1": ["p", "q"]}, {"alice": ["q"]})
    code, out, _ = made("status")
    assert out.startswith("down  hub.example.org:9443")


def test_bad_settings_are_named(made: Hub, tmp_path: Path) -> None:
    """By every command."""
    config = tmp_path / "hub" / "hub.toml"
    config.write_text(config.read_text().replace("at_once = 4", "at_once = 0"))
    for arguments in (("up",), ("status",), ("user", "add", "alice", "--project", "p")):
        code, _, err = made(*arguments)
        assert code == 2
        assert "serverapp.at_once" in err
