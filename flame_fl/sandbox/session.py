"""A warm session with a runner that speaks frames, whatever kind of process it is: a worker, or a container."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.frames import FrameError, FrameHead, FrameType, decode, encode
from flame_fl.contract.ports import Envelope

RUNNER = "flame_fl.flower.runner"  # the module that speaks frames, inside
_HELLO_BYTES = 1 << 16


class Process(Protocol):
    """What runs the app."""

    def running(self, wait_seconds: float = 0.0) -> bool:
        """Whether it has not ended, looked at for at most so long."""

    def pause(self) -> None:
        """Let nothing of it run. Never raises."""

    def resume(self) -> None:
        """Let it run again. Never raises."""

    def end(self) -> None:
        """Kill it with everything it started. Never raises."""


class Pipe(Protocol):
    """The way to its runner and back (`flame_fl.sandbox.pipes`)."""

    def exchange(
        self, kind: FrameType, sequence: int, parts: list[bytes | memoryview], deadline: float, max_bytes: int
    ) -> tuple[FrameHead, bytearray]:
        """Send one frame and read one."""

    def cancel(self) -> None:
        """Make an exchange in progress raise soon."""

    def close(self) -> None:
        """Close what is ours."""


class FrameSession:
    """One process. One thread handles messages; any thread may close.

    Args:
        process: What runs the app; ended by `close`.
        pipe: The way to it; closed by `close`.
        hello: What its runner is told first (`SandboxSpec.hello`), with the first message and inside its deadline.
        clean_up: Removes what the session left on disk, after the process has ended. Must not raise.
    """

    def __init__(self, process: Process, pipe: Pipe, hello: Mapping[str, object], clean_up: Callable[[], None]) -> None:
        self._process, self._pipe, self._clean_up, self._sequence = process, pipe, clean_up, 0
        self._over, self._closed, self._busy = False, False, threading.RLock()
        self._hello: Mapping[str, object] | None = hello

    @property
    def alive(self) -> bool:
        """Whether the process can take another message."""
        return not self._over and self._process.running()

    def handle(self, message: Envelope, deadline_seconds: float, max_reply_bytes: int) -> Content:
        """Send a message, read the update.

        Raises:
            SandboxTimeoutError: No complete answer in time; the process is ended.
            SandboxError: It died, or answered what is no frame (it is ended), or the app raised (it stays).
        """
        deadline = time.monotonic() + deadline_seconds
        extra = {
            "message_id": message.message_id,
            "message_type": message.message_type,
            "group_id": message.group_id,
            "seed": message.seed,
        }
        with self._busy:
            try:
                if self._over:
                    raise SandboxError("The worker was ended.")
                if self._hello is not None:
                    hello, self._hello = self._hello, None
                    self._ask(FrameType.HELLO, [json.dumps(hello).encode()], deadline, _HELLO_BYTES, FrameType.HELLO)
                raw = self._ask(
                    FrameType.MESSAGE, encode(message.content, extra), deadline, max_reply_bytes, FrameType.REPLY
                )
                return decode(raw)[0]
            except _AppRaisedError as err:
                self._over = self._over or err.fatal
                raise SandboxError(f"The app failed ({err.kind}); its own words are in the node's log.") from None
            except SandboxError:
                self.close()
                raise

    def _ask(
        self, kind: FrameType, parts: list[bytes | memoryview], deadline: float, most: int, wanted: FrameType
    ) -> bytearray:
        self._sequence += 1
        head, payload = self._pipe.exchange(kind, self._sequence, parts, deadline, most)
        if head.type is FrameType.ERROR:
            raise _AppRaisedError(payload, fatal=kind is FrameType.HELLO)
        if head.type is not wanted:
            raise FrameError(f"The worker answered with a frame of type {head.type.name}.")
        return payload

    def pause(self) -> None:
        """Let nothing of it run until `resume`. Never raises."""
        with self._busy:  # nobody ends it, and its number is nobody else's, meanwhile
            if not self._over:
                self._process.pause()

    def resume(self) -> None:
        """Let it run again. Never raises."""
        with self._busy:
            if not self._over:
                self._process.resume()

    def close(self) -> None:
        """Kill the process, and remove what it left. From any thread; never raises."""
        self._over = True
        self._pipe.cancel()
        with self._busy:  # the thread that handles a message leaves first: it uses the descriptors
            if self._closed:
                return
            self._closed = True
            self._process.end()
            with suppress(OSError):
                self._pipe.close()
            self._clean_up()


class _AppRaisedError(SandboxError):
    """The runner says that the app raised. Its words are untrusted; only an identifier-like kind is kept."""

    def __init__(self, payload: bytearray, *, fatal: bool) -> None:
        word = bytes(payload[:80]).decode("ascii", "replace")
        self.kind = word if word.isidentifier() else "an error without a name"
        self.fatal = fatal
        super().__init__(self.kind)
