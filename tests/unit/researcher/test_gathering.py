"""What a run told of its beginning, and what a researcher is told of it."""

import json
from datetime import UTC, datetime

import pytest

from flame_fl.cli.run_watch import left_out_line, waiting_line
from flame_fl.contract.errors import FlameError
from flame_fl.contract.refusal import RefusedError
from flame_fl.researcher.errors import WaitingForApprovalError
from flame_fl.researcher.follow import verdict
from flame_fl.researcher.story import Story
from tests.unit.researcher.test_follow import state
from tests.unit.researcher.test_story import AT, STATUS, batch, reply, told

NOW = datetime.fromisoformat(AT)


def standing(node: int, word: str, number: int = 0, /, *, name: str = "", **flame) -> dict:
    named = name or f"DIZ-{node}"
    return {"kind": "standing", "node": str(node), "name": named, "status": word, "code": number, "flame": flame}


def gather(phase: str, ready: int = 1, min_sites: int = 1, **more) -> dict:
    return {"kind": "gather", "phase": phase, "ready": ready, "min_sites": min_sites, **more}


def three(**more) -> Story:
    return told(
        standing(1, "approved", name="Köln"),
        standing(2, "approved", name="Ulm"),
        standing(3, "pending", 902, name="Leipzig"),
        gather("waiting", 2, until="2026-11-27T12:30:00+00:00", waiting_for=["3"], **more),
    )


def test_who_is_waited_for_and_how_long() -> None:
    """One line."""
    story = three()
    assert story.is_waiting
    assert waiting_line(story, NOW) == "2 of 3 DIZ approved, waiting for Leipzig (1 d 23 h left)"
    assert waiting_line(told(standing(1, "approved")), NOW) == "asking every DIZ"
    alone = told(standing(1, "approved"), gather("waiting", 1, 2, until=AT, waiting_for=[]))
    assert waiting_line(alone, NOW) == "1 of the 2 DIZ needed approved, waiting for others to connect (0 s left)"


def test_many_are_waited_for_in_few_words() -> None:
    """A line stays one."""
    events = [standing(n, "pending", 902) for n in range(1, 9)]
    story = told(*events, gather("waiting", 0, until=AT, waiting_for=[str(n) for n in range(1, 9)]))
    assert "DIZ-1, DIZ-2, DIZ-3, DIZ-4 and 4 more" in waiting_line(story, NOW)


def test_names_from_a_hub_cannot_write_on_a_terminal() -> None:
    """Neither markup nor control characters, nor another line."""
    story = told(standing(1, "pending", 902, name="[red]x\n\x1b[2J"), gather("waiting", 0, until=AT, waiting_for=["1"]))
    for line in (waiting_line(story, NOW), left_out_line(story.standings())):
        assert "\x1b" not in line
        assert "\n" not in line
        assert "\\[red]" in line


def test_who_is_left_out_and_why() -> None:
    """Those that the run did not begin with: not decided, refused, silent, or gone."""
    story = told(
        standing(1, "approved"), standing(2, "pending", 902), standing(3, "refused", 901, status="rejected", code=901),
        standing(4, "silent"), standing(5, "approved"), gather("begun", 1, sites=["1"]),
    )  # fmt: skip
    assert [node.name for node in story.left_out()] == ["DIZ-2", "DIZ-3", "DIZ-4", "DIZ-5"]
    assert left_out_line(story.left_out()) == (
        "DIZ-2 (pending, 902), DIZ-3 (rejected, 901), DIZ-4 (unknown), DIZ-5 (approved)"
    )
    assert not story.is_waiting
    assert three().left_out() == []


def test_a_steward_who_decides_while_the_run_waits_is_seen() -> None:
    """The last word counts."""
    story = three()
    story.take(json.dumps({"at": AT, **standing(3, "approved", name="Leipzig", status="approved", code=0, by="eve")}))
    node = story.standings()[2]
    assert (node.status, node.code, node.by) == ("approved", 0, "eve")


@pytest.mark.parametrize(
    ("why", "stand", "kind", "said"),
    [
        ("pending", ("pending", 902), WaitingForApprovalError, "1 of 2 DIZ approved, and the app needs 2: DIZ-2 has"),
        ("refused", ("refused", 901), RefusedError, "901 NOT_APPROVED at DIZ-2"),
        ("refused", ("refused", 907), RefusedError, "907 WITHDRAWN_OR_EXPIRED at DIZ-2"),
        ("few", ("silent", 0), FlameError, "no other DIZ answered"),
    ],
)  # fmt: skip
def test_why_a_run_did_not_begin(why: str, stand: tuple[str, int], kind: type[FlameError], said: str) -> None:
    """Exit code 4 for who has not decided, 3 for who refused, else 1."""
    story = told(standing(1, "approved"), standing(2, *stand), gather("ended", 1, 2, why=why))
    error = verdict(story, state("failed", details="x"))
    assert type(error) is kind
    assert said in str(error)
    assert isinstance(error, FlameError)
    assert error.exit_code == {"pending": 4, "refused": 3, "few": 1}[why]


def test_a_run_that_began_is_judged_by_what_it_did() -> None:
    """Somebody was left out, and it finished."""
    story = three()
    for event in (gather("begun", 2, sites=["1", "2"]), batch(1, nodes=2), reply(1), reply(2)):
        story.take(json.dumps({"at": AT, **event}))
    assert verdict(story, state()) is None
    assert not story.nobody_approved


def test_an_old_hub_that_gathers_nothing_is_followed_as_before() -> None:
    """Its apps ask themselves."""
    story = told(batch(1, STATUS, 1), reply(1, kind=STATUS, code=902))
    assert isinstance(verdict(story, state("failed")), WaitingForApprovalError)
    assert (story.gathering, story.left_out()) == (None, [])


@pytest.mark.parametrize(
    "event",
    [
        gather("other"), gather("waiting", ready="x"), gather("ended", why="because"), gather("waiting", until="soon"),  # type: ignore[arg-type]
        gather("waiting", waiting_for=7), gather("begun", sites={"a": 1}), {"kind": "gather"}, {"kind": "standing"},
        standing(1, "approved") | {"flame": 7}, standing(1, "pending") | {"code": "x"},
    ],
)  # fmt: skip
def test_what_is_malformed_is_passed_over(event: dict) -> None:
    """It was told by a process in which the researcher's own code runs."""
    story = three()
    before = (story.gathering, len(story.nodes))
    assert story.take(json.dumps({"at": AT, **event})) == ""
    assert (story.gathering, len(story.nodes)) == before or event["kind"] == "standing"


def test_time_without_a_zone_is_utc() -> None:
    """Nothing raises when it is compared."""
    story = told(gather("waiting", until="2026-11-25T13:00:10"))
    assert story.gathering is not None
    assert story.gathering.seconds_left(NOW.astimezone(UTC)) == 10.0
