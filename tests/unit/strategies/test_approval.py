"""Asking the gates."""

import pytest
from flame_strategies import NotEnoughNodes, ask_gates
from flwr.app import Error, MetricRecord, RecordDict


def nothing(_message):
    raise AssertionError("asked for more than the status")


def test_every_node_is_in_exactly_one_list(flower):
    """Approved, refusing, silent and ungated nodes are told apart, in ascending order."""
    grid = flower.Grid(
        {
            70: flower.behind_gate(nothing),
            20: flower.behind_gate(nothing),
            31: flower.behind_gate(nothing, flower.status("pending", 902)),
            30: flower.behind_gate(nothing, Error(901, "not approved")),
            40: lambda _m: None,
            41: lambda _m: Error(5, "node unavailable"),
            50: lambda _m: Error(2, "no handler"),
            51: lambda _m: RecordDict({"hello": MetricRecord({"x": 1})}),
        },
        backwards=True,
    )
    roster = ask_gates(grid)
    assert roster.approved == (20, 70)
    assert [(node, r.code, r.name) for node, r in roster.refusals.items()] == [
        (30, 901, "NOT_APPROVED"),
        (31, 902, "PENDING_APPROVAL"),
    ]
    assert roster.silent == (40, 41)
    assert roster.ungated == (50, 51)


def test_ungated_nodes_are_used_only_on_demand(flower):
    """A node without a gate joins the approved ones only with `allow_ungated`."""
    grid = flower.Grid({2: lambda _m: Error(2, "no handler"), 1: flower.behind_gate(nothing)})
    assert ask_gates(grid).approved == (1,)
    assert ask_gates(grid, allow_ungated=True).approved == (1, 2)
    assert ask_gates(grid, allow_ungated=True).ungated == ()


@pytest.mark.parametrize("answer", [("approved", 902), ("pending", 0), ("Approved", 0), ("", 0)])
def test_only_an_unambiguous_yes_is_an_approval(flower, answer):
    """A status whose word and code do not both say "approved" is a refusal."""
    roster = ask_gates(flower.Grid({1: flower.behind_gate(nothing, flower.status(*answer))}), allow_ungated=True)
    assert roster.approved == ()
    assert list(roster.refusals) == [1]


def test_too_few_approvals_name_who_refused_and_why(flower):
    """The error of `require` lists each node with its reason."""
    grid = flower.Grid({1: flower.behind_gate(nothing), 2: lambda _m: Error(907, "approval withdrawn")})
    roster = ask_gates(grid)
    assert roster.require(1) == (1,)
    with pytest.raises(NotEnoughNodes, match=r"1 of the required 2(.|\n)*node +2 +907 WITHDRAWN_OR_EXPIRED: approval"):
        roster.require(2)


def test_an_ungated_nodes_error_text_is_not_repeated(flower):
    """Exception texts of an app may quote data; they do not reach the roster."""
    grid = flower.Grid({1: lambda _m: Error(2, "KeyError: 'patient Miller'")})
    assert "Miller" not in str(ask_gates(grid))


def test_no_node_is_waited_for_that_cannot_come(flower, monkeypatch):
    """A hub shows the nodes that had approved when the run began, and says how many those are."""
    monkeypatch.setattr("flame_strategies.approval.time.sleep", lambda seconds: pytest.fail("waits"))
    grid = flower.Grid({2: flower.behind_gate(nothing), 1: flower.behind_gate(nothing)})
    grid.flame_sites = 2
    roster = ask_gates(grid, min_nodes=3)
    assert roster.approved == (1, 2)
    with pytest.raises(NotEnoughNodes):
        roster.require(3)


def test_waiting_for_nodes_ends(flower):
    """With too few nodes connected the roster comes back after the timeout, with those there are."""
    grid = flower.Grid({1: flower.behind_gate(nothing)})
    assert ask_gates(grid, min_nodes=2, timeout=0.01).approved == (1,)
    assert grid.timeouts == [0.01]


def test_no_node_at_all_is_an_empty_roster(flower):
    """Nothing is sent and nobody is approved."""
    grid = flower.Grid({})
    assert ask_gates(grid, timeout=0.01).approved == ()
    assert grid.sent == []
