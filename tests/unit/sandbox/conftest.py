"""Bundles made of source text, and sandboxes to run them in."""

import io
import secrets
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.fab import Fab, read_fab
from flame_fl.contract.ports import Envelope, Sandbox, SandboxSpec
from flame_fl.contract.terms import Resources
from flame_fl.sandbox.docker import DockerSandbox, Images
from flame_fl.sandbox.scratch import unpack
from flame_fl.sandbox.subprocess import SubprocessSandbox
from flame_fl.simulation.nodes import make_sandbox

WARM_SECONDS = 60.0
MANY_BYTES = 1 << 22
PYPROJECT = '[project]\nname = "an-app"\nversion = "1"\n[tool.flwr.app]\npublisher = "someone"\n'

_IMPORTS = """
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
def reply(message, **records):
    return Message(RecordDict(records), reply_to=message)
"""


def bundle(files: dict[str, str]) -> Fab:
    """A FAB of these files."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return read_fab(raw.getvalue())


SpecOf = Callable[..., SandboxSpec]


@pytest.fixture
def spec_of(tmp_path: Path) -> SpecOf:
    """The spec of an app whose client_app.py has this body (imports are there already)."""

    def make(body: str, **config: object) -> SandboxSpec:
        return SandboxSpec(
            fab=bundle({"body/__init__.py": "", "body/client_app.py": _IMPORTS + body, "pyproject.toml": PYPROJECT}),
            component="body.client_app:app",
            run_id=7,
            node_id=42,
            run_config=dict(config),
            node_config={"partition-id": 0},
            resources=Resources(),
            log_path=tmp_path / "logs" / "app.log",
            data={"cohort": Path("/data/cohort")},
        )

    return make


DOCKER = pytest.param("docker", marks=(pytest.mark.docker, pytest.mark.slow))


@pytest.fixture(params=["in-process", "subprocess", DOCKER])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[SandboxSpec], object]]:
    """Start a session in each kind of sandbox."""
    sessions = []
    docker = docker_sandbox(tmp_path) if request.param == "docker" else None

    def begin(spec: SandboxSpec) -> object:
        folder = tmp_path / "app"
        if request.param == "in-process":
            unpack(spec.fab, folder)
        sandbox: Sandbox = docker or make_sandbox(request.param, folder)
        if docker is not None:
            spec = replace(spec, data=dict.fromkeys(spec.data, readable_folder(tmp_path / "cohort")))
        else:
            assert sandbox.kind_of("someone/an-app") == request.param
        sessions.append(sandbox.start(spec))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()
    for name in [n for n in sys.modules if n == "body" or n.startswith("body.")]:
        del sys.modules[name]
    sys.path[:] = [p for p in sys.path if p != str(tmp_path / "app")]


def docker_sandbox(folder: Path, image: str | None = None, owner: str | None = None) -> DockerSandbox:
    """Containers of an owner of their own; skips if there is no engine."""
    from tests.support.engine import test_image

    owner = owner or secrets.token_hex(6)
    return DockerSandbox(Images(image or test_image()), owner=owner, folder=folder / "bundles")


def readable_folder(path: Path) -> Path:
    """A data store that nobody in particular can read."""
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    return path


@pytest.fixture
def sandbox() -> SubprocessSandbox:
    """A subprocess sandbox as it is used."""
    return SubprocessSandbox()


def envelope(content: Content | None = None, kind: str = "train", seed: int | None = 1) -> Envelope:
    """A message."""
    return Envelope("1", kind, "1", content or Content(arrays={"arrays": {"x": np.arange(4.0)}}), seed)
