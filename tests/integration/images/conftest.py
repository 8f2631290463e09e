"""An engine, and a way to run one of our images as a sandbox runs it."""

import subprocess
from collections.abc import Callable

import docker
import pytest

from tests.support.engine import engine

HARDENED = [
    "--rm", "-i", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--user", "65534:65534", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges",
]  # fmt: skip


@pytest.fixture(scope="session")
def client() -> docker.DockerClient:
    """The engine."""
    return engine()


@pytest.fixture
def python(client: docker.DockerClient) -> Callable[..., str]:
    """Runs a piece of Python in an image, hardened, and gives what it printed."""

    def go(image: str, code: str) -> str:
        done = subprocess.run(
            ["docker", "run", *HARDENED, "--entrypoint", "python3", image, "-c", code],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return go
