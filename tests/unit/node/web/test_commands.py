"""`flame node account` at the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flame_fl.cli.node_web import cli
from flame_fl.contract.errors import InputError
from flame_fl.node.web.accounts import Accounts, accounts_file
from flame_fl.node.wiring import Node
from tests.support.web import PASSWORD


@pytest.fixture
def account(node: Node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLAME_HOME", str(node.files.state))

    def run(*words: str, password: str = PASSWORD) -> str:
        done = CliRunner().invoke(cli, list(words), input=password + "\n", catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def kinds(node: Node) -> list[str]:
    from contextlib import ExitStack

    from flame_fl.node.wiring import open_store

    with ExitStack() as closing:
        return [e["kind"] for e, _ in open_store(node, closing).audit_rows() if e["kind"].startswith("account")]


def test_an_account_s_life(node: Node, account) -> None:
    """Made, listed, disabled, enabled, another password, removed; each audited, none shows a password."""
    said = account("add", "maria", "--role", "steward", "--role", "admin", "--node-key", "--password-stdin")
    assert PASSWORD not in said
    (listed,) = json.loads(account("list", "--json"))
    assert (listed["name"], listed["roles"], listed["signs_with"]) == ("maria", ["steward", "admin"], "node-key")
    assert "password" not in listed
    assert "maria" in account("list")
    accounts = Accounts(accounts_file(node.files.state))
    assert accounts.check("maria", PASSWORD) is not None
    account("disable", "maria")
    assert accounts.get("maria") is None
    account("enable", "maria")
    account("password", "maria", "--password-stdin", password="another good pass phrase")
    assert accounts.check("maria", "another good pass phrase") is not None
    account("remove", "maria")
    assert "No account yet" in account("list")
    verbs = ["added", "disabled", "enabled", "password", "removed"]
    assert kinds(node) == [f"account-{verb}" for verb in verbs]


def test_what_is_refused(node: Node, account, tmp_path: Path) -> None:
    """No such role, a short password; nothing is made."""
    with pytest.raises(InputError, match="no such role"):
        account("add", "maria", "--role", "root", "--password-stdin")
    with pytest.raises(InputError, match="characters"):
        account("add", "maria", "--role", "steward", "--password-stdin", password="short")
    assert not accounts_file(node.files.state).exists()
    assert kinds(node) == []
