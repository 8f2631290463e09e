"""Processes of ServerApps, found again by what was written down."""

import sys
import time
from pathlib import Path

import pytest

from flame_fl.hub import launch
from flame_fl.hub.launch import RunningProcess, SubprocessLauncher
from flame_fl.hub.runs import RunFolder

SLEEP = (
    "import subprocess,sys,time; subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']); time.sleep(60)"
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path, 7)
    folder.make()
    return folder


def started(folder: RunFolder, monkeypatch, module: str, body: str) -> RunningProcess:
    """Starts `body` in place of the runner."""
    (folder.path / f"{module}.py").write_text(body)
    monkeypatch.setattr(launch, "_RUNNER", module)
    monkeypatch.setenv("PYTHONPATH", str(folder.path))
    return SubprocessLauncher().start(folder, "a/b")


def ended(process: RunningProcess) -> launch.Ended:
    end = time.monotonic() + 30
    while (found := process.poll()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_it_is_told_its_socket_and_its_folder(folder: RunFolder, monkeypatch) -> None:
    """And of the hub's environment only where Python is."""
    monkeypatch.setenv("HUB_SECRET", "x")
    process = started(folder, monkeypatch, "tells", "import sys, os; print(sys.argv[1:], sorted(os.environ))")
    assert ended(process).code == 0
    said = folder.log.read_text()
    told = ["--socket", folder.socket_folder / "r", "--out", folder.scratch / "out"]
    assert str([*map(str, told), "--checkpoint", str(folder.scratch / "checkpoint")]) in said
    assert "HUB_SECRET" not in said


def test_how_it_ended_is_said(folder: RunFolder, monkeypatch) -> None:
    """By its code, or by the signal that ended it."""
    assert ended(started(folder, monkeypatch, "three", "raise SystemExit(3)")).why == "it ended with code 3"
    killed = started(folder, monkeypatch, "killed", "import os; os.kill(os.getpid(), 9)")
    assert ended(killed).why == "it was ended by signal 9"


def test_it_is_found_again_and_ended_with_its_children(folder: RunFolder, monkeypatch) -> None:
    """By another agent, whose child it is not."""
    process = started(folder, monkeypatch, "sleeps", SLEEP)
    found = SubprocessLauncher().find(folder, process.handle)
    assert found is not None
    assert found.poll() is None
    found.end()
    assert ended(process).code == -9
    assert ended(found).code is None
    assert not folder.scratch.exists()
    assert SubprocessLauncher().find(folder, process.handle) is None


def test_a_pid_that_is_another_s_by_now_is_not_touched(folder: RunFolder, monkeypatch) -> None:
    """The start time tells them apart."""
    process = started(folder, monkeypatch, "sleeps", SLEEP)
    assert SubprocessLauncher().find(folder, {**process.handle, "started": "1"}) is None
    for handle in ({}, {"pid": "x"}, {"pid": process.handle["pid"]}, {"pid": 2**30, "started": "1"}):
        assert SubprocessLauncher().find(folder, handle) is None
    RunningProcess(folder, process.handle["pid"], "1", None).end()
    assert process.poll() is None
    process.end()


def test_the_runner_is_a_module_of_ours() -> None:
    """What is started is what is shipped."""
    assert (Path(sys.modules["flame_fl"].__file__ or "").parent / "flower" / "server_runner.py").is_file()
    assert launch._RUNNER == "flame_fl.flower.server_runner"
