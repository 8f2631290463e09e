"""Flower's stock SuperNode as a child of the node's process.

`python -m flame_fl.flower.supernode PARENT_PID POLL_SECONDS …` takes the options of `flower-supernode` beside its first
two. It ends with the process that started it: a SuperNode without a gate would hold messages that nobody answers. Its
code is Flower's own but for how long it sleeps between two looks, which Flower fixes at three seconds (ADR 0008).
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from flame_fl.flower.parent import end_with_parent

_OWN_SECONDS = 0.05
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


def supernode_command(
    *, hub: str, ca: Path, key: Path, secret: Path, host: str, port: int, poll_seconds: float, parent: int
) -> list[str]:
    """The command line of a SuperNode that only hands tasks to who knows the secret. It holds no secret itself."""
    return [
        sys.executable,
        "-m",
        "flame_fl.flower.supernode",
        str(parent),
        str(poll_seconds),
        *("--superlink", hub),
        *("--root-certificates", str(ca)),
        *("--auth-supernode-private-key", str(key)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(secret)),
        *("--host", host),
        *("--port", str(port)),
    ]


def supernode_environment(flwr_home: Path) -> dict[str, str]:
    """What it finds in its environment: the hospital's proxy, and nothing that could make it call home or install."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {
        "HOME": str(flwr_home),
        "FLWR_HOME": str(flwr_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


def main() -> None:
    """Serve until told to stop."""
    parent, poll_seconds = int(sys.argv.pop(1)), float(sys.argv.pop(1))
    if parent:
        end_with_parent(parent)
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli import flower_supernode

    setattr(start_client_internal, "time", ShorterSleeps(poll_seconds))  # noqa: B010  (its own import of the module)
    flower_supernode()


class ShorterSleeps:
    """Stands in for the module `time` in Flower's loop.

    Args:
        poll_seconds: How long to sleep where Flower sleeps a second or more: between two questions to the hub. Shorter
            sleeps wait for this machine's own gate, and become a twentieth of a second.
    """

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than that."""
        time.sleep(min(seconds, self._poll_seconds if seconds >= 1 else _OWN_SECONDS))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


if __name__ == "__main__":
    main()
