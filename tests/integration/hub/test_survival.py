"""What a hub and its nodes survive: `kill -9` in the middle of a run."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.hub.lab import Lab, wait_for

pytestmark = pytest.mark.slow


def test_a_killed_supernode_is_offered_its_message_again(lab: Lab, app: Path) -> None:
    """It had pulled it; it is started again with the same key; the run goes on, and counts as if nothing had been."""
    lab.up()
    lab.start_node("DIZ-1")
    before = lab.node_log("DIZ-1").count("Received successfully")
    run_id, folder = lab.submit(app, "-c", "rounds=2 pause=2.0")
    wait_for(lambda: lab.node_log("DIZ-1").count("Received successfully") > before, "the message")
    time.sleep(0.5)
    lab.kill("DIZ-1")
    begun = time.monotonic()
    lab.start_node("DIZ-1")  # at once: it need not wait until it counts as offline
    assert time.monotonic() - begun < 30
    done = lab.run(app, "--resume", run_id)
    assert done.code == 0, done.err + lab.node_log("DIZ-1")
    assert json.loads((folder / "x.json").read_text())[0] == [2.0, 2.0, 2.0]
    assert lab.count(run_id, "reply", ok=True) == 2


def test_a_killed_hub_goes_on(lab: Lab, app: Path) -> None:
    """SuperLink and agent die with it, the ServerApp does not; the next `up` finds it, and the run ends well."""
    lab.up()
    lab.start_node("DIZ-1")
    run_id, folder = lab.submit(app, "-c", "rounds=3 pause=1.0")
    wait_for(lambda: lab.count(run_id, "reply", ok=True) >= 1, "the first reply")
    lab.kill("hub")
    time.sleep(2.0)
    lab.up()
    assert f"run {run_id}: found again" in lab.said()
    done = lab.run(app, "--resume", run_id)
    assert done.code == 0, done.err + lab.said()
    assert json.loads((folder / "x.json").read_text())[0] == [3.0, 3.0, 3.0]


def test_a_superlink_that_dies_is_started_again(lab: Lab, app: Path) -> None:
    """Its parent notices; agent, ServerApp and node wait meanwhile, and the run ends well."""
    lab.up()
    lab.start_node("DIZ-1")
    run_id, folder = lab.submit(app, "-c", "rounds=2 pause=1.0")
    wait_for(lambda: lab.count(run_id, "reply", ok=True) >= 1, "the first reply")
    hub = lab.processes["hub"].pid
    (superlink,) = Path(f"/proc/{hub}/task/{hub}/children").read_text().split()[:1]
    os.kill(int(superlink), signal.SIGKILL)
    done = lab.run(app, "--resume", run_id)
    assert done.code == 0, done.err + lab.said()
    assert json.loads((folder / "x.json").read_text())[0] == [2.0, 2.0, 2.0]
    assert "starting it again" in lab.said()


def test_a_superlink_does_not_outlive_its_hub(lab: Lab) -> None:
    """The port is free for the next one."""
    lab.up()
    hub = lab.processes["hub"].pid
    (superlink,) = Path(f"/proc/{hub}/task/{hub}/children").read_text().split()[:1]
    lab.kill("hub")
    wait_for(lambda: not Path(f"/proc/{superlink}").exists(), "the SuperLink's end", 10)


def test_a_serverapp_that_dies_with_the_hub_ends_clearly(lab: Lab, app: Path) -> None:
    """Nothing is left to go on: the run is failed, and says why."""
    lab.up()
    lab.start_node("DIZ-1")
    run_id, _ = lab.submit(app, "-c", "rounds=3 pause=1.0")
    wait_for(lambda: lab.count(run_id, "reply", ok=True) >= 1, "the first reply")
    handle = json.loads((lab.home / "runs" / str(run_id) / "task.json").read_text())["handle"]
    lab.kill("hub")
    os.killpg(handle["pid"], signal.SIGKILL)
    lab.up()
    done = lab.run(app, "--resume", run_id)
    assert done.code == 1
    assert "lost when the hub restarted" in done.err


def test_a_serverapp_that_dies_ends_its_run(lab: Lab, app: Path) -> None:
    """Killed for memory, say: failed within seconds, not when a heartbeat is missed."""
    lab.up()
    lab.start_node("DIZ-1")
    run_id, _ = lab.submit(app, "-c", "rounds=3 pause=2.0")
    wait_for(lambda: lab.count(run_id, "batch", phase="begun"), "a batch")
    handle = json.loads((lab.home / "runs" / str(run_id) / "task.json").read_text())["handle"]
    os.killpg(handle["pid"], signal.SIGKILL)
    begun = time.monotonic()
    done = lab.run(app, "--resume", run_id)
    assert done.code == 1
    assert "ended by signal 9" in done.err
    assert time.monotonic() - begun < 20


def test_a_hub_ends_when_told_to(lab: Lab) -> None:
    """SIGTERM: its SuperLink ends, exit code 0, and it can be started again."""
    before = lab.said().count("hub is down")
    for _ in range(2):
        lab.up()
        process = lab.processes["hub"]
        lab.kill("hub", signal.SIGTERM)
        assert process.returncode == 0
    assert lab.said().count("hub is down") == before + 2


def test_two_hubs_of_one_home_are_refused(lab: Lab) -> None:
    """The second says so at once."""
    lab.up()
    second = lab.flame("hub", "up")
    assert second.code == 2
    assert "is up already" in second.err
