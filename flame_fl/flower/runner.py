"""What runs inside a sandbox: reads frames, calls the app, writes frames.

Started as `python -m flame_fl.flower.runner`. Before the app is imported, the descriptors of the frames are moved out
of its way and standard output points at standard error, so that a `print` cannot break the protocol. That protects
honest apps; a hostile one can write any frame it likes, and the gate treats every frame so.
"""

import contextlib
import json
import os
import struct
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO

from flame_fl.contract.frames import HEAD, FrameType, decode, encode, pack
from flame_fl.contract.ports import Envelope
from flame_fl.flower import WORKER_PARENT

if TYPE_CHECKING:
    from flame_fl.flower.app_host import AppHost


def main() -> None:
    """Serve until the other side closes."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    sys.stdout = sys.stderr
    _end_with(int(os.environ.get(WORKER_PARENT, os.getppid())))
    host = None
    while (frame := _read(reader)) is not None:
        kind, sequence, payload = frame
        try:
            if kind == FrameType.HELLO:
                host = _load(json.loads(payload))
                answer, parts = FrameType.HELLO, _parts(b"{}")
            elif kind == FrameType.MESSAGE and host is not None:
                content, extra = decode(payload)
                message = Envelope(
                    extra["message_id"], extra["message_type"], extra["group_id"], content, extra["seed"]
                )
                answer, parts = FrameType.REPLY, encode(host.handle(message))
            else:
                return
        except BaseException as err:  # the app may raise anything, SystemExit included
            traceback.print_exc()
            answer, parts = FrameType.ERROR, _parts(type(err).__name__.encode("ascii", "replace"))
        for part in pack(answer, sequence, parts):
            writer.write(part)
        writer.flush()


def _parts(raw: bytes) -> list[bytes | memoryview]:
    return [raw]


def _load(hello: dict[str, Any]) -> "AppHost":
    from flame_fl.flower.app_host import load_host

    return load_host(hello)


def _read(reader: BinaryIO) -> tuple[int, int, bytes] | None:
    raw = reader.read(HEAD.size)
    if len(raw) < HEAD.size:
        return None
    length, kind, sequence = HEAD.unpack(raw)
    payload = reader.read(length - (HEAD.size - struct.calcsize(">I")))
    return kind, sequence, payload


def _end_with(parent: int) -> None:
    """A worker does not outlive the process that started it, not even one killed with SIGKILL."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
