"""The tally: what gates tell, counted by node and by exchange."""

import threading

import pytest

from flame_fl.gate.workflow import STATUS_MESSAGE, Event
from flame_fl.simulation.tally import Tally


def event(node: str = "DIZ-1", kind: str = "released", **fields: object) -> Event:
    stated = {"message_type": "train", "seconds": 2.0, "sandbox_seconds": 1.5, "bytes_in": 10, "bytes_out": 20}
    return Event(node, kind, 7, "1", **(stated | fields))


def refused(node: str = "DIZ-1", code: int = 905, **fields: object) -> Event:
    return event(node, "refused", code=code, bytes_out=0, **fields)


def test_a_release_is_counted_for_its_node() -> None:
    """Messages, bytes and times add up."""
    tally = Tally()
    tally.event(event())
    tally.event(event())
    tally.event(event("DIZ-2"))
    node = tally.nodes["DIZ-1"]
    assert (node.messages, node.bytes_in, node.bytes_out) == (2, 20, 40)
    assert (node.seconds, node.sandbox_seconds) == (4.0, 3.0)
    assert tally.nodes["DIZ-2"].messages == 1


def test_a_reply_that_was_sent_again_counts_as_sent() -> None:
    """It left the node twice: a resumed run shows what went over its wire."""
    tally = Tally()
    tally.event(event(kind="resent"))
    assert (tally.nodes["DIZ-1"].messages, tally.nodes["DIZ-1"].bytes_out) == (1, 20)


def test_refusals_are_counted_by_code_and_are_no_messages() -> None:
    """What was refused did not leave."""
    tally = Tally()
    for code in (905, 905, 904):
        tally.event(refused(code=code))
    node = tally.nodes["DIZ-1"]
    assert dict(node.refusals) == {905: 2, 904: 1}
    assert (node.messages, node.bytes_out, node.bytes_in) == (0, 0, 30)


def test_a_batch_counts_replies_and_refusals_of_its_own() -> None:
    """Events belong to the exchange that is going on."""
    tally = Tally()
    tally.batch("train", 0, 2)
    tally.event(event())
    tally.event(refused("DIZ-2"))
    tally.batch("train", 2, 2, {"loss": 0.5})
    tally.batch("evaluate", 0, 2)
    tally.event(event())
    first, second = tally.batches
    assert (first.index, first.message_type, first.replied, first.refused) == (1, "train", 1, 1)
    assert (first.bytes_in, first.bytes_out, first.metrics) == (20, 20, {"loss": 0.5})
    assert (second.index, second.replied, second.metrics) == (2, 1, {})


def test_later_metrics_of_a_batch_stand_for_earlier_ones() -> None:
    """Replies that are pulled one after the other complete the picture."""
    tally = Tally()
    tally.batch("train", 0, 2)
    tally.batch("train", 1, 2, {"loss": 1.0, "n": 1.0})
    tally.batch("train", 2, 2, {"loss": 2.0})
    assert tally.batches[0].metrics == {"loss": 2.0, "n": 1.0}


def test_an_exchange_with_nobody_is_none() -> None:
    """A strategy that asked no node made no round."""
    tally = Tally()
    tally.batch("", 0, 0)
    assert tally.batches == []


def test_status_questions_count_only_as_refusals() -> None:
    """They are no message, no bytes and no round; but who refused is known."""
    tally = Tally()
    tally.batch(STATUS_MESSAGE, 0, 1)
    tally.event(refused(code=902, message_type=STATUS_MESSAGE))
    node = tally.nodes["DIZ-1"]
    assert tally.batches == []
    assert (node.messages, node.bytes_in, dict(node.refusals)) == (0, 0, {902: 1})


def test_only_events_with_a_detail_are_kept() -> None:
    """A release says nothing; a refusal, and a zero vector that stands for a failure, say why."""
    tally = Tally()
    told = [refused(detail="the app raised"), event(detail="not finite")]
    for each in (event(), *told, event()):
        tally.event(each)
    assert tally.details == told


@pytest.mark.parametrize(
    ("events", "all_refused"),
    [([], False), ([refused()], True), ([refused(), refused("DIZ-2")], True), ([refused(), event("DIZ-2")], False)],
)
def test_refused_by_all_means_that_somebody_refused_and_nobody_replied(events: list[Event], all_refused: bool) -> None:
    """Of the last exchange; one before it does not count."""
    tally = Tally()
    tally.batch("train", 0, 2)
    tally.event(event())
    tally.batch("train", 0, 2)
    for each in events:
        tally.event(each)
    assert tally.last_refused_by_all() is all_refused


def test_without_an_exchange_nobody_refused() -> None:
    """A ServerApp that failed before it asked anybody was not refused."""
    assert not Tally().last_refused_by_all()


def test_no_event_is_lost_between_threads() -> None:
    """Gates tell from their own threads, all at once."""
    tally, start = Tally(), threading.Barrier(8)
    tally.batch("train", 0, 1)

    def tell(node: str) -> None:
        start.wait()
        for _ in range(500):
            tally.event(event(node))
            tally.event(refused(node))

    threads = [threading.Thread(target=tell, args=(f"DIZ-{i % 4}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tally.batches[0].replied, tally.batches[0].refused) == (4000, 4000)
    assert {node.messages for node in tally.nodes.values()} == {1000}
