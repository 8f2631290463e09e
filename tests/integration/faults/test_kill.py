"""`kill -9` of every part of a federation at every step of a gate: runs go on, budgets hold, nothing leaves twice.

In each run's rounds the three nodes are stopped at three different points, and then the part is killed: nine points in
three rounds. Round 0 is without faults, so that the sandboxes are warm.
"""

from collections.abc import Callable

import pytest

from tests.integration.faults.conftest import STEADY
from tests.support.faults import NODES, POINTS, AppRun, Federation, kill, stored

pytestmark = [pytest.mark.docker, pytest.mark.slow]

STOPS = [(NODES[i % 3], 1 + i // 3, point) for i, point in enumerate(POINTS)]
ROUNDS = {1: STOPS[:3], 2: STOPS[3:6], 3: STOPS[6:]}
# a gate that dies after its debit and before its commit must debit again; nothing else costs a second attempt
PAID_TWICE = {"reserved", "running", "released", "committing", "recording"}


def kill_gates(federation: Federation, stops: list[tuple[str, int, str]]) -> None:
    for node, _, _ in stops:
        kill(federation.gate(node))
    federation.start_dead()


def kill_supernodes(federation: Federation, stops: list[tuple[str, int, str]]) -> None:
    for node, _, _ in stops:
        kill(federation.child(federation.gate(node), "flame_fl.flower.supernode"))


def kill_sandboxes(federation: Federation, stops: list[tuple[str, int, str]]) -> None:
    for node, _, _ in stops:
        for container in federation.containers(node, "sandbox"):
            if container.status == "running":
                container.kill("SIGKILL")


def kill_hub(federation: Federation, stops: list[tuple[str, int, str]]) -> None:
    kill(federation.hub())
    federation.start_dead()


def kill_superlink(federation: Federation, stops: list[tuple[str, int, str]]) -> None:
    kill(federation.child(federation.hub(), "flame_fl.flower.superlink"))


TARGETS: dict[str, Callable[[Federation, list[tuple[str, int, str]]], None]] = {
    "gate": kill_gates,
    "supernode": kill_supernodes,
    "sandbox": kill_sandboxes,
    "hub": kill_hub,
    "superlink": kill_superlink,
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_run_goes_on(whole: Federation, target: str) -> None:
    """It finishes with every reply of every node, each released once and paid as often as it was tried."""
    whole.arm(STOPS)
    run = whole.run(STEADY)
    before = {}
    for stops in ROUNDS.values():
        for stop in stops:
            whole.await_stop(*stop)
        before |= {node: whole.ledger(node) for node in NODES}
        TARGETS[target](whole, stops)
        for stop in stops:
            whole.let_go(*stop)
        check_kept(whole, before)
    ended = run.ended()
    assert ended.code == 0, (ended, {node: whole.log(node) for node in NODES}, whole.log("hub"))
    check_kept(whole, before)
    check_released_once(whole, run)
    expected = {node: dict.fromkeys(range(4), 1) for node in NODES}
    for node, number, point in STOPS:
        expected[node][number] += target == "gate" and point in PAID_TWICE
    assert {node: run.attempts(node) for node in NODES} == expected
    assert len(run.told) == 12
    assert [reply for reply in run.told if "code" in reply] == []
    check_clean(whole)


def check_kept(federation: Federation, before: dict) -> None:
    """No debit was lost or changed; at most it became final."""
    for node, debits in before.items():
        now = federation.ledger(node)[: len(debits)]
        assert [debit[:-1] for debit in now] == [debit[:-1] for debit in debits]
        assert all(old.state in {"reserved", new.state} for old, new in zip(debits, now, strict=True))


def check_released_once(federation: Federation, run: AppRun) -> None:
    """One release per leg and at most one content; every attempt is paid; what the ServerApp got is what was stored."""
    told = {reply["leg"]: (reply["x"], reply["audit_head"]) for reply in run.told if "x" in reply}
    committed: dict[str, tuple[str, str]] = {}
    for node in NODES:
        debits = [debit for debit in federation.ledger(node) if debit.run == run.id]
        reserved = [(body["leg"], body["attempt"]) for body in federation.audit(node, "reserved", run.id)]
        released = federation.audit(node, "released", run.id)
        assert [(debit.leg, debit.attempt) for debit in debits] == reserved
        assert sum(run.attempts(node).values()) == len(debits) >= len(released)
        assert all(debit.rho and debit.rho > 0 for debit in debits)
        assert len({body["leg"] for body in released}) == len({body["content"] for body in released}) == len(released)
        final = [(debit.leg, debit.attempt) for debit in debits if debit.state == "committed"]
        assert sorted(final) == sorted((body["leg"], body["attempt"]) for body in released)
        committed |= stored(federation, node, run.id)
    assert {leg: committed[leg] for leg in told} == told
    assert len({head for _, head in told.values()}) == len(told)


def check_clean(federation: Federation) -> None:
    """The chains hold, and every container is one that a living gate uses."""
    federation.at_every_node("node", "audit", "verify")
    assert federation.containers("hub") == []
    for node in NODES:
        boxes = federation.containers(node)
        folder = federation.home.node(node).state / "runs"
        assert len(boxes) <= 2
        assert len(list(folder.iterdir())) == len(boxes), (node, boxes)
