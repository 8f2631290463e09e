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


def test_a_turn_begins_when_it_is_due_however_early_the_last_one_was_done(clock: Clock) -> None:
    slots = Slots(10.0, never, fixed=True)
    slots.wait()
    assert clock.now == pytest.approx(1010)
    clock.now += 9.9
    slots.wait()
    slots.wait()
    assert clock.now == pytest.approx(1030)


def test_what_overruns_its_turn_moves_the_later_ones_by_whole_turns(clock: Clock) -> None:
    slots = Slots(10.0, never, fixed=True)
    clock.now += 25  # views that took long
    slots.wait()
    assert clock.now == pytest.approx(1030)
    clock.now += 10.5  # a sandbox that could not be ended in time
    slots.wait()
    assert clock.now == pytest.approx(1050)


@pytest.mark.parametrize("late", [0.0, 3.0, 25.0, 1000.0])
def test_every_block_has_the_same_time_whatever_the_one_before_took(clock: Clock, late: float) -> None:
    slots = Slots(10.0, never, fixed=True)
    for _ in range(3):
        slots.wait()
        assert slots.left() == pytest.approx(9.0)
        clock.now += 4.0
        assert slots.left() == pytest.approx(5.0)
        clock.now += late


def test_no_time_is_left_and_never_less(clock: Clock) -> None:
    slots = Slots(10.0, never, fixed=True)
    clock.now += 9.5
    assert slots.left() == 0.0


def test_it_looks_up_often_whether_waiting_has_any_sense(clock: Clock) -> None:
    left = iter([False] * 5 + [True] * 100)
    Slots(3600.0, lambda: next(left), fixed=True).wait()
    assert clock.now < 1002


@pytest.mark.parametrize("over", [never, lambda: True], ids=["goes on", "over"])
def test_a_simulation_waits_for_nothing_and_gives_the_same_time(clock: Clock, over: Callable[[], bool]) -> None:
    slots = Slots(3600.0, over, fixed=False)
    clock.now += 5000
    slots.wait()
    assert clock.naps == []
    assert slots.left() == pytest.approx(3240)


def test_with_a_real_clock() -> None:
    slots = Slots(0.02, never, fixed=True)
    begun = time.monotonic()
    for _ in range(3):
        slots.wait()
    assert time.monotonic() - begun >= 0.059
