"""`flame run` at a real hub: TLS, login, node authentication, ServerApps behind their relay, one stock SuperNode."""

import json
from pathlib import Path

import pytest

from tests.integration.hub.lab import Lab, wait_for

pytestmark = pytest.mark.slow


def test_a_run_leaves_what_a_simulation_leaves(hub: Lab, app: Path) -> None:
    """Counted, at the project's own node only; artefacts, report and result are in the run's folder."""
    before = set((hub.root / "flame-runs").glob("*"))
    done = hub.run(app, "-c", "rounds=2")
    assert done.code == 0, done.err + hub.said()
    (folder,) = set((hub.root / "flame-runs").glob("*")) - before
    assert json.loads((folder / "x.json").read_text())[0] == [2.0, 2.0, 2.0]
    assert (folder / "plots" / "drawn.txt").read_text() == "a plot"
    result = json.loads((folder / "result.json").read_text())["run"]
    assert (result["status"], result["simulated"], result["seed"]) == ("finished", False, 1)
    assert [node["name"] for node in result["nodes"]] == ["DIZ-1"]  # DIZ-2 is connected, and of another project
    assert result["nodes"][0]["messages"] == 2
    assert result["nodes"][0]["bytes_in"] > 2 * 24 < result["nodes"][0]["bytes_out"]
    assert [(r["message_type"], r["replied"], r["metrics"]["seen"]) for r in result["rounds"]] == [
        ("train", 1, 1.0),
        ("train", 1, 2.0),
    ]
    assert "DIZ-1" in (folder / "report.html").read_text()
    assert "DIZ-1" in done.out


def test_seeds_are_those_of_a_simulation(hub: Lab, app: Path, tmp_path: Path) -> None:
    """What a ServerApp draws repeats from run to run."""
    drawn = []
    for name in ("one", "two"):
        assert hub.run(app, "-c", "rounds=0", "--out", tmp_path / name).code == 0
        drawn.append(json.loads((tmp_path / name / "x.json").read_text())[1])
    assert drawn[0] == drawn[1]


def test_json_is_one_object(hub: Lab, app: Path, tmp_path: Path) -> None:
    """For programs."""
    done = hub.run(app, "-c", "rounds=1", "--json", "--out", tmp_path / "out")
    assert (done.code, done.json["status"]) == (0, "finished")
    assert len(done.out.splitlines()) == 1
    assert done.json["nodes"][0]["name"] == "DIZ-1"


def test_a_serverapp_that_raises_fails_its_run(hub: Lab, app: Path, tmp_path: Path) -> None:
    """Exit code 1, the researcher's own words, and a report that says so."""
    done = hub.run(app, "-c", 'fail="no such luck"', "--out", tmp_path / "out")
    assert done.code == 1
    assert "RuntimeError: no such luck" in done.err
    assert json.loads((tmp_path / "out" / "result.json").read_text())["run"]["status"] == "failed"


def test_a_detached_run_is_followed_later(hub: Lab, app: Path) -> None:
    """By its number, into the folder it began with."""
    run_id, folder = hub.submit(app, "-c", "rounds=1")
    assert not (folder / "result.json").exists()
    done = hub.run(app, "--resume", run_id)
    assert done.code == 0, done.err
    assert json.loads((folder / "result.json").read_text())["run"]["run_config"]["rounds"] == 1


def test_another_app_is_not_reported_as_this_run(hub: Lab, app: Path) -> None:
    """A report names a digest: it must be that of what ran."""
    run_id, _ = hub.submit(app, "-c", "rounds=0")
    (app / "steps" / "server_app.py").write_text("# changed\n" + (app / "steps" / "server_app.py").read_text())
    done = hub.run(app, "--resume", run_id)
    assert done.code == 2
    assert "is not of the app" in done.err


def test_the_log_of_a_run_is_flowers(hub: Lab, app: Path) -> None:
    """What the ServerApp printed is where `flwr log` looks."""
    run_id, _ = hub.submit(app, "-c", "rounds=0")
    wait_for(lambda: hub.count(run_id, "run", phase="ended"), "the run")
    database = hub.home / "superlink.db"
    wait_for(lambda: b"the server prints 1" in database.read_bytes() + _wal(database), "the log", 20)


def _wal(database: Path) -> bytes:
    wal = database.with_name(f"{database.name}-wal")
    return wal.read_bytes() if wal.exists() else b""


def test_who_is_no_member_starts_nothing(hub: Lab, app: Path) -> None:
    """Mallory has a token, and no part in the project."""
    before = {path.name for path in (hub.home / "runs").iterdir()}
    done = hub.run(app, user="mallory")
    assert done.code == 2
    assert "no such project for you" in done.err
    assert {path.name for path in (hub.home / "runs").iterdir()} == before


def test_a_wrong_token_is_said_to_be_one(hub: Lab, app: Path) -> None:
    """Exit code 2, and no run."""
    hubs = hub.root / "config" / "hubs.toml"
    (hub.root / "wrong.token").write_text("flame_wrong")
    (hub.root / "wrong.token").chmod(0o600)
    text = hubs.read_text()
    try:
        hubs.write_text(text.replace("alice.token", "wrong.token"))
        done = hub.run(app)
    finally:
        hubs.write_text(text)
    assert done.code == 2
    assert "does not know this token" in done.err


def test_a_member_of_the_project_does_not_see_anothers_run(hub: Lab, app: Path) -> None:
    """A run is its own researcher's."""
    run_id, _ = hub.submit(app, "-c", "rounds=0")
    hub.add_user("bob")
    done = hub.run(app, "--resume", run_id, "--out", hub.root / "bobs", user="bob")
    assert done.code == 2
    assert "no such run" in done.err


def test_the_token_is_in_no_log_and_no_argument(hub: Lab) -> None:
    """Nor in any file of the hub's."""
    token = (hub.root / "alice.token").read_bytes()
    files = [path for path in hub.root.rglob("*") if path.is_file() and path.name != "alice.token"]
    assert files
    assert not [path for path in files if token in path.read_bytes()]
