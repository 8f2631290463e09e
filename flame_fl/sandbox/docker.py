"""The Docker sandbox: one warm container per run, spoken to in frames over the attach stream.

What a container is kept from is in `container`; this module starts, ends and finds them. Rules it follows:

- An image is named by its id. Nothing is ever pulled.
- A session's container is killed, not asked to stop; its scratch is a tmpfs and goes with it.
- Containers carry the installation's own label: what an installation that died left behind is found and removed, and
  nobody else's container is touched.
- The bundle and the data stores are mounted read-only. No key, no state, no engine socket is.
"""

import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
from docker.models.containers import Container
from docker.types import Ulimit

from flame_fl.contract.errors import SandboxError, UnreachableError
from flame_fl.contract.ports import VETTED_APP, SandboxSpec
from flame_fl.data.files import remove_tree
from flame_fl.sandbox.container import OWNER, ROLE, Bind, Runtime, hardened_options
from flame_fl.sandbox.docker_stream import DockerStream, note
from flame_fl.sandbox.scratch import unpack
from flame_fl.sandbox.seccomp import digest, profile
from flame_fl.sandbox.session import RUNNER, FrameSession

_APP, _DATA = "/app", "/data"
_ROLE = "sandbox"
_ENGINE_SECONDS = 60
_PODMAN_PROCESSES = 4096
_ENGINE_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@dataclass(frozen=True)
class Images:
    """Which image an app runs in, by id."""

    default: str | None = None
    by_app: Mapping[str, str] = field(default_factory=dict)

    def of(self, app: str) -> str | None:
        """The image of an app ("publisher/name"); None if there is none. Vetted code has no default: it is named."""
        return self.by_app.get(app, None if app == VETTED_APP else self.default)


def connect(engine: str | None = None, timeout_seconds: float = _ENGINE_SECONDS) -> docker.DockerClient:
    """The engine at `engine` (`unix:///…`), or where DOCKER_HOST says.

    Raises:
        UnreachableError: It does not answer.
    """
    try:
        client = (
            docker.DockerClient(base_url=engine, timeout=timeout_seconds)
            if engine
            else docker.from_env(timeout=timeout_seconds)
        )
        client.ping()
    except _ENGINE_ERRORS as err:
        raise UnreachableError(
            f"The Docker Engine at {engine or 'the default socket'} does not answer ({type(err).__name__}).",
            mend="Start it, and see that this user may use its socket.",
        ) from err
    return client


class DockerSandbox:
    """Starts containers on one engine.

    Args:
        images: By app.
        owner: Names this installation, in a label of its containers.
        folder: Where bundles are unpacked; the engine must see it under the same path.
        runtime: "runc", or "runsc" (gVisor) where the engine has it.
        engine: Its address; None is DOCKER_HOST or the default socket.
        patience_seconds: How long to wait for an engine that is being restarted.
        runner: The module that speaks frames inside.
    """

    def __init__(
        self,
        images: Images,
        *,
        owner: str,
        folder: Path,
        runtime: Runtime = "runc",
        engine: str | None = None,
        patience_seconds: float = 30.0,
        runner: str = RUNNER,
    ) -> None:
        self._images, self._owner, self._folder, self._runtime = images, owner, folder, runtime
        self._engine, self._patience_seconds, self._runner = engine, patience_seconds, runner
        self._client: docker.DockerClient | None = None
        self._left: list[Container] = []  # could not be removed: the engine was away

    def kind_of(self, app: str) -> str:
        """Runtime and image id: what an approval binds."""
        return f"{self._runtime}:{self._images.of(app) or 'no image'}"

    def start(self, spec: SandboxSpec) -> FrameSession:
        """Start a container; it loads the app with its first message, inside that message's deadline.

        Raises:
            SandboxError: There is no image for the app, or the engine cannot start it.
        """
        app = spec.app or spec.fab.app_id
        image = self._images.of(app)
        if image is None:
            raise SandboxError(f"No image is configured for {app}.")
        scratch = self._folder / secrets.token_hex(16)
        try:
            bundle = scratch / "app"
            unpack(spec.fab, bundle)
            for folder in (bundle, *(p for p in bundle.rglob("*") if p.is_dir())):
                folder.chmod(0o755)  # the container's user is nobody
            binds = [Bind(bundle, _APP), *(Bind(path, f"{_DATA}/{name}") for name, path in spec.data.items())]
            container, stream = self._run(image, spec, binds)
        except _ENGINE_ERRORS as err:
            remove_tree(scratch)
            why = getattr(err, "explanation", None) or type(err).__name__
            note(spec.log_path, f"the container could not be started: {why}")
            raise SandboxError(f"The container could not be started ({type(err).__name__}).") from err
        except BaseException:
            remove_tree(scratch)
            raise
        hello = spec.hello(_APP, lambda name, path: f"{_DATA}/{name}")
        process = ContainerProcess(container, stream, spec.log_path, self._left)
        return FrameSession(process, stream, hello, lambda: remove_tree(scratch))

    def _run(self, image: str, spec: SandboxSpec, binds: Sequence[Bind]) -> tuple[Container, DockerStream]:
        client = self._connected()
        podman = is_podman(client)
        spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        options = hardened_options(
            image,
            ["-m", self._runner],
            spec.resources,
            role=_ROLE,
            owner=self._owner,
            binds=binds,
            runtime=self._runtime,
            seccomp=self._seccomp_file() if podman else None,
        )
        if podman:  # it would ask the kernel for more of these than every machine allows
            options["ulimits"].append(Ulimit(name="nproc", soft=_PODMAN_PROCESSES, hard=_PODMAN_PROCESSES))
        self._left[:] = [left for left in self._left if not _remove(left)]
        container = client.containers.create(**options)
        stream: DockerStream | None = None
        try:
            stream = attach(client, container, spec.log_path)
            container.start()
        except BaseException:
            if stream is not None:
                stream.close()
            _remove(container)
            raise
        return container, stream

    def _seccomp_file(self) -> str:
        """Podman's interface takes the name of a file where Docker's takes the profile itself."""
        path = self._folder / f"seccomp-{digest()}.json"
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(profile(), encoding="utf-8")
        return str(path)

    def _connected(self) -> docker.DockerClient:
        """The engine; one that is being restarted is waited for."""
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                if self._client is None:
                    self._client = connect(self._engine)
                self._client.ping()
            except (UnreachableError, *_ENGINE_ERRORS) as err:
                self._client = None
                if time.monotonic() > until:
                    raise docker.errors.DockerException("no engine") from err
                time.sleep(0.5)
            else:
                return self._client

    def remove_orphans(self) -> int:
        """Remove what an earlier process of this installation left; returns how many containers.

        Raises:
            UnreachableError: The engine does not answer.
        """
        client = connect(self._engine)
        left = client.containers.list(all=True, filters={"label": [f"{ROLE}={_ROLE}", f"{OWNER}={self._owner}"]})
        for container in left:
            _remove(container)
        if self._folder.is_dir():
            for scratch in self._folder.iterdir():
                if scratch.is_dir():
                    remove_tree(scratch)
        return len(left)


def attach(client: docker.DockerClient, container: Container, log_path: Path) -> DockerStream:
    """Attach to a container that is not started yet."""
    wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    raw: Any = client.api.attach_socket(container.id, wanted)
    return DockerStream(getattr(raw, "_sock", raw), log_path)


def is_podman(client: docker.DockerClient) -> bool:
    """Whether the engine is Podman, speaking Docker's interface."""
    components = client.version().get("Components") or []
    return any("podman" in str(part.get("Name", "")).lower() for part in components)


class ContainerProcess:
    """A container as the process of a session."""

    def __init__(self, container: Container, stream: DockerStream, log_path: Path, left: list[Container]) -> None:
        self._container, self._stream, self._log_path, self._left = container, stream, log_path, left
        self._paused = self._ended = False

    def running(self, wait_seconds: float = 0.0) -> bool:
        """Whether its stream is open: the engine closes it with the container. Costs no request."""
        del wait_seconds
        return self._stream.open

    def pause(self) -> None:
        """Freeze every process of it; if the engine does not, it is ended. Never raises."""
        try:
            self._container.pause()
            self._paused = True
        except _ENGINE_ERRORS:
            self.end()

    def resume(self) -> None:
        """Let it run again. Never raises."""
        if self._paused:
            with contextlib.suppress(*_ENGINE_ERRORS):
                self._container.unpause()
            self._paused = False

    def end(self) -> None:
        """Kill and remove it. Never raises; what cannot be removed now goes to `left`, for the next start."""
        if self._ended:
            return
        self._ended = True
        if not self._paused:
            self._stream.drain()
        self._stream.close()  # an engine does not remove a container whose flood nobody reads
        with contextlib.suppress(*_ENGINE_ERRORS):
            self._container.reload()
            state = self._container.attrs["State"]
            if state["Status"] != "running":
                why = ", out of memory" if state["OOMKilled"] else ""
                note(self._log_path, f"the container ended by itself: exit code {state['ExitCode']}{why}")
        if _remove(self._container):  # a frozen one too: it is killed before it can run
            return
        self.resume()  # unless the engine does not do that
        if not _remove(self._container):
            self._left.append(self._container)


def _remove(container: Container) -> bool:
    """Remove a container; False if the engine does not do it now."""
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return True
    except _ENGINE_ERRORS:
        return False
    return True
