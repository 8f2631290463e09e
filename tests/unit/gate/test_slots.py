"""Turns of a fixed length."""

import time
from collections.abc import Callable

import pytest

from flame_fl.gate import slots as module
from flame_fl.gate.slots import Slots


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def never() -> bool:
    return False


def test_a_slot_begins_when_it_is_due_whatever_came_before(clock: Clock) -> None:
    slots = Slots(10.0, never, fixed=True)
    slots.wait(1)
    assert clock.now == pytest.approx(1010)
    clock.now += 9.9
    slots.wait(2)
    assert clock.now == pytest.approx(1020)
    slots.wait(5)
    assert clock.now == pytest.approx(1050)


def test_what_is_late_is_not_waited_for(clock: Clock) -> None:
    slots = Slots(10.0, never, fixed=True)
    clock.now += 25
    slots.wait(2)
    assert clock.naps == []
    slots.wait(3)
    assert clock.now == pytest.approx(1030)


def test_it_looks_up_often_whether_waiting_has_any_sense(clock: Clock) -> None:
    left = iter([False] * 5 + [True] * 100)
    Slots(3600.0, lambda: next(left), fixed=True).wait(1)
    assert clock.now < 1002


@pytest.mark.parametrize("over", [never, lambda: True])
def test_a_simulation_waits_for_nothing(clock: Clock, over: Callable[[], bool]) -> None:
    Slots(3600.0, over, fixed=False).wait(9)
    assert clock.naps == []


def test_with_a_real_clock() -> None:
    slots = Slots(0.02, never, fixed=True)
    begun = time.monotonic()
    slots.wait(3)
    assert time.monotonic() - begun >= 0.059
