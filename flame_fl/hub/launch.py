"""Starts a ServerApp's process or container, and finds it again after the agent was restarted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flame_fl.data.files import remove_tree
from flame_fl.hub.runs import SOCKET, RunFolder

_RUNNER = "flame_fl.flower.server_runner"


@dataclass(frozen=True)
class Ended:
    """How it ended. `code` is None if that is not known."""

    code: int | None
    why: str


class Launched(Protocol):
    """A running ServerApp."""

    @property
    def handle(self) -> Mapping[str, Any]:
        """What finds it again."""

    def poll(self) -> Ended | None:
        """How it ended, None while it runs."""

    def end(self) -> None:
        """Kill it with all it started, and remove what is left of it. Never raises."""


class Launcher(Protocol):
    """Where ServerApps run."""

    def start(self, folder: RunFolder, app: str) -> Launched:
        """Start the runner for the run of this folder, whose relay is serving.

        Raises:
            FlameError: It cannot be started; the message is for its researcher.
        """

    def find(self, folder: RunFolder, handle: Mapping[str, Any]) -> Launched | None:
        """One that was started earlier and runs, or has ended but is there."""

    def sweep(self, keep: Collection[int]) -> int:
        """Remove what belongs to no run of `keep`; returns how many."""


class SubprocessLauncher:
    """A plain process: confines nothing. For tests, and machines without Docker."""

    def start(self, folder: RunFolder, app: str) -> "RunningProcess":
        """Start it in a session of its own, so that it outlives an agent that dies."""
        del app
        remove_tree(folder.scratch)  # of one before it, that died with its hub
        folder.scratch.mkdir(mode=0o700, exist_ok=True)
        command = [
            sys.executable, "-m", _RUNNER,
            "--socket", str(folder.socket_folder / SOCKET), "--out", str(folder.scratch / "out"),
            "--checkpoint", str(folder.scratch / "checkpoint"),
        ]  # fmt: skip
        with folder.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder.scratch,
                env=_environment(folder.scratch),
                start_new_session=True,
            )
        return RunningProcess(folder, process.pid, _started_at(process.pid), process)

    def find(self, folder: RunFolder, handle: Mapping[str, Any]) -> "RunningProcess | None":
        """By its pid and the time at which it started: a pid alone may be another's by now."""
        pid, started = handle.get("pid"), handle.get("started")
        if not isinstance(pid, int) or started is None or _started_at(pid) != started:
            return None
        return RunningProcess(folder, pid, started, None)

    def sweep(self, keep: Collection[int]) -> int:
        """Nothing is found without its run's record."""
        del keep
        return 0


class RunningProcess:
    """A process, a child of this one or of an agent before it."""

    def __init__(
        self, folder: RunFolder, pid: int, started: str | None, child: "subprocess.Popen[bytes] | None"
    ) -> None:
        self._folder, self._pid, self._started, self._child = folder, pid, started, child

    @property
    def handle(self) -> Mapping[str, Any]:
        """Pid and start time."""
        return {"pid": self._pid, "started": self._started}

    def poll(self) -> Ended | None:
        """How it ended."""
        if self._child is not None:
            code = self._child.poll()
            return None if code is None else Ended(code, _in_words(code))
        return None if _started_at(self._pid) == self._started else Ended(None, "it ended")

    def end(self) -> None:
        """Kill its whole process group."""
        if self._child is not None or _started_at(self._pid) == self._started:
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=5)
        else:
            time.sleep(0.05)
        remove_tree(self._folder.scratch)


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing of the hub's own but where Python is."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if name in os.environ}
    return kept | {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "FLWR_HOME": str(scratch / "flwr"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
    }


def _started_at(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if there is none, or if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _in_words(code: int) -> str:
    if code < 0:
        return f"it was ended by signal {-code}"
    return f"it ended with code {code}"
