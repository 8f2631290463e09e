"""A ServerApp in a hardened container of the hub's, with nothing in reach but its relay."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.integration.hub.lab import Lab, wait_for
from tests.support.engine import engine, test_image

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    """The engine."""
    return engine()


@pytest.fixture
def lab(client: docker.DockerClient) -> Iterator[Lab]:
    """A hub that runs ServerApps in containers, with one node, for each test; no container outlives it.

    A stock SuperNode keeps what a killed run left it, and would hold up the next test.
    """
    lab = Lab()
    try:
        lab.init(sandbox="docker", image=test_image(client))
        lab.add_user("alice")
        lab.add_node("DIZ-1")
        lab.up()
        lab.start_node("DIZ-1")
        yield lab
    finally:
        for container in containers(client, lab):
            container.remove(force=True)
        lab.close()


def containers(client: docker.DockerClient, lab: Lab) -> list[docker.models.containers.Container]:
    """The hub's."""
    hub_id = (lab.home / "hub.toml").read_text().split('id = "')[1].split('"')[0]
    found: list[docker.models.containers.Container] = client.containers.list(
        all=True, filters={"label": f"fl.flame.owner={hub_id}"}
    )
    return found


def test_a_run_in_a_container(lab: Lab, app: Path, client: docker.DockerClient) -> None:
    """It counts, hands its artefacts over, and leaves no container."""
    server = app / "steps" / "server_app.py"
    server.write_text(
        server.read_text().replace(
            "    out = Path",
            "    held = {}\n"
            "    for name, path in (('root', '/x'), ('out', '/out/kept.txt'), ('socket', '/run/flame/x')):\n"
            "        try:\n            Path(path).write_text('x'); held[name] = 'written'\n"
            "        except OSError as err:\n            held[name] = err.strerror\n"
            "    held['network'] = [n.split(':')[0].strip() for n in open('/proc/net/dev').readlines()[2:]]\n"
            "    held['secrets'] = [k for k in os.environ if 'TOKEN' in k or 'SECRET' in k]\n"
            "    held['mounted'] = sorted(os.listdir('/run/flame'))\n"
            "    held['uid'] = os.getuid()\n"
            "    Path(os.environ['FLAME_OUT'], 'held.json').write_text(json.dumps(held))\n"
            "    out = Path",
        )
    )
    done = lab.run(app, "--out", lab.root / "out")
    assert done.code == 0, done.err + lab.said()
    assert json.loads((lab.root / "out" / "x.json").read_text())[0] == [2.0, 2.0, 2.0]
    held = json.loads((lab.root / "out" / "held.json").read_text())
    assert held == {
        "root": "Read-only file system",
        "out": "written",
        "socket": "Read-only file system",
        "network": ["lo"],
        "secrets": [],
        "mounted": ["r"],
        "uid": 65534,
    }
    wait_for(lambda: not containers(client, lab), "the container's end", 30)


def test_a_container_outlives_its_hub_and_is_found_again(lab: Lab, app: Path, client: docker.DockerClient) -> None:
    """`kill -9` of hub and SuperLink; the next `up` opens the socket in the same folder, and the run ends well."""
    run_id, folder = lab.submit(app, "-c", "rounds=3 pause=1.0")
    wait_for(lambda: lab.count(run_id, "reply", ok=True) >= 1, "the first reply")
    lab.kill("hub")
    time.sleep(1.0)
    assert [c.status for c in containers(client, lab)] == ["running"]
    lab.up()
    assert f"run {run_id}: found again" in lab.said()
    done = lab.run(app, "--resume", run_id)
    assert done.code == 0, done.err + lab.said()
    assert json.loads((folder / "x.json").read_text())[0] == [3.0, 3.0, 3.0]
    wait_for(lambda: not containers(client, lab), "the container's end", 30)


def test_a_killed_container_ends_its_run_and_an_orphan_goes(lab: Lab, app: Path, client: docker.DockerClient) -> None:
    """Failed within seconds; and what a hub finds at its start that belongs to no run is removed."""
    run_id, _ = lab.submit(app, "-c", "rounds=5 pause=2.0")
    wait_for(lambda: lab.count(run_id, "batch", phase="begun"), "a batch")
    containers(client, lab)[0].kill()
    done = lab.run(app, "--resume", run_id)
    assert done.code == 1
    assert "ended unfinished" in done.err
    run_id, _ = lab.submit(app, "-c", "rounds=5 pause=2.0")
    wait_for(lambda: lab.count(run_id, "batch", phase="begun"), "a batch")
    lab.kill("hub")
    (lab.home / "runs" / str(run_id) / "task.json").unlink()  # nobody knows any more whose it is
    lab.up()
    wait_for(lambda: not containers(client, lab), "the orphan's end", 30)
    assert "removed 1 orphaned" in lab.said()


def test_no_image_no_run(lab: Lab, app: Path) -> None:
    """What the administrator has not named is not run, and the researcher is told so."""
    config = lab.home / "hub.toml"
    text = config.read_text()
    lab.kill("hub")
    try:
        config.write_text(text.replace('default = "sha256', 'other = "sha256'))
        lab.up()
        done = lab.run(app)
        assert done.code == 1
        assert "has no image for tests/steps" in done.err
    finally:
        lab.kill("hub")
        config.write_text(text)
        lab.up()
