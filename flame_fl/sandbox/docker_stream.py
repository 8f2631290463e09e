"""Frames over the stream that the engine gives to who attaches to a container.

What the container prints comes multiplexed: the engine puts eight bytes before each piece, stream number and length
(Docker Engine API, "Attach to a container"). Standard output holds our frames, standard error the app's own words,
which go to the node's log up to a limit and are dropped beyond it.
"""

import contextlib
import os
import select
import socket
import time
from pathlib import Path

from flame_fl.contract.frames import FrameError
from flame_fl.sandbox.pipes import FramePipe

MAX_LOG_BYTES = 16 * 1024 * 1024
_BUFFER = 1 << 20
_HEADER = 8
_STDOUT, _STDERR = 1, 2
_DRAIN_SECONDS, _LAST_WORDS_SECONDS = 0.5, 0.05


class DockerStream(FramePipe):
    """The gate's side of an attached container. Owns the socket.

    Args:
        stream: Connected and attached, before the container is started.
        log_path: Where standard error goes.
        max_log_bytes: How much of it is kept.
    """

    def __init__(self, stream: socket.socket, log_path: Path, max_log_bytes: int = MAX_LOG_BYTES) -> None:
        super().__init__(stream.fileno(), stream.fileno())
        self._stream, self._log_path, self._log_left = stream, log_path, max_log_bytes
        self._buffer = bytearray(_BUFFER)
        self._raw = memoryview(b"")  # received, not yet looked at
        self._header = bytearray()
        self._kind, self._left = 0, 0  # of the piece that is being read

    @property
    def open(self) -> bool:
        """Whether the container still holds the other end."""
        if self._raw:
            return True
        try:
            return self._stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _read_into(self, view: memoryview) -> int:
        while True:
            if not self._raw:
                got = self._stream.recv_into(self._buffer)
                if got == 0:
                    return 0
                self._raw = memoryview(self._buffer)[:got]
            if self._left == 0 and not self._next_piece():
                continue
            if not self._raw:  # a header came alone: nothing read is not the end
                continue
            size = min(self._left, len(self._raw))
            if self._kind == _STDERR:
                self._keep(bytes(self._take(size)))
                if not self._raw:
                    raise BlockingIOError  # so that a flood on standard error meets the deadline too
                continue
            size = min(size, len(view))
            view[:size] = self._take(size)
            return size

    def _next_piece(self) -> bool:
        """Read the header of the next piece; False if it is not here yet, or the piece is empty."""
        wanted = _HEADER - len(self._header)
        self._header += self._raw[:wanted]
        self._raw = self._raw[wanted:]
        if len(self._header) < _HEADER:
            return False
        self._kind, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
        self._header.clear()
        if self._kind not in {_STDOUT, _STDERR}:
            raise FrameError("The engine's stream is none that can be read.")
        return self._left > 0

    def _take(self, size: int) -> memoryview:
        taken, self._raw = self._raw[:size], self._raw[size:]
        self._left -= size
        return taken

    def _keep(self, words: bytes) -> None:
        kept = words[: self._log_left]
        self._log_left -= len(kept)
        if kept:
            with contextlib.suppress(OSError), self._log_path.open("ab") as log:
                log.write(kept)
                if self._log_left == 0:
                    log.write(b"\n[flame] the log's limit is reached; the rest is dropped\n")

    def drain(self) -> None:
        """Keep what the container said last, which may still be on its way. Waits for an instant only; never raises."""
        rest, until = memoryview(bytearray(_BUFFER)), time.monotonic() + _DRAIN_SECONDS
        with contextlib.suppress(OSError, ValueError, FrameError):
            while time.monotonic() < until:
                try:
                    if self._read_into(rest) == 0:
                        return
                except BlockingIOError:
                    if not select.select([self._stream], [], [], _LAST_WORDS_SECONDS)[0]:
                        return

    def close(self) -> None:
        """Close the socket. Only while no exchange is in progress."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()


def note(log_path: Path, text: str) -> None:
    """Append a line of our own to a container's log. Never raises."""
    with contextlib.suppress(OSError):
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            log.write(f"[flame] {text}{os.linesep}".encode())
