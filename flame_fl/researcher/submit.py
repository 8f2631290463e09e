"""Submits an app by Flower's public `flwr run`, in a process with a home of its own.

The home holds the connection and the token, is readable by its owner only, and is removed afterwards: the user's own
Flower settings are neither read nor changed, and the token is in no argument and no log.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from flame_fl.contract.access import federation_of
from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.researcher.hubs import Hub

_SECONDS = 180.0
_CONNECTION = "hub"
_STORE = "flower.account-auth.{address}.{name}"


def submit(app: Path, hub: Hub, project: str, overrides: Sequence[str]) -> int:
    """Start a run. Returns its id.

    Args:
        app: The app's folder.
        hub: Where.
        project: Whose nodes.
        overrides: As given to `--run-config`.

    Raises:
        InputError: The app or the overrides are bad, or the hub knows no such token or project.
        UnreachableError: The hub does not answer.
        FlameError: Flower says something else.
    """
    with tempfile.TemporaryDirectory(prefix="flame-flwr-") as home:
        _write_home(Path(home), hub)
        command = [
            *_flwr(), "run", str(app.expanduser().resolve()), _CONNECTION,
            "--federation", federation_of(project), "--format", "json",
            *(part for override in overrides for part in ("--run-config", override)),
        ]  # fmt: skip
        environment = {**os.environ, "FLWR_HOME": home, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=_SECONDS, env=environment, cwd=Path.cwd(), check=False
            )
        except subprocess.TimeoutExpired as err:
            raise UnreachableError(f"The hub {hub.name} did not take the run in time.", mend="Try again.") from err
    return run_id_of(done.stdout, done.stderr, hub)


def run_id_of(stdout: str, stderr: str, hub: Hub) -> int:
    """The run's id in what `flwr run --format json` printed.

    Raises:
        InputError, UnreachableError, FlameError: As `submit`.
    """
    said = _json_in(stdout)
    run_id = said.get("run-id")
    if said.get("success") is True and isinstance(run_id, str) and run_id.isdigit():
        return int(run_id)
    why = " ".join(str(said.get("error-message") or stderr.strip() or stdout.strip() or "nothing was said").split())
    lower = why.lower()
    if "unavailable" in lower or "could not connect" in lower or "certificate" in lower:
        raise UnreachableError(
            f"The hub {hub.name} does not answer at {hub.address}.",
            mend="See `flame hub status` there, and your hubs.toml.",
        )
    if "authentic" in lower:
        raise InputError(
            f"The hub {hub.name} does not know this token.", mend="Ask its administrator (`flame hub user add`)."
        )
    if "federation" in lower or "entitlement" in lower:
        raise InputError(
            f"The hub {hub.name} has no such project for you.",
            mend="Ask its administrator (`flame hub project add-member`), or name another with --project.",
        )
    if "config" in lower:
        raise InputError(f"The hub {hub.name} does not take the run: {why[:500]}.", mend="Correct --run-config.")
    raise FlameError(f"The hub {hub.name} did not take the run: {why[:500]}.", mend="Ask its administrator.")


def _write_home(home: Path, hub: Hub) -> None:
    connection = {"address": hub.address, "root-certificates": str(hub.ca.resolve()), "insecure": False}
    (home / "config.toml").write_text(
        tomli_w.dumps({"superlink": {"default": _CONNECTION, _CONNECTION: connection}}), encoding="utf-8"
    )
    values = {"authn-type": "oidc", "oidc-access-token": hub.token, "oidc-refresh-token": "none"}
    lines = "".join(
        f'"{_STORE.format(address=hub.address, name=name)}": {base64.b64encode(value.encode()).decode()}\n'
        for name, value in values.items()
    )
    with os.fdopen(os.open(home / "credentials.yaml", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(lines)


def _flwr() -> list[str]:
    beside = Path(sys.executable).with_name("flwr")
    if beside.is_file():
        return [str(beside)]
    found = shutil.which("flwr")
    if found is None:
        raise FlameError("Flower's command `flwr` is not installed.", mend="pip install flwr")
    return [found]


def _json_in(text: str) -> dict[str, object]:
    """The JSON object in a text that may have other lines around it."""
    begin = text.find("{")
    while begin >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(text[begin:])
        except ValueError:
            begin = text.find("{", begin + 1)
            continue
        return value if isinstance(value, dict) else {}
    return {}
