"""What `flwr run --format json` says, and what is given to it."""

import base64
import json
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.cli import constant
from flwr.supercore.credential_store.file_credential_store import FileCredentialStore

from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.researcher import submit as module
from flame_fl.researcher.hubs import Hub
from flame_fl.researcher.submit import run_id_of, submit


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    (tmp_path / "ca.crt").write_text("x")
    return Hub("local", "hub.example.org:8000", tmp_path / "ca.crt", "flame_secret")


def test_the_run_s_id(hub: Hub) -> None:
    """Among whatever other lines it prints."""
    said = "Using {something}\n" + json.dumps({"success": True, "run-id": "18446744073709551615"}) + "\n"
    assert run_id_of(said, "", hub) == 2**64 - 1


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("Error: SuperLink is unavailable", UnreachableError, 6),
        ("Account authentication failed.", InputError, 2),
        ("Federation not found or no permission", InputError, 2),
        ("Entitlement error.", InputError, 2),
        ("Invalid run configuration", InputError, 2),
        ("something else", FlameError, 1),
        ("", FlameError, 1),
    ],
)
def test_errors_are_of_their_kind(hub: Hub, text: str, kind: type[FlameError], code: int) -> None:
    """With a sentence of ours that names the hub; from JSON as from plain text."""
    for said in (json.dumps({"success": False, "error-message": text}), text):
        with pytest.raises(kind) as raised:
            run_id_of(said, "", hub)
        assert raised.value.exit_code == code
        assert "local" in raised.value.message
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("said", ["{}", '{"success": true}', '{"success": true, "run-id": "x"}', "{", "[]", "{{}"])
def test_an_odd_answer_is_no_run(hub: Hub, said: str) -> None:
    """Rather a failure than a guess."""
    with pytest.raises(FlameError):
        run_id_of(said, "", hub)


def test_flower_finds_connection_and_token_in_a_home_of_its_own(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    """A contract test with Flower's own store; the token is in no argument, and the home goes afterwards."""
    seen = SimpleNamespace()

    def run(command, **options):
        home = Path(options["env"]["FLWR_HOME"])
        store = FileCredentialStore(home / "credentials.yaml")
        seen.home, seen.command, seen.said = home, command, options
        seen.mode = stat.S_IMODE((home / "credentials.yaml").stat().st_mode)
        keys = (constant.AUTHN_TYPE_STORE_KEY, constant.ACCESS_TOKEN_STORE_KEY, constant.REFRESH_TOKEN_STORE_KEY)
        seen.stored = [store.get(key % hub.address) for key in keys]
        seen.config = (home / "config.toml").read_text()
        return SimpleNamespace(stdout='{"success": true, "run-id": "7"}', stderr="")

    monkeypatch.setattr(module.subprocess, "run", run)
    assert submit(tmp_path, hub, "p", ["rounds=1", "x=2"]) == 7
    assert seen.stored == [b"oidc", b"flame_secret", b"none"]
    assert seen.mode == 0o600
    assert seen.command[1:] == [
        "run", str(tmp_path), "hub", "--federation", "@flame/p", "--format", "json",
        "--run-config", "rounds=1", "--run-config", "x=2",
    ]  # fmt: skip
    assert "flame_secret" not in " ".join(seen.command) + seen.config
    assert base64.b64encode(b"flame_secret").decode() not in seen.config
    assert not seen.home.exists()


def test_a_hub_that_takes_too_long_is_unreachable(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    """Exit code 6."""

    def run(command, **options):
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(module.subprocess, "run", run)
    with pytest.raises(UnreachableError):
        submit(tmp_path, hub, "p", [])
