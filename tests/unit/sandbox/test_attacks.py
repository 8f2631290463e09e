"""What a hostile worker does becomes a SandboxError, in bounded time and memory, and ends its session only.

The runner here is a script that speaks just enough of the protocol to attack it. The time is bounded: a worker that
never ends of its own accord is given a short deadline, and the test ends.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.ports import Envelope, SandboxSpec
from flame_fl.sandbox.subprocess import SubprocessSandbox

DEADLINE = 30.0
SHORT = 1.0
MESSAGE = Envelope("1", "train", "1", Content(arrays={"arrays": {"x": np.arange(4.0)}}), 1)

# A runner: answers HELLO, reads the message, then does what the attack says with `out`, `seq` and `frame`.
RUNNER = """
import os, struct, sys, time
HEAD = struct.Struct(">IBQ")
out = 1
def read(n):
    data = b""
    while len(data) < n:
        got = os.read(0, n - len(data))
        if not got: os._exit(0)
        data += got
    return data
def take():
    length, kind, seq = HEAD.unpack(read(13))
    return kind, seq, read(length - 9)
def frame(kind, seq, payload):
    return HEAD.pack(len(payload) + 9, kind, seq) + payload
def send(data):
    while data: data = data[os.write(out, data):]
def content(header, arrays=b""):
    import json
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">I", len(raw)) + raw + arrays
EMPTY = {"arrays": [], "array_records": [], "metrics": {}, "configs": {}, "extra": {}}
kind, seq, hello = take()
send(frame(1, seq, b"{}"))
kind, seq, message = take()
"""

GARBAGE = {
    "dies": "os._exit(3)",
    "is killed": "os.kill(os.getpid(), 9)",
    "closes its pipe and stays": "os.close(1); time.sleep(600)",
    "dies after half a head": "send(b'\\0\\0\\0'); os._exit(0)",
    "dies after half a payload": "send(frame(3, seq, content(EMPTY))[:-5]); os._exit(0)",
    "sends noise": "send(bytes(range(256)) * 100); time.sleep(600)",
    "sends text": "send(b'Traceback (most recent call last):\\n' * 10); time.sleep(600)",
    "sends a pickle": "import pickle; send(pickle.dumps({'x': [1.0] * 100})); time.sleep(600)",
    "sends a pickle in a frame": "import pickle; send(frame(3, seq, pickle.dumps([1.0]))); time.sleep(600)",
    "announces 4 GiB": "send(HEAD.pack(0xFFFFFFFF, 3, seq)); time.sleep(600)",
    "announces less than a head": "send(HEAD.pack(3, 3, seq)); time.sleep(600)",
    "announces a header of 4 GiB": "send(frame(3, seq, b'\\xff\\xff\\xff\\xff{}')); time.sleep(600)",
    "announces arrays it has not": (
        "send(frame(3, seq, content({**EMPTY, 'array_records': ['a'], 'arrays': [['a', 'x', 'float64', [1 << 40]]]})));"
        "time.sleep(600)"
    ),
    "sends bytes nobody claims": "send(frame(3, seq, content(EMPTY, b'hidden'))); time.sleep(600)",
    "sends nested JSON": "send(frame(3, seq, content(b'[' * 100_000))); time.sleep(600)",
    "sends an object array": (
        "table = {**EMPTY, 'array_records': ['a'], 'arrays': [['a', 'x', 'object', [1]]]};"
        "send(frame(3, seq, content(table, b'12345678'))); time.sleep(600)"
    ),
    "answers another message": "send(frame(3, seq + 1, content(EMPTY))); time.sleep(600)",
    "answers with HELLO": "send(frame(1, seq, b'{}')); time.sleep(600)",
    "answers with BYE": "send(frame(5, seq, b'')); time.sleep(600)",
    "answers with an unknown type": "send(frame(99, seq, b'')); time.sleep(600)",
    "floods its pipe": "\nwhile True: send(b'\\x7f' * 65536)",
}

SLOW = {
    "hangs": "time.sleep(600)",
    "hangs in a loop": "\nwhile True: pass",
    "hangs after half a frame": "send(frame(3, seq, content(EMPTY))[:-5]); time.sleep(600)",
    "drips": "\nsend(HEAD.pack(100_009, 3, seq))\nwhile True: send(b'x'); time.sleep(0.05)",
}


@pytest.fixture
def hostile(tmp_path: Path, spec_of: Callable[..., SandboxSpec]) -> Callable[..., object]:
    """Start a worker whose runner is a script of the bundle itself (its folder is the worker's `app`)."""
    from tests_bundle import bundle  # type: ignore[import-not-found]

    def begin(attack: str, prelude: str = RUNNER, **options: int) -> object:
        spec = spec_of("")
        files = {"hostile.py": prelude + attack, "pyproject.toml": ""}
        spec = SandboxSpec(**{**spec.__dict__, "fab": bundle(files)})
        return SubprocessSandbox("app.hostile", **options).start(spec)

    return begin
