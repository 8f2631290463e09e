"""The nursery: workers are forks of one warm process, each with a place of its own, and a dead nursery is replaced."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flame_fl.sandbox.nursery import Nursery, Worker

# A runner that says where it is, then waits until its input closes.
RUNNER = """
import json, os, sys, threading
said = {
    "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "folder": os.getcwd(), "path": sys.path[0],
    "argv": sys.argv, "own": os.environ.get("OWN"), "shared": os.environ.get("SHARED"), "loaded": list(sys.modules),
    "descriptors": sorted(int(d) for d in os.listdir("/proc/self/fd")), "threads": threading.active_count(),
    "secret": os.environ.get("FLAME_TEST_SECRET"),
}
os.write(1, json.dumps(said).encode() + b"\\n")
os.read(0, 1)
"""

Start = Callable[..., tuple[Worker, dict[str, object], int]]


@pytest.fixture
def nursery() -> Nursery:
    return Nursery({"SHARED": "yes", "PATH": os.environ["PATH"]}, preload=("colorsys", "no_such_module_anywhere"))


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker with `RUNNER`; returns it, what it said, and the descriptor that keeps it alive."""
    workers: list[Worker] = []
    ends: list[int] = []

    def begin(name: str = "place") -> tuple[Worker, dict[str, object], int]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "a_runner.py").write_text(RUNNER)
        told, tell = os.pipe(), os.pipe()
        try:
            with (folder / "log").open("ab") as log:
                worker = nursery.start("a_runner", folder, {"OWN": name}, (told[0], tell[1], log.fileno()))
        finally:
            os.close(told[0])
            os.close(tell[1])
        ends.extend([told[1], tell[0]])
        workers.append(worker)
        with os.fdopen(os.dup(tell[0]), "rb") as stream:
            return worker, json.loads(stream.readline()), told[1]

    yield begin
    for worker in workers:
        worker.end()
    for end in ends:
        os.close(end)


def test_a_worker_has_a_place_of_its_own(start: Start, tmp_path: Path) -> None:
    """Folder, import path, arguments, environment and process group are the worker's; the group is not the gate's."""
    worker, said, _ = start("one")
    assert said["folder"] == said["path"] == str(tmp_path / "one")
    assert said["argv"] == [str(tmp_path / "one" / "a_runner.py")]
    assert (said["own"], said["shared"]) == ("one", "yes")
    assert said["pid"] == said["group"] == worker.pid != os.getpgid(0)


def test_a_worker_sees_nothing_of_the_gate_s_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the gate's that was not handed in does not reach the worker."""
    monkeypatch.setenv("FLAME_TEST_SECRET", "s3cret")
    assert start()[1]["secret"] is None


def test_a_worker_holds_no_descriptor_but_its_three(start: Start) -> None:
    """Not the nursery's control socket, nor another worker's pipes. (The fourth is the listing's own.)"""
    start("first")
    assert start("second")[1]["descriptors"] == [0, 1, 2, 3]


def test_imports_are_shared_and_a_missing_one_is_passed_over(start: Start) -> None:
    """Two workers are children of one process that has imported the preloaded module."""
    (_, first, _), (_, second, _) = start("first"), start("second")
    assert first["parent"] == second["parent"] != os.getpid()
    assert "colorsys" in first["loaded"]
    assert "no_such_module_anywhere" not in first["loaded"]


def test_forking_is_safe_because_the_nursery_has_one_thread(start: Start) -> None:
    """A lock that another thread held at the fork would stay locked in the child for ever."""
    said = start()[1]
    assert len(list(Path(f"/proc/{said['parent']}/task").iterdir())) == 1


def test_a_number_is_not_used_again_before_the_worker_was_ended(start: Start) -> None:
    """A worker that exited keeps its number as a zombie until the gate ends it: no stranger can be hit."""
    worker, said, alive = start()
    os.write(alive, b"x")
    assert not worker.running(10.0)
    assert Path(f"/proc/{said['pid']}/stat").read_text().split()[2] == "Z"
    worker.end()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{said['pid']}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{said['pid']}").exists()


def test_a_nursery_that_was_killed_is_replaced(start: Start, nursery: Nursery) -> None:
    """A start that finds it dead fails at once; the next one has a new nursery."""
    said = start("first")[1]
    nursery_pid = int(str(said["parent"]))
    gone = os.pidfd_open(nursery_pid)
    os.kill(nursery_pid, signal.SIGKILL)
    select.select([gone], [], [])
    os.close(gone)
    with pytest.raises((BrokenPipeError, ConnectionResetError, ChildProcessError)):
        start("while dead")
    assert start("later")[1]["parent"] != said["parent"]


def test_ending_twice_does_nothing(start: Start) -> None:
    """The second call neither raises nor signals anybody."""
    worker, _, _ = start()
    worker.end()
    worker.end()
    assert not worker.running()
