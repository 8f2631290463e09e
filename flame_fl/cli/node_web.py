"""`flame node web` and `flame node account`: the steward's page, and who may log in there."""

import getpass
import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, printable, stdout
from flame_fl.cli.node_common import AsJson, open_here, user
from flame_fl.contract.errors import FlameError, InputError

if TYPE_CHECKING:
    from flame_fl.node.web.accounts import Account, Accounts
    from flame_fl.node.web.roles import Role
    from flame_fl.node.wiring import Node

cli = typer.Typer(help="Accounts of the steward's page (flame node web).", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the person logs in as; a steward's own key has the same name.")]
Roles = Annotated[list[str], typer.Option("--role", help="steward, admin or auditor; may be given more than once.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, one line, instead of asking.")
]


def web(
    host: Annotated[str | None, typer.Option(help="Listen here instead of at [web] host of node.toml.")] = None,
    port: Annotated[int | None, typer.Option(help="And at this port.")] = None,
) -> None:
    """Serve the steward's page in the foreground, until Ctrl-C or SIGTERM."""
    _require_extra()
    from flame_fl.node.web.serve import serve
    from flame_fl.node.web.settings import WebSection

    node = open_here()
    section: WebSection = node.config.web
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if changes:
        try:
            section = WebSection.model_validate(section.model_dump() | changes)
        except ValueError as err:
            raise InputError(
                f"The page cannot listen at {host or section.host}:{port or section.port}.",
                mend="Beyond this machine it needs tls_cert and tls_key in [web] of node.toml.",
            ) from err
    serve(node, section, _log)


def _log(line: str) -> None:
    typer.echo(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {printable(line)}")


@cli.command("list")
def listing(as_json: AsJson = False) -> None:
    """The accounts."""
    found = [account.model_dump(mode="json", exclude={"password"}) for account in _accounts(open_here()).all().values()]
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table()
    for column in ("name", "roles", "signs with", "state"):
        table.add_column(column, overflow="fold")
    for row in found:
        state = "disabled" if row["disabled"] else "active"
        table.add_row(escaped(row["name"]), ", ".join(row["roles"]), row["signs_with"], state)
    stdout.print(table if found else "No account yet: flame node account add NAME --role steward")


@cli.command("add")
def add(
    name: Name,
    role: Roles,
    node_key: Annotated[
        bool, typer.Option("--node-key", help="This steward may sign with the key that the node keeps.")
    ] = False,
    password_stdin: FromStdin = False,
) -> None:
    """Make an account; the password is asked for."""
    node = open_here()
    accounts = _accounts(node)
    account = accounts.add(name, _roles(role), _password(from_stdin=password_stdin), node_key=node_key)
    _noted(node, "account-added", account)
    stdout.print(f"{escaped(name)}: {', '.join(account.roles)}; signs with {account.signs_with}", highlight=False)


@cli.command("password")
def password(name: Name, password_stdin: FromStdin = False) -> None:
    """Set another password; sessions of the account end."""
    node = open_here()
    account = _accounts(node).change(name, password=_password(from_stdin=password_stdin))
    _noted(node, "account-password", account)
    stdout.print(f"{escaped(name)}: changed", highlight=False)


@cli.command("disable")
def disable(name: Name) -> None:
    """Let nobody in with this account from now on; its sessions end."""
    _switch(name, disabled=True)


@cli.command("enable")
def enable(name: Name) -> None:
    """Let a disabled account in again."""
    _switch(name, disabled=False)


@cli.command("remove")
def remove(name: Name) -> None:
    """Forget an account; its sessions end. What it decided stays."""
    node = open_here()
    accounts = _accounts(node)
    account = accounts.all().get(name)
    accounts.remove(name)
    if account is not None:
        _noted(node, "account-removed", account)
    stdout.print(f"{escaped(name)}: removed", highlight=False)


def _switch(name: str, *, disabled: bool) -> None:
    node = open_here()
    account = _accounts(node).change(name, disabled=disabled)
    _noted(node, "account-disabled" if disabled else "account-enabled", account)
    stdout.print(f"{escaped(name)}: {'disabled' if disabled else 'enabled'}", highlight=False)


def _accounts(node: "Node") -> "Accounts":
    _require_extra()
    from flame_fl.node.web.accounts import Accounts, accounts_file

    return Accounts(accounts_file(node.files.state))


def _noted(node: "Node", kind: str, account: "Account") -> None:
    from flame_fl.gate.store import Store

    store = Store(node.files.database)
    try:
        store.record(kind, {"account": account.name, "roles": list(account.roles), "by": user()})
    finally:
        store.close()


def _roles(words: list[str]) -> "tuple[Role, ...]":
    from flame_fl.node.web.roles import Role

    try:
        return tuple(Role(word) for word in words)
    except ValueError as err:
        raise InputError("There is no such role.", mend=f"--role {', '.join(Role)}.") from err


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    try:
        first = getpass.getpass("Password: ")
        second = getpass.getpass("Again: ")
    except (EOFError, OSError) as err:
        raise InputError("There is no terminal to ask for a password.", mend="Use --password-stdin.") from err
    if first != second:
        raise InputError("The two passwords differ.", mend="Once more.")
    return first


def _require_extra() -> None:
    """The page needs packages that the gate does without.

    Raises:
        FlameError: They are not installed.
    """
    try:
        import argon2  # noqa: F401
        import joserfc  # noqa: F401
    except ImportError as err:
        raise FlameError("The steward's page is not installed.", mend="pip install 'flame-fl[web]'") from err
