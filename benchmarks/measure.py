"""Time and memory of a command, its child processes included, whoever their parent is by now.

Every process that a measured command starts inherits a mark in its environment; daemons that leave the process tree are
found by it. Memory is the sum of the proportional set sizes (PSS: shared pages are divided among those who share them).
"""

import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MARK = "FLAME_BENCHMARK"
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Finished:
    """What a command took and said."""

    seconds: float
    peak_bytes: int
    output: str


def run(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], mark: str | None = None, memory: bool = False
) -> Finished:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        cwd: Where.
        environment: In addition to this process's.
        mark: Of the processes to count; a new one if not given.
        memory: Sample memory, which costs time: a run gives either good seconds or good bytes.

    Raises:
        RuntimeError: It failed; its output is in the message.
    """
    mark = mark or new_mark()
    stop, peak = threading.Event(), [0]

    def sample() -> None:
        while not stop.wait(_SAMPLE_SECONDS):
            peak[0] = max(peak[0], sum(_pss(pid) for pid in marked(mark)))

    sampler = threading.Thread(target=sample)
    if memory:
        sampler.start()
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment, _MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    stop.set()
    if memory:
        sampler.join()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return Finished(seconds, peak[0], done.stdout)


def new_mark() -> str:
    """A mark that no other process has."""
    return secrets.token_hex(16)


def marked(mark: str) -> Iterator[int]:
    """Numbers of the processes that carry a mark."""
    wanted = f"{_MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def end(mark: str) -> None:
    """End every process that carries a mark, and wait until they are gone."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(mark):
            with suppress(OSError):
                os.kill(pid, kind)
        deadline = time.monotonic() + 10
        while any(True for _ in marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _pss(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
