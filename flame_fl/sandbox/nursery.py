"""Workers as forks of one warm process, so that what every worker imports is imported once.

The other end is `flame_fl.flower.nursery`. It imports the runner's own libraries and those named here (torch takes two
seconds), never a line of the app, and forks a child for each worker. Rules this module follows:

- A worker's process number is its own until it was reaped, and it is reaped only when the gate asks for it: a signal
  cannot hit a stranger.
- A nursery that died is replaced by the next start; workers do not outlive it.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_MODULE = "flame_fl.flower.nursery"
_ANSWER_SECONDS = 120.0  # the first answer waits for the imports


class Nursery:
    """Starts workers. Any thread may call; the process is started with the first worker.

    Args:
        environment: What every worker finds in its environment beside its own entries.
        preload: Modules to import before the first fork; those that are not installed are passed over.
    """

    def __init__(self, environment: Mapping[str, str], preload: Sequence[str] = ()) -> None:
        self._environment, self._preload = dict(environment), tuple(preload)
        self._lock = threading.Lock()
        self._control: socket.socket | None = None

    def warm_up(self) -> None:
        """Begin with the imports, without waiting for them.

        Raises:
            OSError: The process cannot be started.
        """
        with self._lock:
            self._open()

    def start(
        self, runner: str, folder: Path, environment: Mapping[str, str], descriptors: tuple[int, int, int]
    ) -> "Worker":
        """Fork a worker: `python -m runner` in `folder`, with these as its standard input, output and error.

        Raises:
            OSError: The nursery does not answer, or cannot fork.
        """
        wish = {"runner": runner, "folder": str(folder), "environment": dict(environment)}
        with self._lock:
            control = self._open()
            try:
                socket.send_fds(control, [json.dumps(wish).encode()], descriptors)
                pid = int(control.recv(32) or b"0")
                if pid <= 0:
                    raise ChildProcessError("no worker was forked")
                return Worker(pid, self)
            except OSError:
                self._control = None
                control.close()
                raise

    def reap(self, pid: int) -> None:
        """A worker is over and was waited for: its number may be used again."""
        with self._lock, suppress(OSError):
            if self._control is not None:
                self._control.send(json.dumps({"reap": pid}).encode())

    def _open(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(  # noqa: S603  (our own module, by this interpreter)
                    [sys.executable, "-m", _MODULE, str(theirs.fileno()), *self._preload],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=self._environment,
                    start_new_session=True,
                )
            ours.settimeout(_ANSWER_SECONDS)
            self._control = ours
            weakref.finalize(self, _end, ours, process)
        return self._control


class Worker:
    """One forked process, the leader of its own process group."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self._pid, self._nursery = pid, nursery
        self._descriptor = os.pidfd_open(pid)
        self._over = False

    @property
    def pid(self) -> int:
        """Its process number, until `end`."""
        return self._pid

    def running(self, wait_seconds: float = 0.0) -> bool:
        """Whether it has not exited, looked at for at most so long."""
        if self._over:
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return not poll.poll(wait_seconds * 1000)

    def pause(self) -> None:
        """Stop its process group. Never raises."""
        self._tell(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again. Never raises."""
        self._tell(signal.SIGCONT)

    def _tell(self, word: signal.Signals) -> None:
        if not self._over:
            with suppress(OSError):
                os.killpg(self._pid, word)

    def end(self) -> None:
        """Kill it with its process group, and wait for it. Never raises."""
        if self._over:
            return
        with suppress(OSError):  # the process itself too: it may not have founded its group yet
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        with suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        self.running(10.0)
        self._over = True
        os.close(self._descriptor)
        self._nursery.reap(self._pid)


def _end(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    """Closing its end is what ends a nursery, and with it its workers."""
    control.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
        return
    process.kill()
    process.wait()
