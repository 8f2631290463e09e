"""`kill -9` of every part of a federation at every step of a gate: runs go on, budgets hold, nothing leaves twice.

In each run's rounds the three nodes are stopped at three different points, and then the part is killed: nine points in
three rounds. Round 0 is without faults, so that the sandboxes are warm. What all nodes' steps look alike to, the
ServerApp and the engine, is killed in one round. FLAME_TEST_KILL_ENGINE=1 lets the Docker Engine be killed, which is
the whole machine's; another value is the command that starts it again, instead of tests/support/engine.sh.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.faults.conftest import STEADY
from tests.integration.runs import edited
from tests.support.faults import NODES, POINTS, AppRun, Debit, Federation, kill, kill_engine, stored, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.slow]

STOPS = [(NODES[i % 3], 1 + i // 3, point) for i, point in enumerate(POINTS)]
ROUNDS = {1: STOPS[:3], 2: STOPS[3:6], 3: STOPS[6:]}
# a gate that dies after its debit and before its commit must debit again; nothing else costs a second attempt
PAID_TWICE = {"reserved", "running", "released", "committing", "recording"}


Stop = tuple[str, int, str]


def kill_gate(federation: Federation, node: str) -> None:
    kill(federation.gate(node))


def kill_supernode(federation: Federation, node: str) -> None:
    kill(federation.child(federation.gate(node), "flame_fl.flower.supernode"))


def kill_sandboxes(federation: Federation, node: str) -> None:
    for container in federation.containers(node, "sandbox"):
        if container.status == "running":
            container.kill("SIGKILL")


def kill_server_app(federation: Federation) -> None:
    (container,) = federation.containers("hub")
    container.kill("SIGKILL")


def kill_hub(federation: Federation) -> None:
    kill(federation.hub())


def kill_superlink(federation: Federation) -> None:
    kill(federation.child(federation.hub(), "flame_fl.flower.superlink"))


AT_NODE = {"gate": kill_gate, "supernode": kill_supernode, "sandbox": kill_sandboxes}
AT_HUB = {"hub": kill_hub, "superlink": kill_superlink}


@pytest.mark.parametrize("target", [*AT_NODE, *AT_HUB])
def test_a_run_goes_on(whole: Federation, target: str) -> None:
    """It finishes with every reply of every node, each released once and paid as often as it was tried."""
    whole.arm(STOPS)
    run = whole.run(STEADY, "--run-config", f"pause={2.0 if target == 'sandbox' else 0.5}")
    before = Ledgers(whole)
    for stops in ROUNDS.values():
        strike(whole, run, stops, before, at_node=AT_NODE.get(target), at_hub=AT_HUB.get(target))
    ended = run.ended()
    assert ended.code == 0, (ended, {node: whole.log(node) for node in NODES}, whole.log("hub"))
    before.check()
    assert [len(run.told), [reply for reply in run.told if "code" in reply]] == [12, []]
    check_released_once(whole, run, run.told)
    expected = {node: dict.fromkeys(range(4), 1) for node in NODES}
    for node, number, point in STOPS:
        expected[node][number] += target == "gate" and point in PAID_TWICE
    assert {node: run.attempts(node) for node in NODES} == expected
    zeros = {(node, body["leg"]) for node in NODES for body in whole.audit(node, "released", run.id) if why(body)}
    assert len(zeros) == (target == "sandbox")  # the one that died in step 3: under the claim a failure does not show
    check_clean(whole)


def test_without_a_claim_a_sandbox_that_dies_is_refused(whole: Federation, tmp_path: Path) -> None:
    """905 for the message that was in it, and nothing for the other two, whose step 3 was not there yet or was over."""
    lines = [line for line in (STEADY / "pyproject.toml").read_text().splitlines() if "=" in line]
    claim = lines[lines.index('unit = "site"') :][:6]
    app = edited(
        STEADY, tmp_path, ("pyproject.toml", "\n".join(claim), 'unit = "none"\nground = "none"\nmechanism = "none"')
    )
    whole.approve(app)
    stops = [("DIZ-1", 1, "running"), ("DIZ-2", 1, "reserved"), ("DIZ-3", 1, "released")]
    whole.arm(stops)
    run = whole.run(app, "--run-config", "rounds=3 pause=2.0")
    before = Ledgers(whole)
    strike(whole, run, stops, before, at_node=kill_sandboxes)
    ended = run.ended()
    assert ended.code == 0, ended
    before.check()
    assert [(reply["round"], reply["code"]) for reply in run.told if "code" in reply] == [(1, 905)]
    assert len(run.told) == 9
    check_released_once(whole, run, run.told)
    assert {node: run.attempts(node) for node in NODES} == {node: dict.fromkeys(range(3), 1) for node in NODES}
    check_clean(whole)


def test_a_run_whose_server_app_dies_ends_and_says_so(whole: Federation) -> None:
    """Exit code 1 within seconds; what the nodes were doing is finished, paid, and goes nowhere."""
    stops = [("DIZ-1", 1, "running"), ("DIZ-2", 1, "recording"), ("DIZ-3", 1, "sending")]
    whole.arm(stops)
    run = whole.run(STEADY)
    before = Ledgers(whole)
    strike(whole, run, stops, before, at_hub=kill_server_app)
    ended = run.ended(30)
    assert ended.code == 1
    assert "The ServerApp ended unfinished" in ended.said["error"], ended.out
    wait_for(lambda: len(releases(whole, run)) == 6, "the end of what was begun", 30)
    before.check()
    check_released_once(whole, run, [])
    check_clean(whole)


@pytest.mark.skipif("FLAME_TEST_KILL_ENGINE" not in os.environ, reason="would kill the machine's Docker Engine")
def test_the_engine_dies(whole: Federation) -> None:
    """Its containers go with it, the ServerApp's too: the run ends and says so, no debit is lost, the next one runs.

    Before, in and after step 3: the others need no engine.
    """
    stops = [("DIZ-1", 1, "running"), ("DIZ-2", 1, "reserved"), ("DIZ-3", 1, "recording")]
    whole.arm(stops)
    run = whole.run(STEADY)
    before = Ledgers(whole)
    strike(whole, run, stops, before, at_hub=lambda _: kill_engine(os.environ["FLAME_TEST_KILL_ENGINE"]))
    ended = run.ended()
    assert ended.code == 0 or "The ServerApp ended unfinished" in ended.said["error"], ended
    wait_for(lambda: len(releases(whole, run)) >= 6, "the end of what was begun", 60)
    before.check()
    check_released_once(whole, run, [])
    after = whole.run(STEADY, "--run-config", "rounds=1 pause=0.0")
    assert after.ended().code == 0
    assert [reply for reply in after.told if "code" in reply] == []
    check_clean(whole)


class Ledgers:
    """The nodes' ledgers as they were: no debit may be lost or changed; at most it becomes final."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._seen: dict[str, list[Debit]] = {}
        self.check()

    def check(self) -> None:
        """Compare with the last look, and look."""
        for node in NODES:
            now, before = self._federation.ledger(node), self._seen.get(node, [])
            assert [debit[:-1] for debit in now[: len(before)]] == [debit[:-1] for debit in before]
            assert all(old.state in {"reserved", new.state} for old, new in zip(before, now, strict=False))
            self._seen[node] = now


def strike(
    federation: Federation,
    run: AppRun,
    stops: Iterable[Stop],
    ledgers: Ledgers,
    *,
    at_node: Callable[[Federation, str], None] | None = None,
    at_hub: Callable[[Federation], None] | None = None,
) -> None:
    """Kill each node's part as soon as it has stopped, the hub's once all have; start it, let go of what still stands.

    The first to be waited for may be "running": its app computes while the others come to where they stop.
    """
    for stop in stops:
        federation.await_stop(run, *stop)
        ledgers.check()
        if at_node is not None:
            at_node(federation, stop[0])
    if at_hub is not None:
        at_hub(federation)
    federation.start_dead()
    ledgers.check()
    for stop in stops:
        federation.let_go(*stop)


def releases(federation: Federation, run: AppRun) -> list[dict[str, Any]]:
    """Audited releases of a run, at all nodes."""
    return [body for node in NODES for body in federation.audit(node, "released", run.id)]


def why(body: dict[str, Any]) -> str:
    """Why a release is the zero vector; empty if it is not."""
    return str(body["zero_vector_because"])


def check_released_once(federation: Federation, run: AppRun, told: list[dict[str, Any]]) -> None:
    """One release per leg, no content twice; every attempt is paid; what the ServerApp got is what was stored."""
    got = {reply["leg"]: (reply["x"], reply["audit_head"]) for reply in told if "x" in reply}
    committed: dict[str, tuple[str, str]] = {}
    for node in NODES:
        debits = [debit for debit in federation.ledger(node) if debit.run == run.id]
        reserved = [(body["leg"], body["attempt"]) for body in federation.audit(node, "reserved", run.id)]
        released = federation.audit(node, "released", run.id)
        attempts = list(dict.fromkeys((debit.leg, debit.attempt) for debit in debits))
        assert attempts == reserved
        assert sum(run.attempts(node).values()) == len(attempts) >= len(released)
        assert len({body["leg"] for body in released}) == len(released)
        if all(debit.claims for debit in debits):
            assert len({body["content"] for body in released}) == len(released)
        states = {(debit.leg, debit.attempt, debit.state) for debit in debits}
        assert len(states) == len(attempts)  # all accounts of an attempt, or none
        assert sorted((leg, attempt) for leg, attempt, state in states if state == "committed") == sorted(
            (body["leg"], body["attempt"]) for body in released
        )
        committed |= stored(federation, node, run.id)
    assert {leg: committed[leg] for leg in got} == got


def check_clean(federation: Federation) -> None:
    """The chains hold, and every container is one that a living gate uses."""
    verified = federation.flame("node", "audit", "verify", federation.home.path, "--json")
    assert [chain["node"] for chain in verified.said] == list(NODES)
    wait_for(lambda: federation.containers("hub") == [], "the end of the ServerApp's container", 10)
    for node in NODES:
        boxes = federation.containers(node)
        scratch = list((federation.home.node(node).state / "runs").iterdir())
        assert len(scratch) == len(boxes) <= 2, (node, boxes, scratch)
