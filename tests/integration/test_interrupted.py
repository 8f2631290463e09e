"""A run that was killed or interrupted: nothing lost, nothing spent twice, nobody left behind, and the same bits."""

import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import (
    GIVE_UP_SECONDS,
    NODES,
    TOY,
    Done,
    bits,
    is_running,
    result,
    rows,
    wait_until,
    workers_of,
)

pytestmark = pytest.mark.slow

ARGUMENTS = ("simulate", TOY, "--seed", 4, "--run-config", "rounds=6 pause=0.3")
LEDGER = (
    "SELECT seq, at, stores, project, digest, run_id, leg_id, attempt, event, unit || ':' || namespace, state"
    " FROM debits ORDER BY seq"
)


def state(run: Path, node: str) -> Path:
    return run / "nodes" / node / "state.db"


def legs(run: Path, node: str) -> Counter[str]:
    return Counter(how for (how,) in rows(state(run, node), "SELECT state FROM legs"))


def in_the_middle_of_a_round(run: Path) -> bool:
    """Some node has answered twice and is at it again."""
    if not all(state(run, node).exists() for node in NODES):
        return False
    return any(legs(run, node)["released"] >= 2 and legs(run, node)["reserved"] == 1 for node in NODES)


def stopped(process: subprocess.Popen[str], run: Path, how: int) -> tuple[Done, set[int]]:
    """End a run in the middle of a round; says how it ended, and which workers it had then."""
    wait_until(lambda: process.poll() is not None or in_the_middle_of_a_round(run), "a round in its middle")
    workers = workers_of(process.pid)
    process.send_signal(how)
    out, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert workers
    return Done(process.returncode, out, err), workers


def tables(run: Path) -> dict[str, tuple[list[Any], list[Any]]]:
    """Ledger and audit chain of every node."""
    return {
        node: (rows(state(run, node), LEDGER), rows(state(run, node), "SELECT * FROM audit ORDER BY seq"))
        for node in NODES
    }


def finish(start: Callable[..., subprocess.Popen[str]], run: Path) -> Done:
    process = start(*ARGUMENTS, "--out", run)
    out, err = process.communicate(timeout=GIVE_UP_SECONDS)
    return Done(process.returncode, out, err)


@pytest.fixture
def uninterrupted(simulate, tmp_path) -> bytes:
    """The result of the same seed and rounds, without a pause and without a break."""
    assert simulate(TOY, "--seed", 4, "-c", "rounds=6", "--out", tmp_path / "whole").code == 0
    return bits(tmp_path / "whole")


def test_a_killed_run_is_resumed_to_the_same_bits(start, flame, uninterrupted, tmp_path) -> None:
    """SIGKILL in the middle of a round: no worker lives on, no entry is lost, no release is paid twice."""
    run = tmp_path / "run"
    _, workers = stopped(start(*ARGUMENTS, "--out", run), run, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, workers)), "workers end with their parent")
    assert not (run / "result.json").exists()
    before = tables(run)
    released = {
        node: {leg for leg, how in rows(state(run, node), "SELECT leg_id, state FROM legs") if how == "released"}
        for node in NODES
    }
    assert any(len(done) >= 2 for done in released.values())

    resumed = finish(start, run)
    assert resumed.code == 0, resumed.err
    assert "Resuming the run" in resumed.out
    assert bits(run) == uninterrupted
    for node, (ledger, chain) in tables(run).items():
        assert ledger[: len(before[node][0])] == before[node][0]
        assert chain[: len(before[node][1])] == before[node][1]
        paid = Counter(row[6] for row in ledger)
        assert all(paid[leg] == 1 for leg in released[node])
        assert paid.keys() == {str(n) for n in range(1, 7)}
        assert {leg for leg, times in paid.items() if times > 1} <= {row[6] for row in before[node][0]}
    assert flame("node", "audit", "verify", run).code == 0
    assert all(node["audit_verified"] for node in result(run)["nodes"])


def test_an_attempt_that_was_killed_stays_paid(start, tmp_path) -> None:
    """What was in a sandbox at the kill has its first debit for good, and a second one for the second attempt."""
    run = tmp_path / "run"
    stopped(start(*ARGUMENTS, "--out", run), run, signal.SIGKILL)
    open_ = {
        (node, leg)
        for node in NODES
        for leg, how in rows(state(run, node), "SELECT leg_id, state FROM legs")
        if how == "reserved"
    }
    assert open_
    assert finish(start, run).code == 0
    for node, leg in open_:
        attempts = [(row[7], row[10]) for row in rows(state(run, node), LEDGER) if row[6] == leg]
        assert attempts == [(1, "reserved"), (2, "committed")]


def test_an_interrupted_run_ends_in_order_and_is_resumed(start, flame, uninterrupted, tmp_path) -> None:
    """Ctrl-C: exit code 130, no traceback, no worker, no result; the same command goes on to the same bits."""
    run = tmp_path / "run"
    done, workers = stopped(start(*ARGUMENTS, "--out", run), run, signal.SIGINT)
    assert done.code == 130
    assert "Traceback" not in done.out + done.err
    assert not any(map(is_running, workers))
    assert not (run / "result.json").exists()
    assert flame("node", "audit", "verify", run).code == 0

    assert finish(start, run).code == 0
    assert bits(run) == uninterrupted


def test_an_interrupted_run_says_how_to_go_on(start, tmp_path) -> None:
    """A person is told that the same command resumes it."""
    run = tmp_path / "run"
    done, _ = stopped(start(*ARGUMENTS, "--out", run), run, signal.SIGINT)
    assert "Interrupted" in done.err
    assert "resumes with the same command" in done.err


def test_an_interrupted_run_says_so_to_a_program(start, tmp_path) -> None:
    """--json gives the exit code and the mend in one object."""
    run = tmp_path / "run"
    done, _ = stopped(start(*ARGUMENTS, "--out", run, "--json"), run, signal.SIGINT)
    assert done.json["exit_code"] == 130


def test_an_interrupted_run_leaves_no_scratch_behind(start, tmp_path) -> None:
    """The bundle and the sandboxes' folders are taken away."""
    run = tmp_path / "run"
    stopped(start(*ARGUMENTS, "--out", run), run, signal.SIGINT)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_unfinished_run_is_not_resumed_with_other_settings(start, simulate, tmp_path) -> None:
    """What differs is named, with exit code 2, and the run can still be resumed."""
    run = tmp_path / "run"
    stopped(start(*ARGUMENTS, "--out", run), run, signal.SIGINT)
    done = simulate(TOY, "--seed", 5, "--sandbox", "subprocess", "-c", "rounds=6 pause=0.3", "--out", run)
    assert done.code == 2
    assert "differs in --seed" in done.err
    assert finish(start, run).code == 0


def test_a_second_process_does_not_join_a_run(start, simulate, tmp_path) -> None:
    """While one goes on, the same command is refused with exit code 2, and the first one finishes."""
    run = tmp_path / "run"
    process = start(*ARGUMENTS, "--out", run)
    wait_until(lambda: process.poll() is not None or in_the_middle_of_a_round(run), "a round in its middle")
    done = simulate(TOY, "--seed", 4, "--sandbox", "subprocess", "-c", "rounds=6 pause=0.3", "--out", run)
    assert done.code == 2
    assert "Another process" in done.err
    out, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert process.returncode == 0, (out, err)


def test_workers_of_a_finished_run_are_gone(start, tmp_path) -> None:
    """Every session is closed when the run is over."""
    run = tmp_path / "run"
    process = start(*ARGUMENTS, "--out", run)
    wait_until(lambda: process.poll() is not None or in_the_middle_of_a_round(run), "a round in its middle")
    workers = workers_of(process.pid)
    process.communicate(timeout=GIVE_UP_SECONDS)
    assert workers
    assert not any(map(is_running, workers))
