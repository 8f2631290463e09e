"""`flame federation up --demo`: the same app, data and seed as in the simulator, at a hub and three nodes for real."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import numpy as np
import pytest
from safetensors.numpy import load_file

from flame_fl.node.image import build_image
from tests.integration.runs import FLAME, NODES, Done, audit, edited, is_running, workers_of
from tests.support.engine import ROOT, engine

pytestmark = [pytest.mark.docker, pytest.mark.slow]
APP = ROOT / "use_cases" / "methylation-age"
THREE = (("pyproject.toml", "min_sites = 5", "min_sites = 3"), ("pyproject.toml", "dropouts = 2", "dropouts = 0"))
"""The app's own terms want five DIZ; three are quicker to start, and with masks none of three may be lost."""
CONFIG = 'model="elastic-net" lambda-count=5 lambda-min-ratio=0.5 seed=3'


@dataclass(frozen=True)
class Federation:
    """A folder with everything in it."""

    root: Path
    image: str

    @property
    def app(self) -> Path:
        return self.root / APP.name

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def hubs(self) -> Path:
        return self.root / "config" / "hubs.toml"

    def flame(self, *arguments: object, seconds: float = 400) -> Done:
        environment = {**os.environ, "FLAME_CONFIG_HOME": str(self.hubs.parent), "COLUMNS": "200"}
        environment.pop("FLAME_HOME", None)
        done = subprocess.run(
            [FLAME, *map(str, arguments)],
            capture_output=True, text=True, timeout=seconds, env=environment, cwd=self.root, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def up(self, *more: object) -> Done:
        return self.flame(
            "federation", "up", "--nodes", 3, "--demo", self.app, "--image", self.image, "--home", self.home,
            "--detach", *more,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        return self.flame("federation", "status", "--home", self.home, "--json").json

    def owners(self) -> set[str]:
        """Ids of the hub and its nodes, by which their containers are labelled."""
        files = [self.home / "hub" / "hub.toml", *(self.home / "nodes").glob("*/node.toml")]
        return {line.split('"')[1] for f in files for line in f.read_text().splitlines() if line.startswith("id = ")}


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    return engine()


@pytest.fixture(scope="module")
def real(federation: "Federation") -> Path:
    """Folder of a run at the federation."""
    folder = federation.root / "real"
    done = federation.flame("run", federation.app, "--hub", "local", "--json", "--out", folder, "-c", CONFIG)
    assert done.code == 0, done.err + federation.flame("federation", "logs", "DIZ-1", "--home", federation.home).out
    assert done.json["status"] == "finished"
    nodes = sorted((n["name"], n["status"], n["refusals"]) for n in done.json["nodes"])
    assert nodes == [(name, "approved", []) for name in NODES]
    return folder


@pytest.fixture(scope="module")
def simulated(federation: "Federation") -> Path:
    """Folder of a simulation on the same data."""
    folder = federation.root / "simulated"
    done = federation.flame(
        "simulate", federation.app, "--data", federation.home / "data", "--json", "--out", folder, "-c", CONFIG
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def federation(client: docker.DockerClient) -> Iterator[Federation]:
    """Up with the demonstrated app's own image; a user's other hub is in hubs.toml."""
    image = build_image(APP, client=client, tag="flame-test-federation", constraints=ROOT / "constraints.txt")
    it = Federation(Path(tempfile.mkdtemp(prefix="flame-fed-")), image.id)
    try:
        edited(APP, it.root, *THREE)
        it.hubs.parent.mkdir()
        it.hubs.write_text('[other]\naddress = "hub.example.org:8000"\nca = "ca.crt"\ntoken_file = "t"\n')
        done = it.up("--json")
        assert done.code == 0, done.err
        yield it
    finally:
        it.flame("federation", "down", "--home", it.home)
        shutil.rmtree(it.root, ignore_errors=True)
        client.images.remove("flame-test-federation", noprune=True)


def test_every_part_runs(federation: Federation) -> None:
    """A hub and three nodes, apart from the terminal; the other hub's entry is as it was."""
    processes = federation.status()["processes"]
    assert set(processes) == {"hub", *NODES}
    assert all(is_running(pid) for pid in processes.values())
    assert "[other]" in federation.hubs.read_text()
    assert "[local]" in federation.hubs.read_text()
    assert str(processes["DIZ-2"]) in federation.flame("federation", "status", "--home", federation.home).out


def test_the_token_is_its_owners_and_in_no_log(federation: Federation) -> None:
    """The researcher's token, the secrets and the private keys are 0600, and no log holds the token."""
    private = [
        path
        for path in federation.home.rglob("*")
        if path.name in {"researcher.token", "flower", "identity", "superexec.secret", "server.key", "ca.key"}
        and path.is_file()
    ]
    assert len(private) == 1 + 3 * 3 + 3
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
    token = (federation.home / "researcher.token").read_bytes()
    logs = [path for path in federation.home.rglob("*.log") if path.is_file()]
    assert len(logs) >= 4
    assert not [path for path in logs if token in path.read_bytes()]


def test_another_federation_in_the_same_folder_is_refused(federation: Federation) -> None:
    """Other parts under the same name would be neither; what is there goes on."""
    before = federation.status()["processes"]
    done = federation.flame("federation", "up", "--nodes", 2, "--home", federation.home, "--detach")
    assert done.code == 2
    assert "holds another federation (3 nodes" in done.err
    assert "down --purge" in done.err
    assert federation.status()["processes"] == before


def test_up_again_changes_nothing(federation: Federation) -> None:
    """The same wish: what runs is left running."""
    before = federation.status()["processes"]
    done = federation.up("--json")
    assert done.code == 0, done.err
    assert done.json["processes"] == before


def test_the_coefficients_are_the_simulators(real: Path, simulated: Path) -> None:
    """Same app, data and seed, no noise. Not bit for bit: sums are added in the order of the ids that a hub draws."""
    ours, theirs = load_file(real / "model.safetensors"), load_file(simulated / "model.safetensors")
    assert list(ours) == list(theirs)
    differences = {n: np.abs(ours[n].astype(float) - theirs[n].astype(float)).max(initial=0.0) for n in ours}
    print(differences)
    assert sum(np.count_nonzero(array) for array in ours.values()) > 3
    assert max(differences.values()) <= 1e-9


def test_the_report_is_that_of_a_simulation(federation: Federation, real: Path, simulated: Path) -> None:
    """Same files, same figures of the app; every node says that a rule approved it, marked DEMO."""
    assert {p.name for p in simulated.iterdir()} - {p.name for p in real.iterdir()} <= {".lock", "nodes", "run.json"}
    figures = [json.loads((f / "report.json").read_text())["headline"] for f in (real, simulated)]
    assert figures[0] == figures[1]
    page = (real / "report.html").read_text()
    assert all(name in page for name in NODES)
    for name in NODES:
        (approved,) = audit(federation.home / "nodes" / name / "state.db", "approval-approved")
        assert approved["by"] == "DEMO policy"
    assert (
        "DEMO: a rule stands in for the steward"
        in federation.flame("federation", "logs", "DIZ-3", "--lines", 500, "--home", federation.home).out
    )


def test_another_content_is_not_the_demonstrations(federation: Federation, tmp_path: Path) -> None:
    """The rule approves one content hash: the same app with a line more is 902 at every node."""
    copy = tmp_path / APP.name
    shutil.copytree(federation.app, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    with (copy / "methylation_age" / "client_app.py").open("a") as file:
        file.write("\n# one line more\n")
    done = federation.flame("run", copy, "--hub", "local", "--json", "--out", tmp_path / "out", "-c", CONFIG)
    assert done.code != 0
    assert done.json["error"]
    for name in NODES:
        pending = audit(federation.home / "nodes" / name / "state.db", "approval-pending")
        assert [p["by"] for p in pending][-1:] == ["gate"]


def test_logs_are_of_parts_that_there_are(federation: Federation) -> None:
    """The last lines of each; another name is said to be none."""
    assert "hub is ready" in federation.flame("federation", "logs", "--lines", 500, "--home", federation.home).out
    assert (
        len(federation.flame("federation", "logs", "DIZ-1", "--lines", 2, "--home", federation.home).out.split("\n"))
        <= 3
    )
    done = federation.flame("federation", "logs", "DIZ-9", "--home", federation.home)
    assert done.code == 2
    assert "no part 'DIZ-9'" in done.err


@pytest.mark.usefixtures("real")  # so that there are warm sandboxes
def test_down_and_purge_leave_nothing(federation: Federation, client: docker.DockerClient) -> None:
    """No process, no container, no entry in hubs.toml, no folder; before it, there were."""
    pids = list(federation.status()["processes"].values())
    everything = {*pids, *(child for pid in pids for child in workers_of(pid))}
    owners = federation.owners()
    assert len(everything) >= 8
    assert len(owners) == 4

    def containers() -> int:
        return sum(len(client.containers.list(all=True, filters={"label": f"fl.flame.owner={o}"})) for o in owners)

    assert containers() >= 3  # the warm sandboxes
    done = federation.flame("federation", "down", "--purge", "--home", federation.home)
    assert (done.code, done.out.strip()) == (0, "ended: DIZ-3, DIZ-2, DIZ-1, hub")
    assert not [pid for pid in everything if is_running(pid)]
    assert containers() == 0
    assert not federation.home.exists()
    assert "[local]" not in federation.hubs.read_text()
    assert "[other]" in federation.hubs.read_text()
    assert federation.flame("federation", "status", "--home", federation.home).code == 2
