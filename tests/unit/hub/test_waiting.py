"""Which runs wait, and how long they did, as the hub's files say."""

import os
from pathlib import Path

import pytest

from flame_fl.flower.server_wish import Wish, keep_wish
from flame_fl.hub.runs import RunFolder
from flame_fl.hub.waiting import mark_begun, waited_seconds, waits

DAY = 86400.0


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, 7)


def begin(folder: RunFolder, when: float) -> None:
    mark_begun(folder)
    os.utime(folder.path / "begun", (when, when))


def test_a_run_without_a_wish_does_not_wait(folder: RunFolder) -> None:
    """Nor did it."""
    assert not waits(folder, DAY, 5.0)
    assert waited_seconds(folder, 0.0, DAY, 100.0) == 0.0


def test_a_run_waits_until_its_time_is_over_or_it_begins(folder: RunFolder) -> None:
    """Whichever is first."""
    keep_wish(folder.path, Wish(seconds=100), 10.0)
    assert waits(folder, DAY, 109.0)
    assert not waits(folder, DAY, 110.0)
    assert not waits(folder, 20.0, 31.0)  # the hub's bound
    assert waited_seconds(folder, 20.0, DAY, 60.0) == 40.0
    assert waited_seconds(folder, 20.0, DAY, 500.0) == 90.0
    begin(folder, 50.0)
    assert not waits(folder, DAY, 60.0)
    assert waited_seconds(folder, 20.0, DAY, 500.0) == 30.0


def test_a_serverapp_that_never_says_that_it_began_gains_no_more_than_the_bound(folder: RunFolder) -> None:
    """It is not trusted."""
    keep_wish(folder.path, Wish(seconds=1e6), 0.0)
    assert waited_seconds(folder, 0.0, 50.0, 1e7) == 50.0


def test_time_waited_in_the_queue_is_not_counted_twice(folder: RunFolder) -> None:
    """The wish runs from when it was asked for; a run that started after it had not waited."""
    keep_wish(folder.path, Wish(seconds=10), 0.0)
    assert waited_seconds(folder, 100.0, DAY, 200.0) == 0.0
