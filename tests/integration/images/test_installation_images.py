"""The images of a node and of a hub: built from this checkout with no network, and run confined."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from flame_fl import __version__
from tests.architecture.tree import ROOT

pytestmark = [pytest.mark.docker, pytest.mark.slow]
CONFINED = [
    "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--network", "none",
]  # fmt: skip


@pytest.fixture(scope="module", params=["node", "hub"])
def image(request: pytest.FixtureRequest, client: docker.DockerClient) -> Iterator[str]:
    """Built by the script that administrators use; the layers stay for the next time."""
    name = f"flame-test-{request.param}"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [str(ROOT / "deploy/build.sh"), request.param, name],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == client.images.get(name).id
    yield name
    client.images.remove(name, noprune=True, force=True)


def run(image: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command in a confined container."""
    command = ["docker", "run", *CONFINED, *options, image, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_is_this_version(image: str) -> None:
    assert run(image, "--version").stdout.strip() == f"flame-fl {__version__}"


def test_says_what_is_missing(image: str) -> None:
    """The default command, on a machine where nothing was set up."""
    done = run(image)
    assert done.returncode == 2
    assert f"/etc/flame/{image.rpartition('-')[2]}.toml is missing" in done.stderr


def test_is_nobody_in_particular(image: str) -> None:
    code = "import getpass, os; print(os.getuid(), os.getgid(), getpass.getuser(), os.access('/opt/site', os.W_OK))"
    done = run(image, "-c", code, options=("--entrypoint", "python3"))
    assert done.stdout.split() == ["10001", "10001", "flame", "False"], done.stderr


def test_finds_itself_without_a_variable(image: str) -> None:
    """Flower's processes are started with an environment of their own."""
    done = run(image, "-i", "python3", "-c", "import flame_fl, flwr", options=("--entrypoint", "env"))
    assert done.returncode == 0, done.stderr


def test_has_no_framework(image: str) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'sklearn', 'flame_strategies') if u.find_spec(n)])"
    assert run(image, "-c", code, options=("--entrypoint", "python3")).stdout.strip() == "[]"


def test_makes_what_it_then_reads(image: str, tmp_path: Path) -> None:
    """init, then the command that its health check asks, in folders of the host's."""
    what = image.rpartition("-")[2]
    for name in ("etc", "state"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, 10001, 10001)
    binds = ("-v", f"{tmp_path}/etc:/etc/flame", "-v", f"{tmp_path}/state:/var/lib/flame")
    if what == "hub":
        wish: list[str] = ["--name", "hub.example.org"]
    else:
        from flame_fl.hub.tls import make_certificates

        (tmp_path / "ca.crt").write_bytes(make_certificates(["hub.example.org"]).ca)
        binds += ("-v", f"{tmp_path}/ca.crt:/ca.crt:ro")
        wish = ["--name", "DIZ-T", "--hub", "hub.example.org:443", "--ca", "/ca.crt"]
    done = run(image, what, "init", *wish, options=binds)
    assert done.returncode == 0, done.stderr
    done = run(image, what, "status", "--json", options=binds)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["up"] is False) if what == "hub" else (said["gate"] == "does not run")
    secrets = [
        p
        for p in (tmp_path / "state").rglob("*")
        if p.suffix in {".key", ".secret"} or p.name in {"flower", "identity"}
    ]
    assert len(secrets) == 3
    assert all(p.stat().st_mode & 0o077 == 0 for p in secrets)
