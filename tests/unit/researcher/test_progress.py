"""How far a run told that it is: by a process in which the researcher's own code runs, so anything may come."""

import json
from io import StringIO

import pytest
from rich.console import Console

from flame_fl.cli import run_watch
from flame_fl.cli.run_watch import ConsoleRunWatcher
from flame_fl.researcher.progress import Progress, Restart
from flame_fl.researcher.story import Story

ROUND = {"kind": "round", "round": 3, "rounds": 10, "seconds": 12.0, "seconds_left": 84.0, "resumed_round": 0}
RESTART = {"kind": "restart", "why": "it was ended by signal 9", "count": 1, "most": 3}


def told(*events: dict) -> Story:
    """A story of these."""
    story = Story()
    for event in events:
        story.take(json.dumps(event))
    return story


def test_rounds_and_restarts_are_taken() -> None:
    """The last of the rounds, and every restart."""
    story = told(ROUND, {**ROUND, "round": 4}, RESTART, {**RESTART, "count": 2})
    assert story.progress == Progress(4, 10, 12.0, 84.0)
    assert story.restarts == [Restart("it was ended by signal 9", n, 3) for n in (1, 2)]
    assert (told().progress, told().restarts) == (None, [])


@pytest.mark.parametrize(
    "changed",
    [{"round": -1}, {"round": "3"}, {"rounds": None}, {"rounds": 1e9}, {"seconds": "x"}, {"round": 10**12}],
)
def test_what_is_malformed_is_passed_over(changed: dict) -> None:
    """A story tells no nonsense."""
    assert told({**ROUND, **changed}).progress is None
    assert told({**RESTART, "count": "many"}).restarts == []


def test_no_number_is_beyond_what_can_be_shown() -> None:
    """Nor are there more restarts than any hub makes."""
    text = json.dumps({**ROUND, "seconds_left": 1e300, "round": 99}).replace("1e+300", "1e300")
    story = told(*[RESTART] * 1000)
    story.take(text)
    assert story.progress is not None
    assert (story.progress.seconds_left, story.progress.rounds) == (366 * 86400.0, 99)
    assert len(story.restarts) == 100
    story.take(json.dumps(ROUND).replace("84.0", "Infinity"))
    assert story.progress.rounds == 99


def test_in_words() -> None:
    """With how long it takes, where that is known."""
    assert Progress(3, 10, 12.0, 84.0).in_words == "round 3 of 10, about 1 m 24 s left"
    assert Progress(3, 10, 12.0, 0.0).in_words == "round 3 of 10"
    assert Progress(10, 10, 12.0, 84.0).in_words == "round 10 of 10"
    assert Progress(3, 10, 12.0, 0.2).in_words == "round 3 of 10, about 1 s left"


def test_a_person_sees_restarts_and_where_it_went_on(monkeypatch) -> None:
    """Each once, however often the story is looked at; in a log every round, too; nothing is markup."""
    seen = StringIO()
    monkeypatch.setattr(run_watch, "stdout", Console(file=seen, width=200))
    watcher, story = ConsoleRunWatcher(), told()
    for event in (ROUND, {**RESTART, "why": "[bold]it died"}, {**ROUND, "resumed_round": 3}, {**ROUND, "round": 4}):
        story.take(json.dumps({**event, "resumed_round": 3} if event.get("round") == 4 else event))
        watcher.changed(story)
        watcher.changed(story)
    assert seen.getvalue().splitlines() == [
        "round 3 of 10, about 1 m 24 s left",
        "At the hub its ServerApp died ([bold]it died) and was started again, 1 of 3 times",
        "Resumed from round 3 of 10",
        "round 4 of 10, about 1 m 24 s left",
    ]
