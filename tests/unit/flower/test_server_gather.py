"""A run's beginning, with nodes, a hub and a clock that a test plays."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity

from flame_fl.flower.server_events import EventLog
from flame_fl.flower.server_gather import Gathering, NotBegunError
from flame_fl.flower.server_wish import WaitLeft

APPROVED, PENDING, REFUSED, NO_GATE, SILENT = ("approved", 0), ("pending", 902), ("rejected", 901), ("", 2), None
Stand = tuple[str, int] | None


class World:
    """DIZ 1 to 3. `at` says what happens when."""

    def __init__(self) -> None:
        self.now, self.lines = 0.0, b""
        self.stand: dict[int, Stand] = {1: APPROVED, 2: APPROVED, 3: PENDING}
        self.names = {1: "Köln", 2: "Ulm", 3: "Leipzig"}
        self.away: set[int] = set()
        self.wish: tuple[float, bool] | None = None  # until when, min_only
        self.asked: list[tuple[float, int]] = []
        self.looks = self.begun = 0
        self.plan: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.plan.append((when, what))

    def approves(self, node: int) -> Callable[[], None]:
        return lambda: self.stand.update({node: APPROVED})

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        for when, what in [p for p in self.plan if p[0] <= self.now]:
            what()
            self.plan.remove((when, what))

    def get_nodes(self) -> list[NodeInfo]:
        self.looks += 1
        return [NodeInfo(node_id=n, name=self.names[n]) for n in sorted(self.stand) if n not in self.away]

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            assert message.metadata.message_type == "query.flame_status"
            assert message.metadata.ttl == timeout  # none stays behind at a node that is away
            self.asked.append((self.now, node))
            if (stand := self.stand[node]) is None:
                self.now += timeout or 0
                continue
            message.metadata.__dict__["_message_id"] = "x"
            status, code = stand
            answer = RecordDict({"flame": ConfigRecord({"status": status, "code": code})}) if status else None
            replies.append(Message(Error(code, "r") if answer is None else answer, reply_to=message))
        return replies

    def wait_left(self) -> WaitLeft:
        if self.wish is None:
            return WaitLeft()
        until, min_only = self.wish
        return WaitLeft(known=True, seconds_left=max(0.0, until - self.now), min_only=min_only)

    def begin(self) -> None:
        self.begun += 1

    def gather(self, min_sites: int = 1, *, takes_ungated: bool = False) -> tuple[int, ...]:
        events = EventLog(self.take)
        return Gathering(
            self, self, events, min_sites, takes_ungated=takes_ungated, clock=self.clock, sleep=self.sleep
        ).gather()

    def take(self, line: bytes) -> None:
        self.lines += line

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in map(json.loads, self.lines.splitlines()) if e["kind"] == kind]

    def times_asked(self, node: int) -> int:
        return sum(n == node for _, n in self.asked)


@pytest.fixture
def world() -> Iterator[World]:
    before = [getattr(TaskIdentity, field) for field in ("_task_id", "_run_id", "_node_id")]
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 3, 5, 1
    yield World()
    for field, value in zip(("_task_id", "_run_id", "_node_id"), before, strict=True):
        setattr(TaskIdentity, field, value)


def test_all_approved_begins_at_once(world: World) -> None:
    """Whether a wish has come or not."""
    world.stand[3] = APPROVED
    assert world.gather(3) == (1, 2, 3)
    assert (world.now, world.begun, len(world.asked)) == (0.0, 1, 3)


def test_a_researcher_who_does_not_wait_goes_on_with_the_others(world: World) -> None:
    """At once: the wish not to wait has come."""
    world.wish = (0.0, False)
    assert world.gather() == (1, 2)
    assert world.now == 0.0


def test_a_run_without_a_wish_is_held_a_few_seconds(world: World) -> None:
    """A plain `flwr run` says nothing; one that `flame run` submitted has its wish by then."""
    assert world.gather() == (1, 2)
    assert 5.0 <= world.now < 6.0
    assert world.events("gather")[-1]["phase"] == "begun"


def test_a_wish_that_comes_late_is_heard(world: World) -> None:
    """It is submitted after the run."""
    world.at(3.0, lambda: setattr(world, "wish", (1000.0, False)))
    world.at(100.0, world.approves(3))
    assert world.gather() == (1, 2, 3)
    assert 100 <= world.now < 130


def test_who_approves_while_the_run_waits_takes_part(world: World) -> None:
    """Only who has not decided is asked again, and what is told is who is waited for, and until when."""
    world.wish = (600.0, False)
    world.at(20.0, world.approves(3))
    assert world.gather() == (1, 2, 3)
    assert (world.times_asked(1), world.times_asked(2)) == (1, 1)
    assert [(e["node"], e["status"]) for e in world.events("standing")] == [
        ("1", "approved"), ("2", "approved"), ("3", "pending"), ("3", "approved"),
    ]  # fmt: skip
    waiting, begun = world.events("gather")
    assert (waiting["phase"], waiting["waiting_for"], waiting["ready"]) == ("waiting", ["3"], 2)
    assert (begun["phase"], begun["sites"]) == ("begun", ["1", "2", "3"])


def test_when_the_time_is_over_the_others_go_on(world: World) -> None:
    """If there are enough; an approval that is old by then was asked for once more."""
    world.wish = (7200.0, False)
    assert world.gather(2) == (1, 2)
    assert 7200 <= world.now < 7210
    assert (world.times_asked(1), world.times_asked(2)) == (2, 2)
    assert world.times_asked(3) < 100


def test_when_the_time_is_over_and_they_are_too_few_the_run_ends(world: World) -> None:
    """Those who have not decided are why."""
    world.wish = (100.0, False)
    with pytest.raises(NotBegunError, match=r"2 of the 3 DIZ .* Leipzig: pending \(902\)"):
        world.gather(3)
    assert world.events("gather")[-1]["why"] == "pending"
    assert world.begun == 0


def test_enough_can_be_enough(world: World) -> None:
    """`--min-only`."""
    world.stand[2], world.wish = PENDING, (1000.0, True)
    world.at(50.0, world.approves(2))
    assert world.gather(2) == (1, 2)
    assert world.now < 70


def test_who_refuses_is_not_waited_for(world: World) -> None:
    """Whether from the start or in the middle."""
    world.stand[2], world.wish = REFUSED, (1000.0, False)
    world.at(30.0, lambda: world.stand.update({3: REFUSED}))
    assert world.gather() == (1,)
    assert world.now < 50
    assert world.times_asked(2) == 1


def test_all_refused_ends_at_once(world: World) -> None:
    """However long it might have waited."""
    world.stand, world.wish = {1: REFUSED, 2: ("withdrawn", 907)}, (1000.0, False)
    with pytest.raises(NotBegunError):
        world.gather()
    assert (world.now, world.events("gather")[-1]["why"]) == (0.0, "refused")


def test_who_connects_while_the_run_waits_is_asked(world: World) -> None:
    """Soon, and waited for if need be."""
    world.away, world.wish = {2}, (1000.0, False)
    world.at(200.0, world.away.clear)
    world.at(300.0, world.approves(3))
    assert world.gather() == (1, 2, 3)
    (when,) = [when for when, node in world.asked if node == 2]
    assert 200 <= when <= 216


def test_nodes_that_are_still_connecting_are_waited_for_a_minute(world: World) -> None:
    """As a strategy does: a hub may just have started."""
    world.wish, world.away = (0.0, False), {1, 2, 3}
    world.at(10.0, world.away.clear)
    assert world.gather(2) == (1, 2)
    assert world.now < 12


def test_a_hub_without_nodes_ends_the_run(world: World) -> None:
    """After that minute."""
    world.wish, world.away = (0.0, False), {1, 2, 3}
    with pytest.raises(NotBegunError, match="none is connected"):
        world.gather()
    assert 60 <= world.now < 62


def test_an_approval_withdrawn_during_a_long_wait_counts_no_more(world: World) -> None:
    """It is asked for again before the run begins."""
    world.wish = (5000.0, False)
    world.at(1000.0, lambda: world.stand.update({1: ("withdrawn", 907)}))
    world.at(4000.0, world.approves(3))
    assert world.gather() == (2, 3)
    assert ("1", "refused", 907) in [(e["node"], e["status"], e["code"]) for e in world.events("standing")]


def test_who_had_not_decided_and_does_not_answer_is_still_pending(world: World) -> None:
    """Busy, perhaps: it is not reported anew."""
    world.wish = (300.0, False)
    world.at(10.0, lambda: world.stand.update({3: SILENT}))
    with pytest.raises(NotBegunError):
        world.gather(3)
    assert [e["status"] for e in world.events("standing") if e["node"] == "3"] == ["pending"]


def test_nodes_without_a_gate_are_an_apps_without_terms(world: World) -> None:
    """With terms they take no part."""
    world.stand, world.wish = {1: APPROVED, 2: NO_GATE}, (0.0, False)
    assert world.gather() == (1,)
    assert world.gather(takes_ungated=True) == (1, 2)


def test_a_weeks_waiting_tells_little_and_asks_little(world: World) -> None:
    """Events are told when something is new; a DIZ that does not decide has some two thousand entries a week."""
    world.wish = (7 * 86400.0, False)
    assert world.gather() == (1, 2)
    assert len(world.lines) < 20_000
    assert world.times_asked(3) < 2500


def test_a_longer_wish_in_the_middle_is_told(world: World) -> None:
    """Who follows sees the new time."""
    world.wish = (300.0, False)
    world.at(100.0, lambda: setattr(world, "wish", (900.0, False)))
    world.gather()
    assert sum(event["phase"] == "waiting" for event in world.events("gather")) >= 2
    assert world.now >= 900
