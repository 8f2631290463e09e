"""`flame run --wait`: a run that waits for stewards, at a real hub with two nodes."""

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.hub.gated import forget, make_gated_app, steward, times_asked
from tests.integration.hub.lab import Lab, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub_with_two() -> Iterator[Lab]:
    """A hub that is up, with alice, Ulm and Leipzig."""
    lab = Lab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.up()
        for name in ("Ulm", "Leipzig"):
            lab.add_node(name)
            lab.start_node(name)
        yield lab
    finally:
        lab.close()


@pytest.fixture
def two(hub_with_two: Lab) -> Lab:
    """Ulm has approved, Leipzig has not decided."""
    forget(hub_with_two)
    steward(hub_with_two, "Ulm", "approved")
    return hub_with_two


def told(lab: Lab, run_id: int, phase: str) -> bool:
    return bool(lab.count(run_id, "gather", phase=phase))


def counted(folder: Path) -> list[float]:
    found: list[float] = json.loads((folder / "x.json").read_text())[0]
    return found


def test_who_approves_a_few_seconds_later_takes_part(two: Lab, tmp_path: Path) -> None:
    """The run waits, begins with both as soon as the second has decided, and asks the first no more."""
    app = make_gated_app(tmp_path, 2)
    run_id, folder = two.submit(app, "--wait", "10m")
    wait_for(lambda: told(two, run_id, "waiting"), "the waiting")
    waiting = next(e for e in two.events(run_id) if e["kind"] == "gather")
    assert waiting["waiting_for"] == [str(two.node_ids["Leipzig"])]
    assert not two.count(run_id, "batch")
    time.sleep(3)
    steward(two, "Leipzig", "approved")
    done = two.run(app, "--resume", run_id, "--json")
    assert done.code == 0, done.err + two.said()
    assert sorted(s["name"] for s in done.json["standings"] if s["status"] == "approved") == ["Leipzig", "Ulm"]
    assert times_asked(two, "Ulm") == 1
    assert times_asked(two, "Leipzig") > 1
    assert counted(folder) == [2.0] * 3
    assert {n["name"]: n["messages"] for n in done.json["nodes"]} == {"Ulm": 2, "Leipzig": 2}


def test_when_the_time_is_over_it_goes_on_with_those_that_approved(two: Lab, tmp_path: Path) -> None:
    """The app needs one; who was left out, and why, is printed and in the report."""
    app = make_gated_app(tmp_path, 1)
    begun = time.monotonic()
    done = two.run(app, "--wait", "8s", "--out", tmp_path / "out")
    assert done.code == 0, done.err + two.said()
    assert time.monotonic() - begun > 8
    assert "1 of 2 DIZ approved" in done.out
    assert "1 of 2 DIZ approved, waiting for Leipzig (" in done.out
    assert "Not in this run: Leipzig (pending, 902)" in done.out
    nodes = {n["name"]: n for n in json.loads((tmp_path / "out" / "result.json").read_text())["run"]["nodes"]}
    assert (nodes["Ulm"]["messages"], nodes["Leipzig"]["messages"], nodes["Leipzig"]["status"]) == (2, 0, "pending")
    assert "Leipzig" in (tmp_path / "out" / "report.html").read_text()


def test_when_the_time_is_over_and_too_few_approved_it_ends(two: Lab, tmp_path: Path) -> None:
    """Exit code 4: the stewards have not decided. The app did not run."""
    done = two.run(make_gated_app(tmp_path, 2), "--wait", "3s", "--json", "--out", tmp_path / "out")
    assert done.code == 4, done.err
    assert "1 of 2 DIZ approved, and the app needs 2: Leipzig has not decided" in done.json["error"]
    assert {s["name"]: s["status"] for s in done.json["standings"]} == {"Ulm": "approved", "Leipzig": "pending"}
    assert not (tmp_path / "out" / "x.json").exists()


def test_without_wait_it_does_not_wait(two: Lab, tmp_path: Path) -> None:
    """It goes on with those that approved; a DIZ that rejected is no reason to wait either."""
    app = make_gated_app(tmp_path, 1)
    done = two.run(app, "-c", "rounds=0", "--json", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert times_asked(two, "Leipzig") == 1
    steward(two, "Leipzig", "rejected")
    begun = time.monotonic()
    done = two.run(app, "-c", "rounds=0", "--json", "--wait", "10m", "--out", tmp_path / "two")
    assert done.code == 0, done.err
    assert time.monotonic() - begun < 60
    assert next(s for s in done.json["standings"] if s["left_out"])["status"] == "rejected"


def test_a_hub_that_is_killed_while_a_run_waits_goes_on(two: Lab, tmp_path: Path) -> None:
    """The next `up` finds it waiting, and the wish is still its own."""
    app = make_gated_app(tmp_path, 2)
    run_id, folder = two.submit(app, "--wait", "10m")
    wait_for(lambda: told(two, run_id, "waiting"), "the waiting")
    two.kill("hub")
    time.sleep(2.0)
    two.up()
    assert f"run {run_id}: found again" in two.said()
    steward(two, "Leipzig", "approved")
    done = two.run(app, "--resume", run_id)
    assert done.code == 0, done.err + two.said()
    assert counted(folder) == [2.0] * 3


def test_the_wish_can_be_changed_while_it_waits(two: Lab, tmp_path: Path) -> None:
    """`--resume RUN --wait 1s`: enough of it."""
    app = make_gated_app(tmp_path, 1)
    run_id, _ = two.submit(app, "--wait", "10m", "-c", "rounds=0")
    wait_for(lambda: told(two, run_id, "waiting"), "the waiting")
    done = two.run(app, "--resume", run_id, "--wait", "1s", "--json")
    assert done.code == 0, done.err


def test_a_wish_is_its_own_researchers(two: Lab, tmp_path: Path) -> None:
    """Nobody else can make a run wait, or stop waiting."""
    if "bob" not in (two.root / "config" / "hubs.toml").read_text():
        two.add_user("bob")
    app = make_gated_app(tmp_path, 1)
    run_id, _ = two.submit(app, "--wait", "10m", "-c", "rounds=0")
    done = two.run(app, "--resume", run_id, "--wait", "1s", "--out", tmp_path / "bobs", user="bob")
    assert done.code == 2
    assert "no such run" in done.err
    assert two.run(app, "--resume", run_id, "--wait", "1s").code == 0


@pytest.mark.parametrize(
    ("body", "user", "status"),
    [
        (b'{"seconds": 5}', None, 401),
        (b'{"seconds": -5}', "alice", 400),
        (b"[]", "alice", 400),
        (b"x" * 2000, "alice", 413),
        (b'{"seconds": 5}', "alice", 404),
    ],
)
def test_what_is_no_wish_is_not_taken(two: Lab, body: bytes, user: str | None, status: int) -> None:
    """By whomever it is sent; nothing is written for a run that nobody has."""
    headers = {} if user is None else {"authorization": f"Bearer {(two.root / f'{user}.token').read_text()}"}
    with httpx.Client(verify=ssl.create_default_context(cafile=two.ca)) as client:
        answer = client.put(f"{two.url}/v1/flame/runs/12345/wait", content=body, headers=headers)
    assert answer.status_code == status
    assert not (two.home / "runs" / "12345").exists()
