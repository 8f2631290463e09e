"""A session that is paused does nothing: while one block of patients works, no other one may."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from flame_fl.contract.errors import SandboxError
from flame_fl.contract.frames import FrameType
from flame_fl.contract.ports import SandboxSpec
from flame_fl.sandbox.docker import ContainerProcess
from flame_fl.sandbox.in_process import InProcessSandbox
from flame_fl.sandbox.session import FrameSession
from flame_fl.sandbox.subprocess import SubprocessSandbox
from tests.unit.sandbox.conftest import WARM_SECONDS, SpecOf, docker_sandbox, envelope, readable_folder

# A thread that goes on between messages, and a message that asks how far it got.
TICKS = """
import threading, time
ticks = [0]
def count():
    while True:
        ticks[0] += 1
        time.sleep(0.002)
threading.Thread(target=count, daemon=True).start()
@app.train()
def train(message, context):
    return reply(message, m=MetricRecord({"ticks": ticks[0]}))
"""
STILL_SECONDS = 0.3
PER_SECOND = 500.0


def ticks(session: Any) -> int:
    return int(session.handle(envelope(), WARM_SECONDS, 1 << 20).metrics["m"]["ticks"])


def assert_still_while_paused(session: Any) -> None:
    """What a thread of the app did in the meantime is far less than the time there was."""
    before = ticks(session)
    session.pause()
    time.sleep(STILL_SECONDS)
    session.resume()
    assert ticks(session) - before < 0.5 * STILL_SECONDS * PER_SECOND
    time.sleep(STILL_SECONDS)
    assert ticks(session) > before + 5  # it goes on afterwards, so the above was no dead thread


class TestWorker:
    def test_nothing_runs_while_paused_and_all_goes_on_afterwards(
        self, sandbox: SubprocessSandbox, spec_of: SpecOf
    ) -> None:
        session = sandbox.start(spec_of(TICKS))
        try:
            assert_still_while_paused(session)
        finally:
            session.close()

    def test_all_its_processes_are_paused(self, sandbox: SubprocessSandbox, spec_of: SpecOf) -> None:
        """A child that the app started too, in the same group."""
        body = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
@app.train()
def train(message, context):
    return reply(message, m=MetricRecord({"pid": child.pid}))
"""
        session = sandbox.start(spec_of(body))
        try:
            pid = int(session.handle(envelope(), WARM_SECONDS, 1 << 20).metrics["m"]["pid"])  # type: ignore[arg-type]
            session.pause()
            assert wait_for_state(pid, "T") == "T"
            session.resume()
            assert wait_for_state(pid, "SR") in "SR"
        finally:
            session.close()

    def test_a_paused_session_is_alive_and_can_be_closed(self, sandbox: SubprocessSandbox, spec_of: SpecOf) -> None:
        session = sandbox.start(spec_of(TICKS))
        ticks(session)
        session.pause()
        assert session.alive
        begun = time.monotonic()
        session.close()
        assert time.monotonic() - begun < 8
        assert not session.alive

    def test_pausing_twice_or_what_is_over_does_nothing(self, sandbox: SubprocessSandbox, spec_of: SpecOf) -> None:
        session = sandbox.start(spec_of(TICKS))
        session.resume()
        ticks(session)
        session.pause()
        session.pause()
        session.resume()
        assert ticks(session) > 0
        session.close()
        for _ in range(2):
            session.pause()
            session.resume()

    def test_what_died_while_paused_is_no_error(self, sandbox: SubprocessSandbox, spec_of: SpecOf) -> None:
        body = TICKS + "\nimport os\n@app.evaluate()\ndef evaluate(message, context):\n    os._exit(3)\n"
        session = sandbox.start(spec_of(body))
        ticks(session)
        with pytest.raises(SandboxError):
            session.handle(envelope(kind="evaluate"), WARM_SECONDS, 1 << 20)
        session.pause()
        session.resume()
        assert not session.alive


def wait_for_state(pid: int, wanted: str) -> str:
    until = time.monotonic() + 5
    state = ""
    while time.monotonic() < until:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in wanted:
            break
        time.sleep(0.01)
    return state


def test_in_process_there_is_nothing_to_pause(spec_of: Callable[..., SandboxSpec]) -> None:
    """An app is called, and returns; it says so by doing nothing. (Not for anybody else's code.)"""
    session = InProcessSandbox(lambda spec: None).start(spec_of(""))  # type: ignore[arg-type, return-value]
    session.pause()
    session.resume()
    assert session.alive


class Fake:
    """A process and a pipe that note what happens to them."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def running(self, wait_seconds: float = 0.0) -> bool:
        return "end" not in self.heard

    def pause(self) -> None:
        self.heard.append("pause")

    def resume(self) -> None:
        self.heard.append("resume")

    def end(self) -> None:
        self.heard.append("end")

    def exchange(self, kind: FrameType, *arguments: object) -> Any:
        raise SandboxError("it died")

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        self.heard.append("pipe closed")


def test_nobody_is_signalled_after_the_end() -> None:
    """The number of a process that was reaped may be a stranger's by then."""
    fake = Fake()
    session = FrameSession(fake, fake, {}, lambda: None)
    session.pause()
    session.resume()
    with pytest.raises(SandboxError):
        session.handle(envelope(), 1.0, 1 << 20)
    session.pause()
    session.resume()
    session.close()
    assert fake.heard == ["pause", "resume", "end", "pipe closed"]


class Container:
    """An engine's container, and what was asked of it."""

    def __init__(self, *, broken: bool = False) -> None:
        self.asked: list[str] = []
        self.broken = broken
        self.attrs = {"State": {"Status": "running"}}

    def __getattr__(self, name: str) -> Any:
        def ask(**how: object) -> None:
            self.asked.append(name)
            if self.broken:
                raise docker.errors.APIError("the engine is being restarted")

        return ask


class Stream:
    open = True

    def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


def process_of(container: Container, left: list[Any]) -> ContainerProcess:
    return ContainerProcess(container, Stream(), Path(os.devnull), left)  # type: ignore[arg-type]


class TestContainer:
    def test_it_is_paused_and_let_go_on_by_the_engine(self) -> None:
        container = Container()
        process = process_of(container, [])
        process.resume()
        process.pause()
        process.resume()
        assert container.asked == ["pause", "unpause"]

    def test_a_frozen_one_is_removed_frozen(self) -> None:
        """It must not run in another block's turn."""
        container = Container()
        process = process_of(container, [])
        process.pause()
        process.end()
        assert container.asked == ["pause", "reload", "remove"]

    def test_an_engine_that_does_not_answer_raises_nothing(self) -> None:
        left: list[Any] = []
        process = process_of(Container(broken=True), left)
        process.pause()
        process.resume()
        process.end()
        assert len(left) == 1

    @pytest.mark.docker
    @pytest.mark.slow
    def test_nothing_runs_in_a_real_one(self, tmp_path: Path, spec_of: SpecOf) -> None:
        from dataclasses import replace

        spec = spec_of(TICKS)
        spec = replace(spec, data=dict.fromkeys(spec.data, readable_folder(tmp_path / "cohort")))
        session = docker_sandbox(tmp_path).start(spec)
        try:
            assert_still_while_paused(session)
            session.pause()
        finally:
            session.close()
        assert not session.alive
