"""A ServerApp that dies is started again by its hub and goes on from its last checkpoint, to the same bits."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hub.lab import Lab, wait_for
from tests.integration.hub.resumable import make_resumable_app

pytestmark = pytest.mark.slow

ROUNDS, ARGUMENTS = 3, ("-c", "rounds=3 pause=0.5")


@pytest.fixture(scope="module")
def resuming() -> Iterator[Lab]:
    """A hub with two nodes, all up."""
    lab = Lab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.add_node("DIZ-1")
        lab.add_node("DIZ-2")
        lab.up()
        lab.start_node("DIZ-1")
        lab.start_node("DIZ-2")
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app, the same in every run."""
    return make_resumable_app(tmp_path_factory.mktemp("resumable"))


@pytest.fixture(scope="module")
def uninterrupted(resuming: Lab, app: Path) -> dict[str, bytes]:
    """What a run leaves that nobody interrupts."""
    run_id, folder = resuming.submit(app, *ARGUMENTS)
    done = resuming.run(app, "--resume", run_id)
    assert done.code == 0, done.err
    assert json.loads((folder / "resumed.json").read_text()) == 0
    return left(folder)


def left(folder: Path) -> dict[str, bytes]:
    """The files of a run that do not tell when it took place."""
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "model.json", "metrics.jsonl")}


def server_app(lab: Lab, run_id: int) -> int:
    """The process group of a run's ServerApp."""
    return int(json.loads((lab.home / "runs" / str(run_id) / "task.json").read_text())["handle"]["pid"])


def wait_for_kept_round(lab: Lab, run_id: int, number: int) -> None:
    """Wait until the hub has the checkpoint of this round, or of a later one."""

    def kept() -> bool:
        files = (lab.home / "runs" / str(run_id) / "checkpoint").glob("*/*/state.json")
        return any(json.loads(file.read_text())["round"] >= number for file in files)

    wait_for(kept, f"the checkpoint of round {number}")


def test_a_killed_run_ends_with_the_same_weights(resuming: Lab, app: Path, uninterrupted: dict[str, bytes]) -> None:
    """`kill -9` of hub, SuperLink and ServerApp after round 1; of the ServerApp alone, as for memory, after round 2."""
    lab = resuming
    run_id, folder = lab.submit(app, *ARGUMENTS)
    wait_for_kept_round(lab, run_id, 1)
    pid = server_app(lab, run_id)
    lab.kill("hub")
    os.killpg(pid, signal.SIGKILL)
    lab.up()
    assert f"run {run_id}: it was lost when the hub restarted; starting its ServerApp again" in lab.said()
    wait_for_kept_round(lab, run_id, 2)
    os.killpg(server_app(lab, run_id), signal.SIGKILL)
    done = lab.run(app, "--resume", run_id)
    assert done.code == 0, done.err + lab.said()
    assert left(folder) == uninterrupted
    assert json.loads((folder / "resumed.json").read_text()) == 2
    assert f"Resumed from round 2 of {ROUNDS}" in done.out
    assert "(it was lost when the hub restarted) and was started again, 1 of 3 times" in done.out
    assert "(it was ended by signal 9) and was started again, 2 of 3 times" in done.out
    told = [event["round"] for event in lab.events(run_id) if event["kind"] == "round" and event["seconds"] > 0]
    assert told == list(range(1, ROUNDS + 1))  # no round was computed twice to its end
    assert not (lab.home / "runs" / str(run_id) / "checkpoint").exists()  # the run is over
