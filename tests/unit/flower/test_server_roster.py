"""Whether a run begins, waits or ends: every case, and what holds for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.flower.server_roster import Answer, End, Go, Hold, Standing, Word, answer_of, decide, pause_seconds


def nodes(*words: str, away: tuple[int, ...] = ()) -> list[Standing]:
    found: list[Standing] = []
    for number, word in enumerate(words, start=1):
        kind, _, code = word.partition(" ")
        found.append(Standing(number, f"DIZ-{number}", kind, int(code or 0), number not in away))  # type: ignore[arg-type]
    return found


PENDING, REFUSED = "pending 902", "refused 901"


@pytest.mark.parametrize(
    ("words", "min_sites", "found"),
    [
        (("approved", "approved"), 1, Go((1, 2))),
        (("approved", PENDING, "approved"), 2, Go((1, 3))),
        (("approved", REFUSED), 1, Go((1,))),
        (("approved", "silent"), 1, Go((1,))),
        (("approved", "ungated"), 1, Go((1,))),
        (("approved", PENDING), 2, End("pending")),
        ((PENDING, PENDING), 1, End("pending")),
        ((PENDING,), 2, End("pending")),
        ((PENDING, REFUSED), 1, End("pending")),
        (("approved", PENDING, REFUSED), 3, End("refused")),
        ((REFUSED, "refused 907"), 1, End("refused")),
        (("approved", "silent"), 2, End("few")),
        (("ungated",), 1, End("few")),
        ((), 1, End("few")),
    ],
)
def test_without_waiting(words: tuple[str, ...], min_sites: int, found: object) -> None:
    """Those that approved, if they are enough; else why not."""
    assert decide(nodes(*words), min_sites) == found


@pytest.mark.parametrize(
    ("words", "min_sites", "min_only", "found"),
    [
        (("approved", PENDING), 1, False, Hold((2,))),
        (("approved", PENDING), 1, True, Go((1,))),
        (("approved", PENDING, "silent"), 2, True, Hold((2, 3))),
        (("approved", "approved"), 1, False, Go((1, 2))),
        (("approved", REFUSED), 1, False, Go((1,))),
        ((REFUSED, "refused 907"), 1, False, End("refused")),
        (("approved", REFUSED), 2, False, End("refused")),
        (("approved",), 2, False, Hold(())),
        ((), 1, False, Hold(())),
    ],
)
def test_with_time_left(words: tuple[str, ...], min_sites: int, min_only: bool, found: object) -> None:
    """Who has not decided is waited for; who refused is not, and a run that they make impossible ends at once."""
    assert decide(nodes(*words), min_sites, seconds_left=1.0, min_only=min_only) == found


def test_a_node_that_approved_and_went_away_is_not_there() -> None:
    """It neither counts nor takes part; with time left it may come back."""
    there = nodes("approved", "approved", away=(1,))
    assert decide(there, 1) == Go((2,))
    assert decide(there, 2) == End("few")
    assert decide(there, 2, seconds_left=9.0) == Hold(())


def test_a_node_that_is_away_and_has_not_decided_is_waited_for() -> None:
    """Its steward decides all the same."""
    assert decide(nodes("approved", PENDING, away=(2,)), 1, seconds_left=9.0) == Hold((2,))


def test_nodes_without_a_gate_count_where_no_terms_are() -> None:
    """There is nobody to ask at them."""
    assert decide(nodes("ungated", PENDING), 1, takes_ungated=True) == Go((1,))


WORDS = st.sampled_from(["approved", "pending 902", "refused 901", "silent", "ungated"])
ROSTERS = st.lists(st.tuples(WORDS, st.booleans()), max_size=8).map(
    lambda pairs: nodes(*(w for w, _ in pairs), away=tuple(i for i, (_, here) in enumerate(pairs, 1) if not here))
)


@given(ROSTERS, st.integers(1, 8), st.floats(-10, 10), st.booleans())
def test_nobody_takes_part_who_has_not_approved(
    roster: list[Standing], min_sites: int, seconds: float, min_only: bool
) -> None:
    """Whatever the others do: a run begins with connected nodes that approved, at least as many as the terms say."""
    found = decide(roster, min_sites, seconds_left=seconds, min_only=min_only)
    if isinstance(found, Go):
        assert len(found.sites) >= min_sites
        assert {n.word for n in roster if n.node_id in found.sites} == {"approved"}
        assert all(n.connected for n in roster if n.node_id in found.sites)
    if isinstance(found, Hold):
        assert seconds > 0
        assert not {n.word for n in roster if n.node_id in found.waiting_for} - {"pending", "silent"}


@given(ROSTERS, st.integers(1, 8))
def test_waiting_loses_nothing(roster: list[Standing], min_sites: int) -> None:
    """A run that could begin at once begins with the same nodes when its time is over."""
    now = decide(roster, min_sites)
    held = decide(roster, min_sites, seconds_left=5.0)
    assert isinstance(held, Hold) or held == now


@pytest.mark.parametrize(
    ("error", "record", "word", "code"),
    [
        (None, {"status": "approved", "code": 0}, "approved", 0),
        (None, {"status": "pending", "code": 902}, "pending", 902),
        (None, {"status": "rejected", "code": 901}, "refused", 901),
        (None, {"status": "approved", "code": 908}, "refused", 908),
        (902, None, "pending", 902),
        (901, None, "refused", 901),
        (907, None, "refused", 907),
        (5, None, "silent", 0),
        (2, None, "ungated", 0),
        (None, None, "ungated", 0),
        (None, {"status": 1, "code": "0"}, "ungated", 0),
    ],
)
def test_what_an_answer_means(error: int | None, record: dict | None, word: Word, code: int) -> None:
    """A gate's record or its refusal; anything else was not written by a gate."""
    found = answer_of(error=error, record=record)
    assert (found.word, found.code) == (word, code)
    assert isinstance(found, Answer)


def test_questions_are_sparing() -> None:
    """Never quicker with time; after two minutes at most once a minute, and some 300 entries a day."""
    pauses = [pause_seconds(float(waited)) for waited in range(0, 90_000, 5)]
    assert pauses == sorted(pauses)
    assert all(pause_seconds(float(waited)) >= 60 for waited in range(120, 90_000, 60))
    asked, waited = 0, 0.0
    while waited < 86_400:
        asked, waited = asked + 1, waited + pause_seconds(waited)
    assert 200 < asked < 400
