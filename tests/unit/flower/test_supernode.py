"""How the stock SuperNode is started: what it is told, what it is not, and that it ends with its parent."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flame_fl.flower.supernode import ShorterSleeps, supernode_command, supernode_environment
from tests.integration.runs import is_running

COMMAND = supernode_command(
    hub="hub.example.org:8000", ca=Path("/s/ca.crt"), key=Path("/s/flower"), secret=Path("/s/secret"),
    host="127.0.0.1", port=9094, poll_seconds=0.5, parent=4711,
)  # fmt: skip


def option(name: str) -> str:
    return COMMAND[COMMAND.index(name) + 1]


def test_it_only_hands_tasks_to_who_knows_the_secret() -> None:
    """Process isolation: it starts no app itself. The secret and the key are files, never arguments."""
    assert option("--isolation") == "process"
    assert option("--superexec-auth-secret-file") == "/s/secret"
    assert option("--auth-supernode-private-key") == "/s/flower"


def test_it_knows_the_hub_by_its_authority() -> None:
    assert (option("--superlink"), option("--root-certificates")) == ("hub.example.org:8000", "/s/ca.crt")
    assert "--insecure" not in COMMAND


def test_it_listens_where_the_settings_say_and_ends_with_its_parent() -> None:
    assert (option("--host"), option("--port")) == ("127.0.0.1", "9094")
    assert COMMAND[1:4] == ["-m", "flame_fl.flower.supernode", "4711"]


def test_flower_knows_every_option() -> None:
    """An option that it dropped would end it at once, or worse, be ignored."""
    from flwr.supernode.cli import flower_supernode

    module = sys.modules[flower_supernode.__module__]
    parser = module._parse_args_run_supernode()
    known = {name for action in parser._actions for name in action.option_strings}
    assert {word for word in COMMAND if word.startswith("--")} <= known


def test_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named variables only; no telemetry, no update check, no installation of an app's packages."""
    monkeypatch.setenv("HTTP_TOKEN", "x")
    monkeypatch.setenv("FLWR_HOME", "/somebody's")
    monkeypatch.setenv("LANG", "C.UTF-8")
    found = supernode_environment(tmp_path)
    assert "HTTP_TOKEN" not in found
    assert (found["FLWR_HOME"], found["HOME"], found["LANG"]) == (str(tmp_path), str(tmp_path), "C.UTF-8")
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert found["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert found["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"


CHILD = """
import os, sys, time
from flame_fl.flower.supernode import end_with_parent
end_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid())])
time.sleep(60)
"""


def test_it_ends_when_its_parent_is_killed() -> None:
    """kill -9 of the gate leaves no SuperNode that holds messages which nobody answers."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(child)
    parent.stdout.close()


def test_it_does_not_start_for_a_parent_that_died_before() -> None:
    """The kernel was asked too late: it looks itself."""
    done = subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(("asked", "slept"), [(3.0, 0.3), (1.0, 0.3), (0.5, 0.05), (0.01, 0.01)])
def test_it_sleeps_less_than_flower_does(monkeypatch: pytest.MonkeyPatch, asked: float, slept: float) -> None:
    """Between two questions to the hub as the settings say; for the gate beside it, a twentieth of a second."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    shorter = ShorterSleeps(0.3)
    shorter.sleep(asked)
    assert naps == [slept]
    assert shorter.monotonic is time.monotonic


def test_flowers_loop_looks_the_time_up_where_we_put_ours() -> None:
    """If Flower imports `sleep` itself some day, shorter sleeps would silently be none."""
    from flwr.supernode import start_client_internal

    source = Path(start_client_internal.__file__).read_text()
    assert "import time\n" in source
    assert "time.sleep(" in source
