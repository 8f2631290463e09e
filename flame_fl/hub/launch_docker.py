"""ServerApps in hardened containers: no network, nothing writable but sized tmpfs, one folder with one socket."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import LogConfig
from requests.exceptions import RequestException

from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.hub.config import HubConfig
from flame_fl.hub.launch import Ended
from flame_fl.hub.runs import SOCKET, RunFolder
from flame_fl.sandbox.container import OWNER, ROLE, Bind, hardened_options

_ROLE = "serverapp"
_RUN = "fl.flame.run"
_SOCKETS, _OUT, _CHECKPOINT = "/run/flame", "/out", "/checkpoint"
_TAIL = 20
_OOM_CODE = 137
_ERRORS = (DockerException, RequestException)


class DockerLauncher:
    """Containers by image id, as `hub.toml` allows for an app.

    Args:
        config: The hub's.
        warn: Told what a person at the hub should know.
    """

    def __init__(self, config: HubConfig, warn: Callable[[str], None]) -> None:
        self._config, self._warn = config, warn
        try:
            self._engine = docker.from_env(timeout=60)
            self._engine.ping()
        except _ERRORS as err:
            raise UnreachableError(
                "The Docker Engine does not answer, and ServerApps run in containers.",
                mend='Start it; or, for tests on your own machine only, set sandbox = "subprocess" in hub.toml.',
            ) from err

    def start(self, folder: RunFolder, app: str) -> "RunningContainer":
        """Start a container for a run."""
        image = self._config.image_of(app)
        if not image:
            raise InputError(
                f"This hub has no image for {app}.", mend="Ask its administrator to name one in [images] of hub.toml."
            )
        given = self._config.serverapp
        options = hardened_options(
            image,
            (
                "-m",
                "flame_fl.flower.server_runner",
                "--socket",
                f"{_SOCKETS}/{SOCKET}",
                "--out",
                _OUT,
                "--checkpoint",
                _CHECKPOINT,
            ),
            given.resources,
            role=_ROLE,
            owner=self._config.hub.id,
            binds=(Bind(folder.socket_folder.resolve(), _SOCKETS),),
            runtime=given.runtime,
        )
        options["labels"] |= {_RUN: str(folder.run_id)}
        room = f"rw,noexec,nosuid,nodev,size={given.out_bytes},mode=1777"
        options["tmpfs"] |= {_OUT: room, _CHECKPOINT: room}
        options["stdin_open"] = False
        # the little it says when it cannot even begin; the app's own output goes through the relay
        options["log_config"] = LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"})
        try:
            container = self._engine.containers.create(
                name=f"flame-{_ROLE}-{self._config.hub.id}-{folder.run_id}", **options
            )
        except ImageNotFound as err:
            raise InputError(
                f"The image for {app} is not on the hub.", mend="Ask its administrator to build or load it."
            ) from err
        except _ERRORS as err:
            raise FlameError("The hub could not make a container for the ServerApp.", mend="See its log.") from err
        running = RunningContainer(container, self._warn)
        try:
            container.start()
        except _ERRORS as err:
            running.end()
            self._warn(f"run {folder.run_id}: the container does not start: {err}")
            raise FlameError("The hub could not start a container for the ServerApp.", mend="See its log.") from err
        return running

    def find(self, folder: RunFolder, handle: Mapping[str, Any]) -> "RunningContainer | None":
        """By its id."""
        del folder
        try:
            return RunningContainer(self._engine.containers.get(str(handle.get("container"))), self._warn)
        except _ERRORS:
            return None

    def sweep(self, keep: Collection[int]) -> int:
        """Remove this hub's containers of other runs."""
        labels = [f"{ROLE}={_ROLE}", f"{OWNER}={self._config.hub.id}"]
        try:
            found = self._engine.containers.list(all=True, filters={"label": labels})
        except _ERRORS:
            return 0
        orphans = [c for c in found if c.labels.get(_RUN, "") not in {str(run_id) for run_id in keep}]
        for container in orphans:
            RunningContainer(container, self._warn).end()
        return len(orphans)


class RunningContainer:
    """A container."""

    def __init__(self, container: Container, warn: Callable[[str], None]) -> None:
        self._container, self._warn = container, warn

    @property
    def handle(self) -> Mapping[str, Any]:
        """Its id."""
        return {"container": self._container.id}

    def poll(self) -> Ended | None:
        """How it ended; an engine that does not answer now is asked again later."""
        try:
            self._container.reload()
        except NotFound:
            return Ended(None, "its container was removed")
        except _ERRORS:
            return None
        state = self._container.attrs["State"]
        if state["Status"] in {"created", "running", "paused", "restarting"}:
            return None
        code = int(state["ExitCode"])
        if code != 0:
            with suppress(*_ERRORS):
                tail = self._container.logs(tail=_TAIL).decode("utf-8", "replace").strip()
                self._warn(f"last lines of {self._container.name}:\n{tail}")
        if state.get("OOMKilled") or code == _OOM_CODE:
            return Ended(code, "it was ended, as it used more memory than it may, or by the hub")
        return Ended(code, f"it ended with code {code}")

    def end(self) -> None:
        """Kill and remove it."""
        with suppress(*_ERRORS):
            self._container.remove(force=True, v=True)
