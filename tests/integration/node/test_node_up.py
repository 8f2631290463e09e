"""`flame node up` at a real hub: the stock SuperNode with node authentication, the gate beside it, a researcher."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.approval import Status
from tests.integration.hub.lab import wait_for
from tests.integration.node.nodelab import NodeLab, toy
from tests.integration.runs import audit, bits, is_running, result, workers_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab() -> Iterator[NodeLab]:
    """A hub and a node that are up."""
    lab = NodeLab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.make_node()
        lab.up()
        lab.node_up()
        yield lab
    finally:
        lab.close()


def decide(lab: NodeLab, verb: str, app_digest: str, *options: str) -> None:
    done = lab.node(verb, app_digest[:12], *options)
    assert done.code == 0, done.err


def digest_of(lab: NodeLab, out: Path) -> str:
    """The analysis's digest as the researcher has it: the same at the node."""
    digest: str = result(out)["analysis_digest"]
    assert digest in [r["digest"] for r in lab.requests()]
    return digest


def outside(lab: NodeLab, out: Path) -> list[Path]:
    """Every file at the hub and at the researcher."""
    return [path for folder in (lab.home, out) for path in folder.rglob("*") if path.is_file()]


def codes(lab: NodeLab, out: Path) -> list[tuple[int, str]]:
    return [(r["code"], r["reason"]) for r in lab.replies_of(out) if "code" in r]


def refused(out: Path) -> list[tuple[int, str]]:
    """What the one node said of a run that never began: nobody had approved it."""
    (node,) = result(out)["nodes"]
    return [(refusal["code"], RefusalCode(refusal["code"]).reason) for refusal in node["refusals"]]


def test_an_analysis_from_first_sight_to_withdrawal(lab: NodeLab, tmp_path: Path) -> None:
    """902 and filed; approved while the node runs: it runs; outside its ranges: 908; withdrawn: 907."""
    app = toy(tmp_path, 1)
    done = lab.run(app, "-c", "rounds=1", "--out", tmp_path / "first")
    pending = (902, "this DIZ has not approved the analysis yet; it is filed for the steward")
    assert (done.code, refused(tmp_path / "first")) == (4, [pending])
    assert "refused 902" in lab.node_said()
    digest = digest_of(lab, tmp_path / "first")
    assert [r["status"] for r in lab.requests() if r["digest"] == digest] == ["pending"]
    assert digest[:12] in lab.node("requests").out

    decide(lab, "approve", digest, "--with-project")
    done = lab.run(app, "-c", "rounds=2", "--out", tmp_path / "second")
    assert done.code == 0, done.err + lab.node_said()
    replies = lab.replies_of(tmp_path / "second")
    assert [sorted(r["arrays"]) for r in replies] == [["arrays/x"]] * 2
    assert [r["configs"]["flame"]["node"] for r in replies] == ["DIZ-1"] * 2
    assert bits(tmp_path / "second")

    lab.run(app, "-c", 'misbehave="something else"', "--out", tmp_path / "third")
    assert refused(tmp_path / "third") == [(908, "the request is outside the approved terms")]

    decide(lab, "reject", digest)
    lab.run(app, "-c", "rounds=1", "--out", tmp_path / "fourth")
    assert refused(tmp_path / "fourth") == [(907, "the approval was withdrawn or has expired")]


def test_a_rejected_analysis_is_901(lab: NodeLab, tmp_path: Path) -> None:
    """The steward's no reaches the researcher as a code and a fixed text; the comment does not."""
    app = toy(tmp_path, 2)
    digest = lab.file(app, Status.PENDING)
    assert lab.node("reject", digest, "--comment", "not in this house").code == 0
    lab.run(app, "-c", "rounds=1", "--out", tmp_path / "out")
    assert refused(tmp_path / "out") == [(901, "this DIZ has rejected the analysis or does not take requests")]
    assert not [p for p in outside(lab, tmp_path / "out") if b"not in this house" in p.read_bytes()]
    assert "not in this house" in str(audit(lab.node_home / "state.db", "approval-rejected"))


def test_words_of_a_failing_app_stay_at_the_node(lab: NodeLab, tmp_path: Path) -> None:
    """905 and its fixed text; the exception's own text is in the node's log of the app and nowhere outside."""
    app = toy(tmp_path, 3)
    lab.file(app)
    lab.run(app, "-c", 'rounds=1 misbehave="*:raise"', "--out", tmp_path / "out")
    assert codes(lab, tmp_path / "out") == [(905, "the app failed in its sandbox; details stay at the node")]
    assert not [p for p in outside(lab, tmp_path / "out") if b"Mustermann" in p.read_bytes()]
    assert [p for p in (lab.node_home / "logs").iterdir() if b"Mustermann" in p.read_bytes()]


def test_a_second_gate_of_the_node_is_refused(lab: NodeLab) -> None:
    """One ledger, one gate."""
    second = lab.node("up", "--only", "gate")
    assert second.code == 2
    assert "A gate of this node runs already" in second.err
    assert "`flame node down` ends it" in second.err


def test_status_shows_the_gate_that_runs(lab: NodeLab) -> None:
    """By its process."""
    assert str(lab.processes["node"].pid) in lab.node("status", "--json").json["gate"]


def test_check_at_a_live_hub(lab: NodeLab) -> None:
    """The hub, its certificate and the clock are looked at for real."""
    findings = {f["name"]: f for f in lab.node("check", "--json").json}  # type: ignore[attr-defined]
    assert {name for name, f in findings.items() if not f["holds"]} == set()
    assert "clocks agree" in findings["hub"]["said"]


def test_down_ends_gate_and_supernode_and_the_node_comes_up_again(lab: NodeLab, tmp_path: Path) -> None:
    """SIGTERM by `flame node down`: both end with exit code 0; what was approved is still."""
    app = toy(tmp_path, 5)
    lab.file(app)
    process = lab.processes.pop("node")
    below = workers_of(process.pid)
    assert set(lab.supernodes()) <= below
    done = lab.node("down")
    assert (done.code, done.out.strip()) == (0, "ended")
    assert process.wait(20) == 0
    assert lab.supernodes() == []
    assert not [pid for pid in below if is_running(pid)]
    assert lab.node("down").out.strip() == "no gate of this node was running"
    assert lab.node("status", "--json").json["gate"] == "does not run"
    lab.node_up()
    done = lab.run(app, "-c", "rounds=1", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert ["code" in r for r in lab.replies_of(tmp_path / "out")] == [False]


def test_a_supernode_that_dies_is_started_again(lab: NodeLab, tmp_path: Path) -> None:
    """The gate says so and goes on."""
    (before,) = lab.supernodes()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: "the SuperNode ended" in lab.node_said(), "the gate to say it")
    wait_for(lambda: lab.supernodes() not in ([], [before]), "another SuperNode")
    lab.run(toy(tmp_path, 6), "-c", "rounds=1", "--out", tmp_path / "out")
    assert [code for code, _ in refused(tmp_path / "out")] == [902]


def test_a_withdrawal_in_the_middle_of_a_message_ends_it(lab: NodeLab, tmp_path: Path) -> None:
    """The sandbox is killed while it works: 907 within seconds, nothing more leaves, no stored reply is kept."""
    app = toy(tmp_path, 7, ("toy/client_app.py", 'float(context.run_config["pause"])', "90.0"))
    digest = lab.file(app)
    run_id, _ = lab.submit(app, "-c", "rounds=1", "--out", tmp_path / "out")
    wait_for(
        lambda: str(run_id) in [e["run"] for e in audit(lab.node_home / "state.db", "reserved")], "the message", 60
    )
    before = len(audit(lab.node_home / "state.db", "released"))
    decide(lab, "withdraw", digest)
    withdrawn = time.monotonic()
    wait_for(lambda: "refused 907" in lab.node_said(), "the refusal", 20)
    assert time.monotonic() - withdrawn < 15
    assert "sandboxes were ended" in lab.node_said()
    done = lab.run(app, "--resume", str(run_id), "--out", tmp_path / "out")
    assert done.code != 0
    assert len(audit(lab.node_home / "state.db", "released")) == before
