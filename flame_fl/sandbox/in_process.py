"""The in-process sandbox: no confinement, no deadline, one message at a time. For tests and one's own trusted code.

The app is called in this very process, through the same encoded bytes as in every other sandbox, so that an app that
changes what it was sent changes a copy.
"""

import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.frames import decode, encode
from flame_fl.contract.ports import Envelope, SandboxSpec

# Flower's task identity and the random states are global to a process: two apps at once would mix them up.
T = TypeVar("T")
_ONE_AT_A_TIME = threading.Lock()


class App(Protocol):
    """A loaded ClientApp (`flame_fl.flower.app_host.AppHost`)."""

    def handle(self, message: Envelope) -> Content:
        """Call the app."""


class InProcessSandbox:
    """Loads apps with `load`, a function handed in by who wires the gate."""

    def __init__(self, load: Callable[[SandboxSpec], App]) -> None:
        self._load = load

    def kind_of(self, app: str) -> str:
        """The same for every app."""
        del app
        return "in-process"

    def start(self, spec: SandboxSpec) -> "InProcessSession":
        """Load the app.

        Raises:
            SandboxError: It cannot be loaded.
        """
        with _ONE_AT_A_TIME:
            return InProcessSession(_guarded(lambda: self._load(spec), spec.log_path), spec.log_path)


class InProcessSession:
    """One loaded app."""

    alive = True

    def __init__(self, app: App, log_path: Path) -> None:
        self._app, self._log_path = app, log_path

    def handle(self, message: Envelope, deadline_seconds: float, max_reply_bytes: int) -> Content:
        """Call the app on a copy of the message. `deadline_seconds` cannot be kept here.

        Raises:
            SandboxError: The app raised, or its reply is too large.
        """
        del deadline_seconds
        sent, _ = decode(b"".join(encode(message.content)))
        copy = Envelope(message.message_id, message.message_type, message.group_id, sent, message.seed)
        with _ONE_AT_A_TIME:
            reply = _guarded(lambda: self._app.handle(copy), self._log_path)
        raw = b"".join(encode(reply))
        if len(raw) > max_reply_bytes:
            raise SandboxError(f"The app's reply has {len(raw)} bytes; the limit is {max_reply_bytes}.")
        return decode(raw)[0]

    def pause(self) -> None:
        """Nothing runs but in a message."""

    def resume(self) -> None:
        """Nothing was paused."""

    def close(self) -> None:
        """Nothing to end."""


def _guarded(call: Callable[[], T], log_path: Path) -> T:
    try:
        return call()
    except SandboxError:
        raise
    except (Exception, SystemExit) as err:  # whatever researcher code raises is the app's failure, not ours
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            traceback.print_exc(file=log)
        raise SandboxError(f"The app failed ({type(err).__name__}); its own words are in the node's log.") from err
