"""The programs of a federation on this machine: started apart from the terminal, found and ended by their number."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flame_fl.contract.errors import FlameError
from flame_fl.federation.plan import Home

_END_SECONDS = 20.0


@dataclass(frozen=True)
class Part:
    """One program: "hub", or a node by its name."""

    name: str
    arguments: tuple[str, ...]
    state: Path


def parts(home: Home, nodes: tuple[str, ...]) -> list[Part]:
    """The hub first, then the nodes."""
    hub = Part("hub", ("hub", "up"), home.hub.state)
    return [hub, *(Part(name, ("node", "up"), home.node(name).state) for name in nodes)]


def start(home: Home, part: Part) -> None:
    """Start a program, if it does not run already."""
    if running(home, part.name) is not None:
        return
    log = home.log(part.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603  (our own program, by this interpreter)
            [sys.executable, "-m", "flame_fl.cli.main", *part.arguments],
            env={**os.environ, "FLAME_HOME": str(part.state.resolve())},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    home.pid_file(part.name).write_text(f"{process.pid} {_started(process.pid)}")


def running(home: Home, name: str) -> int | None:
    """The process of a part, if it is still the one that was started."""
    try:
        pid, started = home.pid_file(name).read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _started(int(pid)) == started else None


def end(home: Home, name: str) -> bool:
    """Ask a part to end, and wait; returns whether it ran.

    Raises:
        FlameError: It does not end.
    """
    pid = running(home, name)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + _END_SECONDS
        while running(home, name) is not None:
            if time.monotonic() > until:
                raise FlameError(f"{name} (process {pid}) does not end.", mend=f"See {home.log(name)}.")
            time.sleep(0.05)
    home.pid_file(name).unlink(missing_ok=True)
    return pid is not None


def _started(pid: int) -> str | None:
    """When the kernel started a process, in its own clock; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # it may be ours, and over
    return None if fields[0] == "Z" else fields[19]
