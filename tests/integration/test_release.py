"""What leaves a virtual DIZ in a whole simulation, told by what the ServerApp saw."""

import json
import math

import pytest

from flame_fl.contract.refusal import RefusalCode
from tests.integration.runs import NODES, TOY, audit, edited, refusals, replies, result, seen

CLIP = ("pyproject.toml", 'mechanism = "none"', 'mechanism = "clip"\nclip_norm = 1.0')
SECRET = "Mustermann"


def misbehaving(simulate, tmp_path, how: str, *arguments: object):
    return simulate(TOY, "-c", f'misbehave="{how}"', "--out", tmp_path / "run", *arguments)


def updates(folder, index: int) -> list[list[float]]:
    """What a node added to what it was sent, round by round."""
    found = []
    for each in seen(folder):
        (reply,) = [r for r in each["replies"] if r["node"] == 10_001 + index]
        found.append([a - b for a, b in zip(reply["arrays"]["arrays/x"], each["sent"], strict=True)])
    return found


def test_an_update_a_hundred_times_too_large_leaves_clipped(simulate, tmp_path) -> None:
    """Its norm is 100 in the sandbox and clip_norm outside, in the direction it had."""
    app = edited(TOY, tmp_path / "app", CLIP)
    assert simulate(app, "-c", 'misbehave="1:huge"', "--out", tmp_path / "run").code == 0
    huge = updates(tmp_path / "run", 1)
    assert huge == [pytest.approx([0.5] * 4)] * 3
    assert all(math.hypot(*update) <= 1 + 1e-12 for update in huge)


def test_without_clipping_the_same_update_leaves_as_it_is(simulate, tmp_path) -> None:
    """So it is the mechanism that clips, and not the app."""
    misbehaving(simulate, tmp_path, "1:huge")
    assert updates(tmp_path / "run", 1) == [pytest.approx([50.0] * 4)] * 3


def test_no_node_pushes_further_than_clip_norm(simulate, tmp_path) -> None:
    """The bound holds for every update of every node."""
    app = edited(TOY, tmp_path / "app", CLIP)
    simulate(app, "--out", tmp_path / "run")
    norms = [math.hypot(*update) for index in range(3) for update in updates(tmp_path / "run", index)]
    assert max(norms) <= 1 + 1e-12


@pytest.mark.parametrize("how", ["extra", "nan"])
def test_what_does_not_fit_the_contract_does_not_leave(simulate, tmp_path, how: str) -> None:
    """An array that is not listed, or a NaN: 904 each time, with the fixed text and nothing else."""
    misbehaving(simulate, tmp_path, f"1:{how}")
    fixed = {"node": 10_002, "code": 904, "reason": RefusalCode.RELEASE_REJECTED.reason}
    assert replies(tmp_path / "run", 1) == [fixed] * 3
    assert refusals(tmp_path / "run") == {"DIZ-1": {}, "DIZ-2": {904: 3}, "DIZ-3": {}}


@pytest.mark.parametrize("how", ["extra", "nan"])
def test_the_others_go_on_without_a_node_that_may_not_send(simulate, tmp_path, how: str) -> None:
    """Their replies are used, and the run finishes."""
    assert misbehaving(simulate, tmp_path, f"1:{how}").code == 0
    assert [node["messages"] for node in result(tmp_path / "run")["nodes"]] == [3, 0, 3]


@pytest.mark.parametrize(("how", "sandbox"), [("raise", "in-process"), ("raise", "subprocess"), ("exit", "subprocess")])
def test_an_app_that_fails_at_one_node_is_905_there_and_the_others_go_on(
    simulate, tmp_path, how: str, sandbox: str
) -> None:
    """Raising or exiting, each message is answered with the refusal, and the run finishes."""
    assert misbehaving(simulate, tmp_path, f"1:{how}", "--sandbox", sandbox).code == 0
    assert refusals(tmp_path / "run") == {"DIZ-1": {}, "DIZ-2": {905: 3}, "DIZ-3": {}}
    assert [node["messages"] for node in result(tmp_path / "run")["nodes"]] == [3, 0, 3]


@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_an_exceptions_text_does_not_leave(simulate, tmp_path, sandbox: str) -> None:
    """A patient's name in it is in no message the server saw, and in nothing that the report is made of."""
    misbehaving(simulate, tmp_path, "1:raise", "--sandbox", sandbox)
    run = tmp_path / "run"
    assert (
        replies(run, 1)
        == [
            {"node": 10_002, "code": 905, "reason": RefusalCode.SANDBOX_FAILED.reason},
        ]
        * 3
    )
    for name in ("seen.json", "result.json", "report.html", "logs/server.log"):
        assert SECRET not in (run / name).read_text()


@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_an_exceptions_text_is_kept_at_the_node(simulate, tmp_path, sandbox: str) -> None:
    """In the sandbox's log, or with an in-process sandbox in the gate's details: the node's own people can see it."""
    done = misbehaving(simulate, tmp_path, "1:raise", "--sandbox", sandbox)
    kept = json.dumps(audit(tmp_path / "run" / "nodes" / "DIZ-2" / "state.db", "refused"))
    kept += "".join(log.read_text() for log in (tmp_path / "run" / "logs").glob("DIZ-2-*.log"))
    assert SECRET in kept
    assert SECRET in done.out  # a simulation shows its own user why


def test_json_does_not_hold_an_exceptions_text(simulate, tmp_path) -> None:
    """What a program reads is what left."""
    done = misbehaving(simulate, tmp_path, "1:raise", "--sandbox", "subprocess", "--json")
    assert SECRET not in done.out


def test_an_app_that_fails_everywhere_is_told_so(simulate, tmp_path) -> None:
    """The ServerApp gets no reply at all; the error names that, and result.json says failed."""
    done = misbehaving(simulate, tmp_path, "*:raise")
    assert done.code == 1
    assert "Every DIZ refused its last exchange" in done.err
    assert result(tmp_path / "run")["status"] == "failed"
    assert refusals(tmp_path / "run") == {node: {905: 3} for node in NODES}


def test_what_the_gate_itself_says_is_all_that_is_added(simulate, tmp_path) -> None:
    """A reply holds the contract's array and metric and the gate's own record, and nothing besides."""
    simulate(TOY, "--out", tmp_path / "run")
    for each in seen(tmp_path / "run"):
        for reply in each["replies"]:
            assert list(reply["arrays"]) == ["arrays/x"]
            assert {r: list(v) for r, v in reply["metrics"].items()} == {"metrics": ["num-examples"]}
            assert {r: set(v) for r, v in reply["configs"].items()} == {
                "flame": {"node", "audit_head", "audit_signature", "ground", "unit", "noise_std", "clip_norm", "blocks"}
            }


def test_the_report_lists_every_exchange_once(simulate, tmp_path) -> None:
    """Three rounds are three, also when a node refuses each of them."""
    misbehaving(simulate, tmp_path, "1:raise")
    assert [(r["index"], r["message_type"]) for r in result(tmp_path / "run")["rounds"]] == [
        (number, "train") for number in (1, 2, 3)
    ]
