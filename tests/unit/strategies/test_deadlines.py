"""What follows from the terms that gates tell."""

import pytest
from flame_strategies.deadlines import (
    DEFAULT_SECONDS,
    Told,
    quorum,
    read_told,
    reply_seconds,
    room_sentence,
    without_room,
)

RECORD = {
    "min_sites": 3,
    "seconds": 600.0,
    "slots": 0,
    "slot_seconds": 0.0,
    "messages": ["train", "evaluate"],
    "messages_left": [10, 0],
    "messages_bytes": [1 << 20, 8],
}


def test_a_gate_s_record_is_read() -> None:
    """Times, quorum, and what is left by message type."""
    assert read_told(RECORD) == Told(3, 600.0, {"train": 10, "evaluate": 0}, {"train": 1 << 20, "evaluate": 8})
    assert read_told({**RECORD, "slots": 8, "slot_seconds": 30.0}).seconds == 240.0


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"min_sites": 0, "seconds": 0, "messages": [], "messages_left": []},
        {"min_sites": "3", "seconds": "long", "messages": "train", "messages_left": 3},
        {"min_sites": True, "seconds": float("nan"), "messages": ["train"], "messages_left": [1, 2]},
        {"min_sites": -1, "seconds": -1.0, "messages": ["train"], "messages_left": [-1], "messages_bytes": [True]},
        {"min_sites": 10**9, "seconds": float("inf"), "messages": [3], "messages_left": [3]},
    ],
)
def test_what_is_malformed_is_not_told(record: dict) -> None:
    """The strategy's own settings hold."""
    assert read_told(record) == Told()


def test_the_largest_quorum_counts() -> None:
    """Each steward approved its own."""
    assert quorum([]) == quorum([Told()]) == 2
    assert quorum([Told(min_sites=1)]) == 1
    assert quorum([Told(min_sites=3), Told(), Told(min_sites=5)]) == 5


def test_the_wait_is_for_the_slowest_node() -> None:
    """With a margin, the model's way there and back, and a minute; more than the node's own deadline, always."""
    assert reply_seconds([], 0) == reply_seconds([Told()], 10**9) == DEFAULT_SECONDS
    assert reply_seconds([Told(seconds=100.0)], 0) == pytest.approx(170.0)
    assert reply_seconds([Told(seconds=100.0), Told(seconds=10.0)], 10**6) == pytest.approx(172.0)
    assert reply_seconds([Told(seconds=10.0), Told()], 0) == DEFAULT_SECONDS
    assert reply_seconds([Told(seconds=100.0)], 0, turns=2) == pytest.approx(340.0)
    with pytest.raises(ValueError, match="at least one"):
        reply_seconds([], 0, turns=0)


def test_who_has_no_room_is_found_before_it_refuses() -> None:
    """A gate that tells nothing has room as far as is known."""
    told = {8: Told(left={"train": 3}), 5: Told(left={"train": 2}), 9: Told(), 7: Told(left={"evaluate": 0})}
    assert without_room(told, "train", 3) == {5: 2}
    assert without_room(told, "train", 2) == {}
    assert "messages.train.per_run of at least 14 (10 rounds" in room_sentence("train", 10)
