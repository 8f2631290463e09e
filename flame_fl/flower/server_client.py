"""How a ServerApp's process speaks to the hub: Flower's Runtime API over one unix socket, patient when it restarts.

There is no token here: the hub's relay adds it. A call that the hub cannot answer now is repeated until the patience is
over; Flower's own retry would never end, and would interrupt the process when its run was stopped.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import quote

import httpx
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.runtime import RuntimeHttpClient

from flame_fl.contract.errors import FlameError
from flame_fl.flower.server_operations import ARTEFACTS_PATH, CHECKPOINT_PATH, EVENTS_PATH
from flame_fl.flower.server_wish import BEGUN_PATH, WAIT_PATH, WaitLeft

PATIENCE_SECONDS = 900.0
_TIMEOUT_SECONDS = 150.0
_LONGEST_PATH = 100
_LATER = frozenset({502, 503, 504})
_T = TypeVar("_T")


class RunOverError(FlameError):
    """The hub no longer knows this run's task: it was stopped, or given up."""

    def __init__(self) -> None:
        super().__init__("The run is over: it was stopped, or the hub gave it up.", mend="Start it again.")


class Patient:
    """Calls again while the hub is away, for a while."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.patience_seconds = patience_seconds

    def invoke(self, target: Callable[[], _T]) -> _T:
        """Call until it succeeds.

        Raises:
            RunOverError: The hub says that the run is over.
            httpx.HTTPError: It said something else, or nothing for too long.
        """
        end, wait = time.monotonic() + self.patience_seconds, 0.1
        while True:
            try:
                return target()
            except httpx.HTTPStatusError as err:
                if err.response.status_code == 401:
                    raise RunOverError from err
                if err.response.status_code not in _LATER or time.monotonic() > end:
                    raise
            except httpx.TransportError:
                if time.monotonic() > end:
                    raise
            time.sleep(wait)
            wait = min(wait * 2, 5.0)


class RelayClient(RuntimeHttpClient):
    """Flower's client over the relay's socket, with the relay's own calls."""

    def __init__(self, socket: Path, patient: Patient) -> None:
        version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
        super().__init__("http://relay", interceptors=[version], retry_invoker=cast("RetryInvoker", patient))
        self._client.close()
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=_reachable(socket)), timeout=_TIMEOUT_SECONDS)
        self._patient = patient

    def send_events(self, lines: bytes) -> None:
        """Hand over events, JSON lines.

        Raises:
            httpx.HTTPError: They are not taken.
        """
        self._patient.invoke(lambda: self._client.post(self._base_url + EVENTS_PATH, content=lines).raise_for_status())

    def wait_left(self) -> WaitLeft:
        """How much longer the run may wait for stewards.

        Raises:
            httpx.HTTPError: The relay does not say.
        """
        answer = self._patient.invoke(lambda: self._client.get(self._base_url + WAIT_PATH).raise_for_status())
        return WaitLeft.model_validate_json(answer.content)

    def begin(self) -> None:
        """Say that the run no longer waits.

        Raises:
            httpx.HTTPError: It is not taken.
        """
        self._patient.invoke(lambda: self._client.post(self._base_url + BEGUN_PATH).raise_for_status())

    def send_artefact(self, name: str, path: Path) -> None:
        """Hand over one file.

        Raises:
            httpx.HTTPError: It is not taken.
            OSError: It cannot be read.
        """
        self._hand_over(ARTEFACTS_PATH + quote(name), path)

    def send_checkpoint(self, name: str, path: Path) -> None:
        """Hand over a file that this ServerApp would go on from if it was started again.

        Raises:
            httpx.HTTPError: It is not taken.
            OSError: It cannot be read.
        """
        self._hand_over(CHECKPOINT_PATH + quote(name), path)

    def checkpoint_files(self) -> list[str]:
        """Names of what an earlier process of this run handed over.

        Raises:
            httpx.HTTPError: The relay does not say.
        """
        answer = self._patient.invoke(lambda: self._client.get(self._base_url + CHECKPOINT_PATH).raise_for_status())
        return [str(name) for name in answer.json()["files"]]

    def fetch_checkpoint(self, name: str, target: Path) -> None:
        """Fetch one of them.

        Raises:
            httpx.HTTPError: It does not come.
            OSError: It cannot be written.
        """

        def fetch() -> None:
            with self._client.stream("GET", self._base_url + CHECKPOINT_PATH + quote(name)) as answer:
                answer.raise_for_status()
                with target.open("wb") as file:
                    for piece in answer.iter_bytes():
                        file.write(piece)

        self._patient.invoke(fetch)

    def _hand_over(self, where: str, path: Path) -> None:
        def send() -> None:
            with path.open("rb") as file:
                self._client.put(self._base_url + where, content=file).raise_for_status()

        self._patient.invoke(send)


def _reachable(socket: Path) -> str:
    """A short name of a socket, whose path may be longer than the kernel takes."""
    if len(str(socket)) <= _LONGEST_PATH:
        return str(socket)
    descriptor = os.open(socket.parent, os.O_DIRECTORY | os.O_RDONLY)  # for the life of this process
    return f"/proc/self/fd/{descriptor}/{socket.name}"
