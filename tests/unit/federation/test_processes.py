"""The programs of a federation: started apart from the terminal, found by number and start time, ended by asking."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flame_fl.contract.errors import FlameError
from flame_fl.federation import processes as module
from flame_fl.federation.plan import Home
from flame_fl.federation.processes import Part, end, parts, running, start


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    for file in (tmp_path / "home").glob("logs/*.pid"):
        if (pid := running(home, file.stem)) is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def sleeper(monkeypatch: pytest.MonkeyPatch, code: str = "import time; time.sleep(60)") -> None:
    """Every part is this program, in the place of `flame`."""
    real = subprocess.Popen

    def other(command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", code, *command[3:]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(module.subprocess, "Popen", other)


def wait_for_log(home: Home, part: str, word: str) -> None:
    until = time.monotonic() + 30
    while word not in home.log(part).read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert word in home.log(part).read_text()


def test_the_hub_comes_first(tmp_path: Path) -> None:
    """It is what nodes connect to; it is ended last."""
    home = Home(tmp_path)
    found = parts(home, ("DIZ-1", "DIZ-2"))
    assert [(p.name, p.arguments, p.state) for p in found] == [
        ("hub", ("hub", "up"), home.hub.state),
        ("DIZ-1", ("node", "up"), home.node("DIZ-1").state),
        ("DIZ-2", ("node", "up"), home.node("DIZ-2").state),
    ]


def test_started_found_and_ended(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper(monkeypatch)
    part = parts(home, ("DIZ-1",))[1]
    assert running(home, "DIZ-1") is None
    start(home, part)
    pid = running(home, "DIZ-1")
    assert pid is not None
    assert os.getsid(pid) == pid  # Ctrl-C in the terminal does not reach it
    start(home, part)
    assert running(home, "DIZ-1") == pid  # not a second time
    assert end(home, "DIZ-1") is True
    assert not Path(f"/proc/{pid}").exists()
    assert end(home, "DIZ-1") is False
    assert not home.pid_file("DIZ-1").exists()


def test_each_has_its_own_home_and_log(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLAME_HOME is the part's, whatever the user's is; what it prints is appended."""
    monkeypatch.setenv("FLAME_HOME", "/somebody's")
    sleeper(monkeypatch, "import os, sys; print(os.environ['FLAME_HOME'], sys.argv[1:], flush=True)")
    for _ in range(2):
        start(home, Part("DIZ-1", ("node", "up"), home.node("DIZ-1").state))
        until = time.monotonic() + 30
        while running(home, "DIZ-1") is not None and time.monotonic() < until:
            time.sleep(0.01)
    wait_for_log(home, "DIZ-1", "node")
    assert home.log("DIZ-1").read_text() == f"{home.node('DIZ-1').state.resolve()} ['node', 'up']\n" * 2


def test_a_number_that_was_used_again_is_not_ours(home: Home) -> None:
    """Some other process has it now: it is neither running nor ended."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        home.pid_file("hub").parent.mkdir(parents=True)
        home.pid_file("hub").write_text(f"{stranger.pid} 12345")
        assert running(home, "hub") is None
        assert end(home, "hub") is False
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "x", "1", "1 2 3", "-1 x", "99999999 1"])
def test_a_pid_file_with_anything_in_it(home: Home, text: str) -> None:
    home.pid_file("hub").parent.mkdir(parents=True)
    home.pid_file("hub").write_text(text)
    assert running(home, "hub") is None


def test_one_that_died_is_not_running(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9; also while nobody has counted it yet."""
    sleeper(monkeypatch)
    start(home, parts(home, ())[0])
    pid = running(home, "hub")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while running(home, "hub") is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert running(home, "hub") is None


def test_one_that_does_not_end_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its number and its log; it is not killed."""
    monkeypatch.setattr(module, "_END_SECONDS", 0.3)
    sleeper(
        monkeypatch, "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    start(home, parts(home, ())[0])
    wait_for_log(home, "hub", "deaf")
    with pytest.raises(FlameError, match="does not end") as err:
        end(home, "hub")
    assert str(home.log("hub")) in err.value.mend
    assert running(home, "hub") is not None
