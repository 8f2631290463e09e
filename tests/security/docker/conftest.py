"""A Docker Engine, short-lived containers in it, and sessions of the hostile app in a real DockerSandbox."""

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from flame_fl.contract.terms import Resources
from flame_fl.sandbox.container import hardened_options
from flame_fl.sandbox.docker import DockerSandbox, Images
from tests.security.docker.kit import SECRET, Inside, start
from tests.support.engine import BASE, test_image
from tests.support.engine import engine as an_engine


@pytest.fixture(autouse=True)
def _tell(request: pytest.FixtureRequest) -> None:
    """What is tried and what should hold, in the test's own output."""
    tried, held = getattr(getattr(request.node, "function", None), "declared", (None, None))
    if tried:
        print(f"tried: {tried}\nheld:  {held}")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = an_engine()
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    return test_image(engine)


@pytest.fixture(scope="session")
def run_python(engine: docker.DockerClient) -> Callable[..., str]:
    """Run Python source in a container without network; returns what it prints."""

    def run(source: str, *arguments: str, seccomp: str | None = None, image: str = BASE, **options: Any) -> str:
        filtered = [] if seccomp is None else [f"seccomp={seccomp}"]
        confined = {"network_mode": "none", "read_only": True, "security_opt": ["no-new-privileges", *filtered]}
        command = ["-I", "-c", source, *arguments]
        said: bytes = engine.containers.run(image, command, entrypoint=["python3"], remove=True, **(confined | options))
        return said.decode()

    return run


@pytest.fixture(scope="session")
def owner() -> str:
    """Names the containers of this run of the tests."""
    return f"attacks-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def without_filter(engine: docker.DockerClient, image: str, owner: str) -> Callable[..., str]:
    """Run Python source in a container as sandboxes are, but for the seccomp profile; returns what it prints."""

    def run(source: str, *arguments: str) -> str:
        options = hardened_options(image, ["-I", "-c", source, *arguments], Resources(), role="test", owner=owner)
        options["security_opt"] = [o for o in options["security_opt"] if not o.startswith("seccomp=")]
        container = engine.containers.create(**options | {"log_config": None})
        try:
            container.start()
            assert container.wait(timeout=60)["StatusCode"] == 0
            return str(container.logs(stdout=True, stderr=False).decode())
        finally:
            container.remove(force=True)

    return run


@pytest.fixture(scope="session")
def sandbox(image: str, owner: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerSandbox]:
    made = DockerSandbox(Images(default=image), owner=owner, folder=tmp_path_factory.mktemp("bundles"))
    yield made
    made.remove_orphans()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data store: a patient's name, a folder, and a link that leads out of it."""
    base = tmp_path_factory.mktemp("stores")
    (base / "outside.txt").write_text("outside the store")
    store = base / "cohort"
    (store / "images").mkdir(parents=True)
    (store / "patients.txt").write_text(SECRET)
    (store / "images" / "1.txt").write_text("a picture")
    (store / "link.txt").symlink_to(base / "outside.txt")
    (store / "up.txt").symlink_to("../outside.txt")
    return store


@pytest.fixture(scope="module")
def inside(sandbox: DockerSandbox, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A warm session for attacks that do not end it."""
    made = start(sandbox, tmp_path_factory.mktemp("node"), {"cohort": cohort})
    assert made.run("found = 'ready'") == "ready"
    yield made
    made.session.close()


@pytest.fixture
def begin(sandbox: DockerSandbox, tmp_path: Path) -> Iterator[Callable[..., Inside]]:
    """Sessions for attacks that may end them; `resources` as in the terms. They have answered once already."""
    begun: list[Inside] = []

    def make(**resources: Any) -> Inside:
        begun.append(start(sandbox, tmp_path, run_id=100 + len(begun), **resources))
        assert begun[-1].run("found = 'ready'") == "ready"
        return begun[-1]

    yield make
    for made in begun:
        made.session.close()


@dataclass
class Listeners:
    """Services of the host: what reached them is counted."""

    loopback: int
    everywhere: int
    abstract: str
    heard: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    """On the host's loopback (where a SuperNode listens), on 0.0.0.0, and on an abstract Unix socket."""
    servers = {
        "loopback": socket.create_server(("127.0.0.1", 0)),
        "everywhere": socket.create_server(("0.0.0.0", 0)),
        "abstract": socket.socket(socket.AF_UNIX),
    }
    abstract = f"flame-test-{secrets.token_hex(8)}"
    servers["abstract"].bind(f"\0{abstract}")
    servers["abstract"].listen()
    ports = {name: server.getsockname()[1] for name, server in servers.items() if name != "abstract"}
    made = Listeners(ports["loopback"], ports["everywhere"], abstract)

    def serve(name: str, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()
                made.heard.append(name)

    threads = [threading.Thread(target=serve, args=item, daemon=True) for item in servers.items()]
    for thread in threads:
        thread.start()
    yield made
    for server in servers.values():
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
    for thread in threads:
        thread.join(5)
