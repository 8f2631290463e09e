"""Asks a hub about a run of one's own: its state, its events, what it left."""

import hashlib
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from flame_fl.contract.errors import FlameError, InputError, UnreachableError, VerificationError
from flame_fl.flower.server_wish import Wish
from flame_fl.researcher.hubs import Hub

_SECONDS = 30.0
_PATIENCE_SECONDS = 120.0
MAX_ARTEFACT_BYTES = 4 << 30


@dataclass(frozen=True)
class RunState:
    """What the hub says of a run."""

    status: str
    sub_status: str
    details: str
    project: str
    fab_sha256: str

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.status == "finished"

    @property
    def is_good(self) -> bool:
        """Whether it ended as its ServerApp wished."""
        return self.is_over and self.sub_status == "completed"


class HubClient:
    """Speaks to a hub about one run.

    Args:
        hub: Where, with the token.
        run_id: Which run.
        patience_seconds: How long a hub may be away.
    """

    def __init__(self, hub: Hub, run_id: int, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        try:
            context = ssl.create_default_context(cafile=hub.ca)
        except (OSError, ssl.SSLError) as err:
            raise InputError(f"{hub.ca} is no certificate.", mend="Ask the hub's administrator for it.") from err
        self._hub, self._patience = hub, patience_seconds
        self._url = f"https://{hub.address}/v1/flame/runs/{run_id}"
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {hub.token}"},
            verify=context,
            timeout=_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def state(self) -> RunState:
        """How far it is."""
        said = self._get("").json()
        return RunState(
            str(said["status"]),
            str(said["sub_status"]),
            str(said["details"]),
            str(said["project"] or ""),
            str(said["fab_sha256"] or ""),
        )

    def set_wish(self, wish: Wish) -> None:
        """Say how long the run may wait for stewards. A later wish replaces an earlier one."""
        self._call("PUT", "/wait", content=wish.model_dump_json())

    def events(self, after: int) -> list[str]:
        """Lines of its events from number `after` on, as many as the hub gives at once."""
        return self._get("/events", after=after).text.splitlines()

    def log(self) -> str:
        """What its ServerApp printed."""
        return self._get("/log").text

    def artefacts(self) -> dict[str, tuple[int, str]]:
        """Sizes and SHA-256 of what it left, by path."""
        said = self._get("/artefacts").json()["artefacts"]
        return {str(entry["path"]): (int(entry["bytes"]), str(entry["sha256"])) for entry in said}

    def fetch(self, name: str, size: int, sha256: str, target: Path) -> None:
        """Fetch one file into `target`, which is complete or not there.

        Raises:
            VerificationError: It is not what the hub announced.
            UnreachableError: The hub does not answer.
        """
        beside = target.with_name(f".{target.name}.arriving")
        state, left = hashlib.sha256(), size
        try:
            with (
                self._client.stream("GET", f"{self._url}/artefacts/{quote(name)}") as answer,
                beside.open("wb") as file,
            ):
                answer.raise_for_status()
                for piece in answer.iter_bytes():
                    left -= len(piece)
                    if left < 0:
                        break
                    state.update(piece)
                    file.write(piece)
            if left != 0 or state.hexdigest() != sha256:
                raise VerificationError(f"{name} did not arrive as the hub announced it.", mend="Fetch it again.")
            beside.replace(target)
        except httpx.HTTPError as err:
            raise self._unreachable() from err
        finally:
            beside.unlink(missing_ok=True)

    def _get(self, path: str, **query: Any) -> httpx.Response:
        return self._call("GET", path, params=query)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        end, wait = time.monotonic() + self._patience, 0.2
        while True:
            try:
                answer = self._client.request(method, self._url + path, **options)
            except httpx.TransportError as err:
                if time.monotonic() > end:
                    raise self._unreachable() from err
            else:
                if answer.status_code < 500 or time.monotonic() > end:
                    return self._checked(answer)
            time.sleep(wait)
            wait = min(2 * wait, 5.0)

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        if answer.status_code == 401:
            raise InputError(
                f"The hub {self._hub.name} does not know this token.", mend="Ask its administrator for one."
            )
        if answer.status_code == 404:
            raise InputError(f"You have no such run at the hub {self._hub.name}.", mend="See the number of the run.")
        raise FlameError(f"The hub {self._hub.name} answered {answer.status_code}.", mend="Ask its administrator.")

    def _unreachable(self) -> UnreachableError:
        return UnreachableError(
            f"The hub {self._hub.name} does not answer at {self._hub.address}.",
            mend="The run may go on there; `flame run … --resume` follows it again.",
        )
