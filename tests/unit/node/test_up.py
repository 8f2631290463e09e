"""`flame node up` and `down`: one gate per state, a SuperNode that is kept running, lines that people read."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.contract.places import Places
from flame_fl.gate.workflow import Event
from flame_fl.node import up as module
from flame_fl.node.up import SuperNode, down, one_gate, running_gate, told, up
from flame_fl.node.wiring import Node, open_node
from tests.unit.node.conftest import change

HOLDER = """
import os, signal, sys, time
from pathlib import Path
from flame_fl.contract.places import Places
from flame_fl.node.up import one_gate
from flame_fl.node.wiring import open_node
home = Path(sys.argv[1])
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with one_gate(open_node(Places(home / "node.toml", home))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(node: Node):  # type: ignore[no-untyped-def]
    """Another process that holds the gate's lock."""
    started: list[subprocess.Popen[str]] = []

    def hold(kind: str = "plain") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(node.files.state), kind], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_one_gate_per_state(node: Node, holder) -> None:  # type: ignore[no-untyped-def]
    """The second is refused and told how to end the first; the first's number is known."""
    assert running_gate(node) is None
    process = holder()
    assert running_gate(node) == process.pid
    with pytest.raises(InputError, match="runs already") as err, one_gate(node):
        pytest.fail("two gates")
    assert "flame node down" in err.value.mend
    assert running_gate(node) == process.pid  # the one that was refused did not write over it


def test_a_killed_gate_holds_no_lock(node: Node, holder) -> None:  # type: ignore[no-untyped-def]
    """kill -9: the kernel lets go of it; the number that is left in the file is nobody's."""
    process = holder()
    process.kill()
    process.wait()
    assert running_gate(node) is None
    assert down(node) is False
    with one_gate(node):
        assert running_gate(node) == os.getpid()
    assert running_gate(node) is None


def test_down_ends_the_gate(node: Node, holder) -> None:  # type: ignore[no-untyped-def]
    process = holder()
    threading.Thread(target=process.wait).start()  # somebody must count it, as a terminal does
    assert down(node) is True
    assert process.wait() == -signal.SIGTERM
    assert down(node) is False


def test_a_gate_that_does_not_end_is_named(node: Node, holder, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """It is not killed behind the administrator's back."""
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.3)
    process = holder("deaf")
    with pytest.raises(FlameError, match=f"process {process.pid}"):
        down(node)
    assert process.poll() is None


@pytest.mark.parametrize("text", ["", "no number", "0"])
def test_a_lock_file_with_anything_in_it(node: Node, text: str) -> None:
    node.files.lock.write_text(text)
    assert running_gate(node) is None


def kept(
    node: Node, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> tuple[SuperNode, list[str], threading.Event]:
    monkeypatch.setattr(module, "supernode_command", lambda **_: command)
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.01)
    said: list[str] = []
    stop = threading.Event()
    return SuperNode(node, said.append, stop), said, stop


def test_a_supernode_that_ends_is_started_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every time, later each time; its exit code and its log are named."""
    keeper, said, stop = kept(node, monkeypatch, [sys.executable, "-c", "print('its words'); raise SystemExit(3)"])
    thread = threading.Thread(target=keeper.run)
    thread.start()
    until = time.monotonic() + 30
    while len(said) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert "exit code 3" in said[0]
    assert str(node.files.logs / "supernode.log") in said[0]
    pauses = [float(line.rpartition(" in ")[2].split()[0]) for line in said[:3]]
    assert pauses == sorted(pauses)
    assert pauses[2] > pauses[0]
    assert (node.files.logs / "supernode.log").read_text().count("its words") >= 3


def test_stop_ends_a_supernode_that_runs(node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Asked first; waited for."""
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    keeper, said, stop = kept(node, monkeypatch, [sys.executable, "-c", code])
    thread = threading.Thread(target=keeper.run)
    thread.start()
    until = time.monotonic() + 30
    while not (mark.exists() and mark.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert said == []
    assert not Path(f"/proc/{mark.read_text()}").exists()


def test_its_environment_is_not_ours(node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the administrator's shell but a few named variables; no call home."""
    monkeypatch.setenv("A_PASSWORD", "x")
    mark = tmp_path / "environment"
    code = f"import os; open({str(mark)!r}, 'w').write(repr(dict(os.environ)))"
    keeper, _, stop = kept(node, monkeypatch, [sys.executable, "-c", code])
    assert keeper._once() == 0
    stop.set()
    found = eval(mark.read_text())
    assert "A_PASSWORD" not in found
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert found["HOME"] == found["FLWR_HOME"] == str(node.files.state / "flower")


def test_an_untested_flower_starts_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is looked at first: no lock, no process."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.43.0")
    with pytest.raises(InputError, match=r"Flower 1\.43\.0 is installed"):
        up(node, lambda line: None)
    assert not node.files.lock.exists()


def test_without_an_engine_nothing_is_started(node: Node, places: Places, tmp_path: Path) -> None:
    """Unreachable, exit code 6; the lock is free again."""
    node.data.registry.remove("cohort")
    change(places, 'kind = "subprocess"', 'kind = "docker"')
    change(places, 'engine = ""', f'engine = "unix://{tmp_path}/no.sock"')
    docker = open_node(places)
    with pytest.raises(UnreachableError, match=r"no\.sock does not answer"):
        up(docker, lambda line: None)
    assert running_gate(docker) is None


def test_a_chain_that_does_not_hold_starts_nothing(node: Node) -> None:
    """The gate looks at its own evidence first."""
    import sqlite3

    from flame_fl.contract.errors import VerificationError

    with sqlite3.connect(node.files.database) as database:
        database.execute("UPDATE audit SET entry=replace(entry, 'DIZ-1', 'DIZ-9')")
    with pytest.raises(VerificationError):
        up(node, lambda line: None)
    assert running_gate(node) is None


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Event("DIZ-1", "released", 7, message_type="train", bytes_out=2_500_000, seconds=1.234),
            "run 7 train: released 2.50 MB in 1.23 s",
        ),
        (
            Event("DIZ-1", "resent", 7, message_type="train", bytes_out=100, seconds=0.001),
            "run 7 train: resent 100 bytes in 0.00 s",
        ),
        (
            Event("DIZ-1", "refused", 7, message_type="train", code=902, detail="first sight"),
            "run 7 train: refused 902 (first sight)",
        ),
        (
            Event("DIZ-1", "released", 7, message_type="train", detail="it raised", bytes_out=5),
            "run 7 train: released 5 bytes in 0.00 s; zero vector because: it raised",
        ),
    ],
)
def test_what_a_person_reads(event: Event, line: str) -> None:
    assert told(event) == line
