"""The gate's loop: one message after the other, and it goes on whatever happens to one of them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from flame_fl.contract.errors import SandboxError, UnreachableError
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.flower.runtime import ClaimLostError
from flame_fl.gate.workflow import StoppedError
from flame_fl.node import agent as module
from flame_fl.node.agent import Agent
from tests.support.gates import World, make_fab, sent_message


@dataclass
class FakeClaim:
    """A message for the gate. `fails` is raised at that step."""

    task: Task
    fails: dict[str, Exception] = field(default_factory=dict)
    answers: list[Reply | Refusal] = field(default_factory=list)
    node_id: int = 99
    held: bool = False

    def __enter__(self) -> "FakeClaim":
        self.held = True
        return self

    def __exit__(self, *_: object) -> None:
        self.held = False

    def pull(self) -> Task:
        assert self.held
        if "pull" in self.fails:
            raise self.fails["pull"]
        return self.task

    def answer(self, answer: Reply | Refusal) -> None:
        assert self.held
        if "answer" in self.fails:
            raise self.fails["answer"]
        self.answers.append(answer)


@dataclass
class FakeRuntime:
    """Hands out what is in `queue`: claims, None, or errors to raise; then stops the agent."""

    queue: list[Any]
    at_end: Callable[[], None] = lambda: None
    asked: int = 0

    def acquire(self) -> Any:
        self.asked += 1
        if not self.queue:
            self.at_end()
            return None
        item = self.queue.pop(0)
        if isinstance(item, Exception):
            raise item
        return item


def task(fab: bytes, leg: str = "1", kind: str = "train") -> Task:
    return Task(Run(7, fab), leg, kind, "1", sent_message())


def run(world: World, queue: list[Any], **options: Any) -> list[str]:
    """Let an agent work through a queue; what it said."""
    said: list[str] = []
    runtime = FakeRuntime(queue)
    agent = Agent(runtime, world.gate, world.store, said.append, **options)  # type: ignore[arg-type]
    runtime.at_end = agent.stop
    thread = threading.Thread(target=agent.run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert queue == []
    return said


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_SECONDS", 0.004)


def test_each_message_gets_its_own_answer(world: World) -> None:
    """A release, then a refusal: both are handed back, in order."""
    fab = make_fab()
    world.decide(fab)
    claims = [FakeClaim(task(fab)), FakeClaim(task(fab, "2", "evaluate"))]
    run(world, [*claims])
    assert isinstance(claims[0].answers[0], Reply)
    assert claims[1].answers == [Refusal(RefusalCode.TERMS_VIOLATED)]
    assert [len(c.answers) for c in claims] == [1, 1]


def test_apps_see_flowers_id_of_the_node(world: World) -> None:
    fab = make_fab()
    world.decide(fab)
    run(world, [FakeClaim(task(fab))])
    assert world.sandbox.specs[0].node_id == 99


@pytest.mark.parametrize("step", ["pull", "answer"])
def test_a_lost_claim_is_said_and_the_next_message_is_taken(world: World, step: str) -> None:
    """What was released before the claim was lost stays stored, and is sent when it is asked for again."""
    fab = make_fab()
    world.decide(fab)
    lost = FakeClaim(task(fab), {step: ClaimLostError("The SuperNode refuses it (HTTP 401).")})
    again, other = FakeClaim(task(fab)), FakeClaim(task(fab, "2"))
    said = run(world, [lost, again, other])
    assert "a message was dropped: The SuperNode refuses it (HTTP 401)." in said
    assert lost.answers == []
    assert isinstance(again.answers[0], Reply)
    assert isinstance(other.answers[0], Reply)
    assert len(world.sandbox.messages) == 2  # the repeated leg was not run twice


def test_an_unreachable_supernode_is_said_once_and_waited_for(world: World) -> None:
    """Not a line every tenth of a second; when it is there again, that is said too."""
    away = UnreachableError("The SuperNode does not answer.", mend="See its log.")
    fab = make_fab()
    claim = FakeClaim(task(fab))
    said = run(world, [away, away, away, None, away, claim])
    assert said == [
        "waiting: The SuperNode does not answer. See its log.",
        "connected to the SuperNode; waiting for messages",
        "waiting: The SuperNode does not answer. See its log.",
        "connected to the SuperNode; waiting for messages",
    ]
    assert claim.answers == [Refusal(RefusalCode.PENDING_APPROVAL)]


def test_stopped_in_the_middle_of_a_message(world: World) -> None:
    """It is not answered, and that is said; its debit stands."""
    fab = make_fab()
    world.decide(fab)
    claim = FakeClaim(task(fab))

    def stopped(task: Task) -> Reply:
        raise StoppedError

    world.gate.handle = stopped  # type: ignore[method-assign]
    assert "stopped in the middle of a message; what it debited stays debited" in run(world, [claim])
    assert claim.answers == []


def test_stop_ends_a_session_that_works(world: World) -> None:
    """From another thread, while the app does not answer."""
    fab = make_fab()
    world.decide(fab)
    begun, go_on = threading.Event(), threading.Event()

    def hangs(message: object) -> Any:
        begun.set()
        assert go_on.wait(20)
        raise SandboxError("The exchange was cancelled.")  # as a session does that is closed from elsewhere

    world.sandbox.answer = hangs
    claim = FakeClaim(task(fab))
    runtime = FakeRuntime([claim])
    said: list[str] = []
    agent = Agent(runtime, world.gate, world.store, said.append)  # type: ignore[arg-type]
    thread = threading.Thread(target=agent.run)
    thread.start()
    assert begun.wait(20)
    agent.stop()
    assert world.sandbox.sessions[0].closed
    go_on.set()
    thread.join(20)
    assert not thread.is_alive()
    assert claim.answers == []
    assert said[-1].startswith("stopped in the middle")


def test_idle_sandboxes_are_closed_and_started_again(world: World) -> None:
    """After a while without messages; the next message of the run starts another."""
    fab = make_fab()
    world.decide(fab)
    pauses: list[Any] = [None] * 60
    run(world, [FakeClaim(task(fab)), *pauses, FakeClaim(task(fab, "2"))], idle_seconds=0.02)
    assert [s.closed for s in world.sandbox.sessions] == [True, True]  # the second by `stop`
    assert len(world.sandbox.specs) == 2


def test_a_busy_sandbox_stays_warm(world: World) -> None:
    fab = make_fab()
    world.decide(fab)
    run(world, [FakeClaim(task(fab)), None, None, FakeClaim(task(fab, "2"))], idle_seconds=60)
    assert len(world.sandbox.specs) == 1


def test_rules_are_asked_before_the_gate(world: World) -> None:
    """Without one an unknown analysis is 902; with one, it is approved before it is handled."""
    fab = make_fab()
    plain, demo = FakeClaim(task(fab)), FakeClaim(task(fab, "2"))
    run(world, [plain])
    assert plain.answers == [Refusal(RefusalCode.PENDING_APPROVAL)]
    world = world.replaced()
    run(world, [demo], by_rules=lambda run: world.decide(fab).digest and "a rule")
    assert isinstance(demo.answers[0], Reply)
    world.store.close()


def test_old_replies_are_dropped_at_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    days: list[int] = []
    monkeypatch.setattr(world.store, "forget_old_replies", days.append)
    run(world, [None, None], keep_replies_days=5)
    assert days == [5]


def test_stop_before_anything(world: World) -> None:
    """It ends at once, without having asked."""
    runtime = FakeRuntime([])
    agent = Agent(runtime, world.gate, world.store, lambda line: None)  # type: ignore[arg-type]
    agent.stop()
    started = time.monotonic()
    agent.run()
    assert (runtime.asked, time.monotonic() - started < 5) == (0, True)


def test_patients_are_watched_while_an_app_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody withdraws: the sandbox is ended within a moment, and it is said; the thread ends with the agent."""
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.01)
    fab, said = make_fab(), list[str]()
    world.decide(fab)
    assert isinstance(world.gate.handle(Task(Run(7, fab), "1", "train", "1", sent_message())), Reply)
    agent = Agent(FakeRuntime([]), world.gate, world.store, said.append)  # type: ignore[arg-type]
    thread = threading.Thread(target=agent.watch_sessions)
    thread.start()
    time.sleep(0.1)
    assert said == []
    assert world.data is not None
    world.data["cohort"].people = range(99)
    until = time.monotonic() + 20
    while not said and time.monotonic() < until:
        time.sleep(0.01)
    assert said == ["approvals or patients changed: 1 sandboxes were ended, their views deleted"]
    assert world.sandbox.sessions[0].closed
    agent.stop()
    thread.join(20)
    assert not thread.is_alive()
