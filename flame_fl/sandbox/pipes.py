"""Frames over a pair of pipes, with a deadline and a size limit on every read and write.

The reading end belongs to the gate, the other end to hostile code: nothing here waits longer than the deadline
(a worker that drips one byte a second is cut off like one that says nothing), and nothing is allocated before its
announced size was compared with the limit. One thread exchanges; any thread may `cancel`.
"""

import contextlib
import fcntl
import os
import selectors
import time

from flame_fl.contract.errors import SandboxTimeoutError
from flame_fl.contract.frames import HEAD, FrameError, FrameHead, FrameType, pack, parse_head

_CHUNK = 1 << 20
_LOOK_UP_SECONDS = 0.2  # how soon a waiting exchange notices that it was cancelled


class FramePipe:
    """The gate's side of a worker. Both descriptors are made non-blocking and closed by `close`."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._cancelled = False
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):  # a larger pipe means fewer turns between the processes, no more
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _CHUNK)

    def exchange(
        self, kind: FrameType, sequence: int, parts: list[bytes | memoryview], deadline: float, max_bytes: int
    ) -> tuple[FrameHead, bytearray]:
        """Send one frame and read one, before `deadline` (of `time.monotonic`).

        Raises:
            SandboxTimeoutError: Not finished in time.
            FrameError: The worker closed its pipe, or sent what is no frame, or another sequence number; or the
                exchange was cancelled.
        """
        self._write(pack(kind, sequence, parts), deadline)
        head = parse_head(bytes(self._read(HEAD.size, deadline)), max_bytes)
        if head.sequence != sequence:
            raise FrameError("The worker answered another message than it was sent.")
        return head, self._read(head.payload_bytes, deadline)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(fd, event)
            while not self._cancelled:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SandboxTimeoutError("The worker did not answer before its deadline.")
                if selector.select(min(left, _LOOK_UP_SECONDS)):
                    return
        raise FrameError("The exchange was cancelled.")

    def _write(self, parts: list[bytes | memoryview], deadline: float) -> None:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                try:
                    view = view[os.write(self._write_fd, view[:_CHUNK]) :]
                except BlockingIOError:
                    self._wait(self._write_fd, selectors.EVENT_WRITE, deadline)
                except OSError:
                    raise FrameError("The worker closed its pipe.") from None

    def _read(self, size: int, deadline: float) -> bytearray:
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            if time.monotonic() > deadline:
                raise SandboxTimeoutError("The worker did not answer before its deadline.")
            try:
                got = self._read_into(view[filled : filled + _CHUNK])
            except BlockingIOError:
                self._wait(self._read_fd, selectors.EVENT_READ, deadline)
                continue
            except OSError:
                got = 0
            if got == 0:
                raise FrameError("The worker ended before it answered.")
            filled += got
        return data

    def _read_into(self, view: memoryview) -> int:
        """Some bytes of the worker's output; 0 at its end.

        Raises:
            BlockingIOError: There are none yet.
        """
        return os.readv(self._read_fd, [view])

    def cancel(self) -> None:
        """Make an exchange in progress, and every later one, raise soon. From any thread."""
        self._cancelled = True

    def close(self) -> None:
        """Close both ends that are ours. Only while no exchange is in progress: descriptors are soon used anew."""
        for fd in (self._read_fd, self._write_fd):
            os.close(fd)
