"""The agent's decisions, with a SuperLink and ServerApps that a test plays."""

import itertools
import json
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.errors import InputError, UnreachableError
from flame_fl.contract.places import Places
from flame_fl.flower.server_tasks import ServerTask
from flame_fl.flower.server_wish import Wish, keep_wish
from flame_fl.flower.superlink_beside import RunSummary
from flame_fl.hub import agent as module
from flame_fl.hub.agent import Agent
from flame_fl.hub.config import HubFiles, load_config
from flame_fl.hub.init import init_hub
from flame_fl.hub.launch import Ended
from flame_fl.hub.runs import RunFolder, RunRecord, unfinished
from flame_fl.hub.waiting import mark_begun


@dataclass
class Queue:
    """The SuperLink's tasks."""

    waiting: list[ServerTask] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    away: bool = False

    def acquire(self) -> ServerTask | None:
        if self.away:
            raise UnreachableError("away")
        return self.waiting.pop(0) if self.waiting else None

    def is_alive(self, token: str) -> bool | None:
        return None if self.away else token in self.known

    def fail(self, token: str, details: str) -> bool:
        if not self.away:
            self.failed[token] = details
        return not self.away


@dataclass
class Running:
    """A ServerApp."""

    run_id: int
    ended: Ended | None = None
    killed: bool = False

    @property
    def handle(self) -> dict[str, Any]:
        return {"n": self.run_id}

    def poll(self) -> Ended | None:
        return self.ended

    def end(self) -> None:
        self.killed = True


@dataclass
class Launcher:
    """Starts them."""

    running: dict[int, Running] = field(default_factory=dict)
    refuses: bool = False
    swept: list[set[int]] = field(default_factory=list)

    def start(self, folder: RunFolder, app: str) -> Running:
        if self.refuses:
            raise InputError(f"no image for {app}.", mend="Ask.")
        assert (folder.socket_folder / "r").exists()  # its relay is there before it
        self.running[folder.run_id] = Running(folder.run_id)
        return self.running[folder.run_id]

    def find(self, folder: RunFolder, handle: dict[str, Any]) -> Running | None:
        return self.running.get(handle["n"])

    def sweep(self, keep: Any) -> int:
        self.swept.append(set(keep))
        return 0


class Reader:
    """The SuperLink's runs."""

    def __init__(self) -> None:
        self.finished: set[int] = set()

    def run(self, run_id: int) -> RunSummary | None:
        return RunSummary("a/b", "@flame/p", "account", run_id in self.finished)


class World:
    def __init__(self, root: Path) -> None:
        places = Places(root / "hub.toml", root)
        self.files: HubFiles = init_hub(places, ("localhost",), "127.0.0.1", 9)
        self.config = load_config(places)
        self.queue, self.launcher, self.reader = Queue(), Launcher(), Reader()
        self.said: list[str] = []
        self.agent = self.new_agent()

    def new_agent(self) -> Agent:
        return Agent(
            self.config,
            self.files,
            queue=self.queue,  # type: ignore[arg-type]
            reader=self.reader,  # type: ignore[arg-type]
            launcher=self.launcher,  # type: ignore[arg-type]
            say=self.said.append,
        )

    def add(self, run_id: int) -> str:
        """A researcher started a run."""
        token = f"token-{run_id}"
        self.queue.waiting.append(ServerTask(run_id + 1000, run_id, "f" * 64, token))
        self.queue.known.add(token)
        return token

    def record(self, run_id: int) -> RunRecord:
        record = RunFolder(self.files.runs, run_id).read()
        assert record is not None
        return record


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.agent.close()


def test_a_waiting_run_is_started_and_written_down(world: World) -> None:
    """Who finds the folder finds the process; the token is for its owner's eyes, and in no line of the log."""
    token = world.add(1)
    world.agent.tick()
    assert world.launcher.running[1].poll() is None
    record = world.record(1)
    assert (record.token, record.handle, record.task_id) == (token, {"n": 1}, 1001)
    file = world.files.runs / "1" / "task.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(token in line for line in world.said)
    assert token not in repr(record)


def test_no_more_run_at_once_than_the_hub_allows(world: World) -> None:
    """The others wait in Flower's queue."""
    for run_id in range(1, 8):
        world.add(run_id)
    for _ in range(10):
        world.agent.tick()
    assert set(world.launcher.running) == {1, 2, 3, 4}
    assert len(world.queue.waiting) == 3


def test_runs_that_wait_for_stewards_keep_nobody_out(world: World) -> None:
    """They compute nothing; the hub has a bound for them, too. One that has begun counts."""
    world.config = world.config.model_copy(
        update={"serverapp": world.config.serverapp.model_copy(update={"at_once": 2, "waiting_at_once": 2})}
    )
    world.agent = world.new_agent()
    for run_id in range(1, 9):
        keep_wish(world.files.runs / str(run_id), Wish(seconds=1000), time.time())
        world.add(run_id)
    for _ in range(10):
        world.agent.tick()
    assert set(world.launcher.running) == {1, 2, 3, 4}
    for run_id in (1, 2, 3):
        mark_begun(RunFolder(world.files.runs, run_id))
    world.agent.tick()
    assert set(world.launcher.running) == {1, 2, 3, 4}
    world.launcher.running[1].ended = world.launcher.running[2].ended = Ended(0, "it ended")
    for _ in range(3):
        world.agent.tick()
    assert set(world.launcher.running) == {1, 2, 3, 4, 5, 6}  # 3 computes, 4 to 6 wait, one of them counted


@pytest.mark.parametrize(("waits_until", "is_over"), [(None, True), (500.0, True), (950.0, False), (1e6, False)])
def test_waiting_is_not_computing(world: World, monkeypatch, waits_until: float | None, is_over: bool) -> None:
    """A run that has waited may take as long as one that has not."""
    world.config = world.config.model_copy(
        update={"serverapp": world.config.serverapp.model_copy(update={"max_seconds": 100})}
    )
    world.agent = world.new_agent()
    monkeypatch.setattr(module.time, "time", lambda: 0.0)
    token = world.add(1)
    world.agent.tick()
    if waits_until is not None:
        keep_wish(world.files.runs / "1", Wish(seconds=min(waits_until, 30e6)), 0.0)
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    world.agent.tick()
    assert (token in world.queue.failed) == is_over


def test_a_serverapp_that_ended_without_a_word_failed(world: World) -> None:
    """Its task ends at once, with the reason; what is left of it goes, and its token is forgotten."""
    token = world.add(1)
    world.agent.tick()
    world.launcher.running[1].ended = Ended(137, "it used too much memory")
    world.agent.tick()
    assert "it used too much memory" in world.queue.failed[token]
    assert world.launcher.running[1].killed
    assert (world.record(1).token, world.record(1).handle) == ("", None)


def test_one_that_told_the_superlink_did_not(world: World) -> None:
    """Its own word counts, not its exit code."""
    world.add(1)
    world.agent.tick()
    next(iter(world.agent._active.values())).over.set()  # as the relay does
    world.launcher.running[1].ended = Ended(1, "it ended with code 1")
    world.agent.tick()
    assert world.queue.failed == {}
    assert not world.record(1).token


def test_a_hub_that_is_away_is_told_later(world: World) -> None:
    """The failure is not lost."""
    token = world.add(1)
    world.agent.tick()
    world.launcher.running[1].ended = Ended(1, "it ended")
    world.queue.away = True
    world.agent.tick()
    assert world.record(1).token == token
    world.queue.away = False
    world.agent.tick()
    assert token in world.queue.failed


def test_a_run_that_cannot_be_started_fails_with_the_reason(world: World) -> None:
    """The researcher reads it; nothing stays active."""
    token = world.add(1)
    world.launcher.refuses = True
    world.agent.tick()
    assert world.queue.failed[token] == "no image for a/b. Ask."
    assert not (world.files.runs / "1" / "s" / "r").exists()
    assert not list(unfinished(world.files.runs))


def test_a_stopped_run_ends_with_its_container(world: World, monkeypatch) -> None:
    """It gets a moment for its last words."""
    clock = itertools.count(0.0, 15.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    world.add(1)
    world.agent.tick()
    world.reader.finished.add(1)  # `flwr stop`, and the app makes no call
    for _ in range(5):
        world.agent.tick()
    assert world.launcher.running[1].killed
    assert world.queue.failed == {}


def test_a_run_that_takes_too_long_is_ended(world: World, monkeypatch) -> None:
    """And said to have been."""
    clock = itertools.count(0.0, 15.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    token = world.add(1)
    world.agent.tick()
    monkeypatch.setattr(module.time, "time", lambda: 1e12)
    for _ in range(5):
        world.agent.tick()
    assert "longer than this hub allows" in world.queue.failed[token]
    assert world.launcher.running[1].killed


def test_the_next_agent_goes_on(world: World) -> None:
    """It finds what runs, serves its socket again, and removes no more than what is nobody's."""
    world.add(1)
    world.agent.tick()
    world.agent.close()
    assert not world.launcher.running[1].killed
    world.agent = world.new_agent()
    world.agent.adopt()
    assert (world.files.runs / "1" / "s" / "r").exists()
    assert world.launcher.swept == [{1}]
    world.launcher.running[1].ended = Ended(1, "it ended")
    world.agent.tick()
    assert world.record(1).token == ""


def test_what_the_superlink_gave_up_is_removed(world: World) -> None:
    """An orphan: it runs for nobody."""
    token = world.add(1)
    world.agent.tick()
    world.agent.close()
    world.queue.known.discard(token)
    world.agent = world.new_agent()
    world.agent.adopt()
    assert world.launcher.running[1].killed
    assert world.launcher.swept == [set()]
    assert world.record(1).token == ""


def test_what_is_gone_fails(world: World) -> None:
    """Started or not: there is nothing to go on with."""
    token = world.add(1)
    world.agent.tick()
    world.agent.close()
    world.launcher.running.clear()
    world.queue.known.add("token-2")
    folder = RunFolder(world.files.runs, 2)
    folder.make()
    folder.write(RunRecord(1, 2, "f", "token-2", 0.0))  # killed between claim and start
    world.agent = world.new_agent()
    world.agent.adopt()
    assert set(world.queue.failed) == {token, "token-2"}
    assert not list(unfinished(world.files.runs))


def test_a_run_that_is_offered_again_replaces_itself(world: World) -> None:
    """Its claim ran out before it began: two of it would use one folder."""
    world.add(1)
    world.agent.tick()
    first = world.launcher.running[1]
    world.queue.waiting.append(ServerTask(1001, 1, "f" * 64, "token-new"))
    world.agent.tick()
    assert first.killed
    assert not world.launcher.running[1].killed
    assert world.record(1).token == "token-new"


def test_a_record_that_cannot_be_read_is_passed_over(world: World) -> None:
    """As is whatever else lies there."""
    for name, content in (("5", "{"), ("6", '{"run_id": 6}'), ("x", "{}")):
        (world.files.runs / name).mkdir()
        (world.files.runs / name / "task.json").write_text(content)
    assert not list(unfinished(world.files.runs))


def keep_round(world: World, run_id: int) -> None:
    """The ServerApp's strategy completed a round."""
    slot = RunFolder(world.files.runs, run_id).checkpoint / "1" / "odd"
    slot.mkdir(parents=True)
    (slot / "state.json").write_text("{}")


def events(world: World, run_id: int) -> list[dict[str, Any]]:
    """What was told of a run."""
    return [json.loads(line) for line in RunFolder(world.files.runs, run_id).events.read_text().splitlines()]


def test_a_serverapp_that_died_goes_on_from_its_checkpoint(world: World) -> None:
    """Under the same run and token, a few times; then its run has failed."""
    token = world.add(1)
    world.agent.tick()
    keep_round(world, 1)
    for count in (1, 2, 3):
        before = world.launcher.running[1]
        before.ended = Ended(137, "it used too much memory")
        world.agent.tick()
        assert before.killed
        assert world.launcher.running[1] is not before
        assert world.launcher.running[1].poll() is None
        assert (world.record(1).token, world.record(1).restarts) == (token, count)
        assert world.queue.failed == {}
    assert [(e["kind"], e["why"], e["count"], e["most"]) for e in events(world, 1)] == [
        ("restart", "it used too much memory", count, 3) for count in (1, 2, 3)
    ]
    assert "starting its ServerApp again from its checkpoint (3 of 3 times)" in world.said[-1]
    world.launcher.running[1].ended = Ended(137, "it used too much memory")
    world.agent.tick()
    assert "it used too much memory" in world.queue.failed[token]
    assert not RunFolder(world.files.runs, 1).checkpoint.exists()


def test_one_that_died_with_the_hub_goes_on(world: World) -> None:
    """The next agent counts on, too."""
    token = world.add(1)
    world.agent.tick()
    keep_round(world, 1)
    for count in (1, 2, 3, 4):
        world.agent.close()
        world.launcher.running.clear()
        world.agent = world.new_agent()
        world.agent.adopt()
        assert (1 in world.launcher.running) == (count < 4)
    assert "lost when the hub restarted" in world.queue.failed[token]
    assert world.launcher.swept[-2:] == [{1}, set()]


def test_one_that_said_it_failed_is_not_started_again(world: World) -> None:
    """Its app raised; nor is one that was stopped while it was dead."""
    for run_id in (1, 2):
        world.add(run_id)
        world.agent.tick()
        keep_round(world, run_id)
    world.agent._active[1].over.set()
    world.reader.finished.add(2)
    for run_id in (1, 2):
        world.launcher.running[run_id].ended = Ended(1, "it ended with code 1")
    running = dict(world.launcher.running)
    world.agent.tick()
    assert world.launcher.running == running
    assert not (world.files.runs / "1" / "events.jsonl").exists()
    assert not list(unfinished(world.files.runs))


def test_one_that_cannot_be_started_again_fails(world: World) -> None:
    """With the reason."""
    token = world.add(1)
    world.agent.tick()
    keep_round(world, 1)
    world.launcher.running[1].ended = Ended(137, "it ended")
    world.launcher.refuses = True
    world.agent.tick()
    assert world.queue.failed[token] == "no image for a/b. Ask."
    assert not list(unfinished(world.files.runs))
