"""Nodes that are away, come back, or come late."""

import numpy as np
import pytest
from flame_strategies import FlameFedAvg, NotEnoughNodes
from flame_strategies import attendance as module
from flame_strategies.attendance import Attendance
from flwr.app import Error

START = {"w": np.zeros(2)}


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def adds(flower, value):
    """A node that adds its value."""
    return flower.behind_gate(lambda m: flower.update({"w": m.content["arrays"]["w"].numpy() + value}, 1, loss=0.0))


class Coming:
    """A grid whose nodes are there in some rounds only."""

    def __init__(self, flower, nodes, away):
        self.grid = flower.Grid(nodes)
        every = self.grid.get_node_ids
        self.grid.get_node_ids = lambda: [n for n in every() if self.round not in away.get(n, ())]
        send = self.grid.send_and_receive

        def count(messages, *, timeout=None):
            batch = list(messages)
            replies = send(batch, timeout=timeout)
            self.round += bool(batch) and batch[0].metadata.message_type == "train"
            return replies

        self.grid.send_and_receive, self.round = count, 1

    def fit(self, flower, rounds, **terms):
        strategy = FlameFedAvg(evaluate=False, **terms)
        return strategy, strategy.start(self.grid, flower.model(**START), num_rounds=rounds)


def test_a_node_that_was_away_is_used_again(flower, clock):
    """It was waited for once, for as long as nodes are given to connect; what it missed is in the table."""
    coming = Coming(flower, {n: adds(flower, n) for n in (1, 2, 6)}, away={6: (2, 3, 4)})
    strategy, result = coming.fit(flower, 6, node_timeout=30.0)
    assert coming.grid.legs("train") == [1, 2, 6, *[1, 2] * 3, *[1, 2, 6] * 2]
    assert clock.slept == 30.0
    assert result.arrays["w"].numpy().tolist() == [13.5] * 2
    assert [(r.node_id, r.name, r.server_round) for r in strategy.refusals] == [
        (6, "NOT_CONNECTED", n) for n in (2, 3, 4)
    ]


def test_without_enough_nodes_the_fit_ends(flower, clock):
    """After the same wait."""
    coming = Coming(flower, {n: adds(flower, n) for n in (1, 2)}, away={2: (2, 3)})
    with pytest.raises(NotEnoughNodes, match=r"Round 2: 1 of the required 2(.|\n)*NOT_CONNECTED"):
        coming.fit(flower, 3, node_timeout=7.0)
    assert clock.slept == 7.0


@pytest.mark.parametrize("answer", [None, Error(905, "failed"), Error(906, "time"), Error(5, "unavailable")])
def test_a_node_that_failed_or_was_silent_is_asked_again(flower, answer):
    """In the next round."""
    calls = []

    def app(message):
        calls.append(message)
        if len(calls) == 1:
            return answer
        return flower.update({"w": np.ones(2)}, 1, loss=0.0)

    nodes = {1: adds(flower, 1), 2: adds(flower, 2), 3: flower.behind_gate(app)}
    strategy, _ = Coming(flower, nodes, away={}).fit(flower, 3)
    assert len(calls) == 3
    assert [r.server_round for r in strategy.refusals] == [1]


def test_a_node_that_comes_late_is_asked_and_taken_in(flower):
    """If its steward approved; one that refuses is asked once."""
    nodes = {1: adds(flower, 1), 2: adds(flower, 2), 3: adds(flower, 3)}
    nodes[4] = flower.behind_gate(None, Error(901, "no"))
    coming = Coming(flower, nodes, away={3: (1, 2), 4: (1,)})
    strategy, _ = coming.fit(flower, 4)
    assert coming.grid.legs("train") == [1, 2, 1, 2, 1, 2, 3, 1, 2, 3]
    assert coming.grid.legs("query.flame_status") == [1, 2, 4, 3]
    assert [(r.node_id, r.code) for r in strategy.refusals] == [(4, 901)]
    assert strategy.roster.approved == (1, 2, 3)


def test_a_node_that_does_not_tell_is_asked_more_and_more_rarely(flower):
    """It costs a few short waits, not one in each round."""
    silent = lambda m: None  # noqa: E731
    coming = Coming(flower, {1: adds(flower, 1), 2: adds(flower, 2), 3: silent}, away={})
    strategy, _ = coming.fit(flower, 20)
    asked = [i for i, (node, _) in enumerate(coming.grid.sent) if node == 3]
    rounds = [sum(leg == "train" for _, leg in coming.grid.sent[:i]) // 2 + 1 for i in asked[1:]]
    assert rounds == [2, 4, 8, 16]
    assert strategy.roster.silent == (3,)


def test_nobody_is_waited_for_twice(flower, clock):
    """Until they are back."""
    there = [1]
    grid = flower.Grid({})
    grid.get_node_ids = lambda: there
    attendance = Attendance()
    assert attendance.present(grid, (1, 2), 3.0) == (1,)
    assert attendance.present(grid, (1, 2), 3.0) == (1,)
    assert clock.slept == 3.0
    there.append(2)
    assert attendance.present(grid, (1, 2), 3.0) == (1, 2)
    there.remove(2)
    assert attendance.present(grid, (1, 2), 3.0) == (1,)
    assert clock.slept == 6.0
