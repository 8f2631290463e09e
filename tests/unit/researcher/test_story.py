"""A run's events, told by a process in which the researcher's own code runs: anything may come."""

import json
import math

import pytest

from flame_fl.researcher.story import Story

AT = "2026-11-25T13:00:00+00:00"


def told(*events: dict) -> Story:
    story = Story()
    for event in events:
        story.take(json.dumps({"at": AT, **event}))
    return story


def batch(number: int = 1, kind: str = "train", nodes: int = 2) -> dict:
    named = [{"id": str(n), "name": f"DIZ-{n}"} for n in range(1, nodes + 1)]
    return {"kind": "batch", "phase": "begun", "batch": number, "type": kind, "nodes": named}


def over(number: int = 1, kind: str = "train", **metrics) -> dict:
    common = {"kind": "batch", "phase": "ended", "batch": number, "type": kind}
    return {**common, "replied": 1, "refused": 0, "missing": 0, "seconds": 2.5, "metrics": metrics}


def reply(node: int, number: int = 1, *, code: int = 0, ok: bool | None = None, kind: str = "train", **flame) -> dict:
    good = code == 0 if ok is None else ok
    return {
        "kind": "reply", "batch": number, "type": kind, "node": str(node), "name": f"DIZ-{node}", "ok": good,
        "code": code, "reason": "r", "bytes_in": 10, "bytes_out": 20 * good, "seconds": 1.0, "flame": flame,
    }  # fmt: skip


STATUS = "query.flame_status"


def test_what_was_exchanged_is_counted() -> None:
    """By node and by batch; the question of the gates is no exchange."""
    story = told(
        batch(1, STATUS), reply(1, 1, kind=STATUS, status="approved", code=0), over(1, STATUS),
        batch(2), reply(1, 2), reply(2, 2, code=905), over(2, loss=0.5),
    )  # fmt: skip
    one, two = story.standings()
    assert (one.messages, one.bytes_in, one.bytes_out) == (1, 10, 20)
    assert (two.messages, two.bytes_out, dict(two.refusals)) == (0, 0, {905: 1})
    (found,) = story.rounds()
    assert (found.index, found.message_type, found.replied, found.refused) == (1, "train", 1, 1)
    assert (found.bytes_in, found.bytes_out, found.seconds, found.metrics) == (20, 20, 2.5, {"loss": 0.5})
    assert story.now() == (1, story.batches[1])


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (reply(1, kind=STATUS, status="approved", code=0), "approved", 0),
        (reply(1, kind=STATUS) | {"flame": {"status": "pending", "code": 902}}, "pending", 902),
        (reply(1, kind=STATUS, code=901), "rejected", 901),
        (reply(1, kind=STATUS, code=902), "pending", 902),
        (reply(1, kind=STATUS, code=907), "withdrawn", 907),
        (reply(1, kind=STATUS, code=908), "unknown", 908),
        (reply(1, kind=STATUS, code=2), "unknown", 0),
    ],
)  # fmt: skip
def test_who_approved(event: dict, status: str, code: int) -> None:
    """From the gate's answer, as content or as a refusal."""
    (node,) = told(batch(1, STATUS, nodes=1), event).standings()
    assert (node.status, node.code) == (status, code)


def test_nobody_approved_only_if_every_one_refused() -> None:
    """A gate's refusal is one; a node that is silent, or has no gate, is not."""
    pending = told(batch(1, STATUS), reply(1, kind=STATUS, code=902), reply(2, kind=STATUS, code=902))
    assert (pending.nobody_approved, pending.all_pending) == (True, True)
    mixed = told(batch(1, STATUS), reply(1, kind=STATUS, code=902), reply(2, kind=STATUS, code=901))
    assert (mixed.nobody_approved, mixed.all_pending) == (True, False)
    silent = told(batch(1, STATUS), reply(1, kind=STATUS, code=902), reply(2, kind=STATUS, ok=False))
    assert not silent.nobody_approved
    assert not told(batch(1, STATUS, nodes=0)).nobody_approved
    assert not told().nobody_approved


def test_an_app_that_does_not_ask_is_refused_all_the_same() -> None:
    """Its messages carry the codes; a node that had approved and later fails is no refusal of the analysis."""
    refused = told(batch(1), reply(1, code=902), reply(2, code=902), over(1))
    assert refused.all_pending
    later = told(
        batch(1, STATUS, nodes=1),
        reply(1, kind=STATUS, status="approved", code=0),
        batch(2, nodes=1),
        reply(1, 2, code=904),
    )
    assert not later.nobody_approved
    assert later.standings()[0].status == "approved"


def test_who_dropped_out() -> None:
    """Who was silent, or failed with a code that is no gate's."""
    story = told(batch(1, nodes=3), reply(1), reply(2, ok=False), reply(3, code=5))
    assert story.dropped() == ["DIZ-2", "DIZ-3"]


def test_the_audit_head_is_the_last_one_told() -> None:
    """Whatever kind of reply it came with."""
    (node,) = told(
        batch(nodes=1), reply(1, audit_head="aa"), batch(2, nodes=1), reply(1, 2, audit_head="bb")
    ).standings()
    assert node.audit_head == "bb"
    assert node.status == "approved"


def test_metrics_may_diverge() -> None:
    """And still make a report."""
    (found,) = told(batch(), over(loss="NaN", bound="Infinity")).rounds()
    assert math.isnan(found.metrics["loss"])
    assert found.metrics["bound"] == math.inf


@pytest.mark.parametrize(
    "line",
    [
        "", "no json", "[]", "1", "{}", '{"kind": "other"}', '{"kind": []}', '{"kind": "batch"}',
        json.dumps({"kind": "reply", "batch": 99}), json.dumps({**batch(), "at": "yesterday"}),
        json.dumps({**batch(), "at": AT, "nodes": 7}), json.dumps({**reply(1), "at": AT, "bytes_in": 1e400}),
        '{"kind": "batch", "phase": ' + "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_malformed_is_passed_over(line: str) -> None:
    """It neither stops whoever follows, nor spoils what else was told."""
    story = told(batch(), reply(1))
    assert story.take(line) == ""
    assert len(story.rounds()) == 1
    assert story.take(json.dumps({"at": AT, **reply(2)})) == "reply"


def test_numbers_that_cannot_be_are_no_report() -> None:
    """Negative sizes count as none."""
    story = told(batch(), {**reply(1), "bytes_in": -5, "bytes_out": -5})
    assert story.rounds()[0].bytes_in == 0


def test_a_flood_of_nodes_has_an_end(monkeypatch) -> None:
    """Names and ids are cut, too."""
    monkeypatch.setattr("flame_fl.researcher.story._MAX_NODES", 3)
    assert len(told(batch(nodes=10)).standings()) <= 3
    (node,) = told({**batch(nodes=1), "nodes": [{"id": "1", "name": "x" * 10_000}]}).standings()
    assert len(node.name) == 500


def test_the_configuration_that_ran() -> None:
    """Scalars only."""
    begun = {"kind": "run", "phase": "begun", "seed": 1, "run_config": {"rounds": 3, "odd": [1]}}
    assert told(begun).run_config == {"rounds": 3}
