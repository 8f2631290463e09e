"""Flower's stock SuperNode as a child of the node's process.

`python -m flame_fl.flower.supernode PARENT_PID …` takes the options of `flower-supernode` beside its first. It ends
with the process that started it: a SuperNode without a gate would hold messages that nobody answers.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def supernode_command(*, hub: str, ca: Path, key: Path, secret: Path, host: str, port: int, parent: int) -> list[str]:
    """The command line of a SuperNode that only hands tasks to who knows the secret. It holds no secret itself."""
    return [
        sys.executable,
        "-m",
        "flame_fl.flower.supernode",
        str(parent),
        *("--superlink", hub),
        *("--root-certificates", str(ca)),
        *("--auth-supernode-private-key", str(key)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(secret)),
        *("--host", host),
        *("--port", str(port)),
    ]


def supernode_environment(flwr_home: Path) -> dict[str, str]:
    """What it finds in its environment: nothing that could make it call home, or install anything."""
    passed_on = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return passed_on | {
        "HOME": str(flwr_home),
        "FLWR_HOME": str(flwr_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent dies, however it dies (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)


def main() -> None:
    """Serve until told to stop."""
    parent = int(sys.argv.pop(1))
    if parent:
        end_with_parent(parent)
    from flwr.supernode.cli import flower_supernode

    flower_supernode()


if __name__ == "__main__":
    main()
