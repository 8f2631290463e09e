"""The sandbox's end of the pipes, as a process: one answer for every frame, whatever an app does to descriptors."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.frames import HEAD, FrameType, decode, encode, pack, parse_head

RUNNER = "flame_fl.flower.runner"
MOST = 1 << 20
LONG = 60.0  # seconds after which a test gives up; nothing is said about how long anything takes
APP = """
import os, random, subprocess, sys
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
def reply(message, **records):
    return Message(RecordDict(records), reply_to=message)
@app.train()
def train(message, context):
    return Message(message.content, reply_to=message)
"""


@dataclass
class Worker:
    """A runner with its pipes; `folder` holds its app and what it said to standard error."""

    folder: Path
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        with (self.folder / "stderr").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", RUNNER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                bufsize=0,
            )

    def send(self, raw: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(raw)

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer if the runner closed its end."""
        assert self.process.stdout is not None
        raw = b""
        while len(raw) < size:
            assert select.select([self.process.stdout], [], [], LONG)[0], "the runner says nothing"
            if not (part := self.process.stdout.read(size - len(raw))):
                break
            raw += part
        return raw

    def frame(self) -> tuple[FrameType, int, bytes]:
        """The next frame; fails if the runner ended."""
        head = parse_head(self.read(HEAD.size), MOST)
        return head.type, head.sequence, self.read(head.payload_bytes)

    def exchange(self, kind: FrameType, sequence: int, payload: bytes) -> tuple[FrameType, int, bytes]:
        self.send(b"".join(pack(kind, sequence, [payload])))
        return self.frame()

    def hello(self, **changes: Any) -> tuple[FrameType, int, bytes]:
        told = {"app_dir": str(self.folder / "app"), "component": "piped.client_app:app", "run_id": 7, "node_id": 42}
        told |= {"run_config": {"rounds": 5}, "node_config": {}} | changes
        return self.exchange(FrameType.HELLO, 1, json.dumps(told).encode())

    def ask(self, kind: str = "train", sequence: int = 2, seed: int | None = None) -> tuple[FrameType, int, bytes]:
        extra = {"message_id": "42-1", "message_type": kind, "group_id": "1", "seed": seed}
        content = Content({"arrays": {"x": np.arange(4.0)}})
        return self.exchange(FrameType.MESSAGE, sequence, b"".join(encode(content, extra)))

    def reply(self, kind: str = "train", **how: Any) -> Content:
        """The content of a REPLY; fails if it is an ERROR."""
        answer, _, payload = self.ask(kind, **how)
        assert answer is FrameType.REPLY, payload
        return decode(payload)[0]

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def end(self) -> None:
        self.process.kill()
        self.process.wait(LONG)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


WorkerOf = Callable[..., Worker]


def write_app(folder: Path, body: str) -> None:
    package = folder / "app" / "piped"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "client_app.py").write_text(APP + body)


@pytest.fixture
def worker_of(tmp_path: Path) -> Iterator[WorkerOf]:
    """A runner that has loaded an app with this body; with `hello=False` one that was told nothing yet."""
    workers: list[Worker] = []

    def start(body: str = "", *, hello: bool = True) -> Worker:
        write_app(tmp_path, body)
        workers.append(Worker(tmp_path))
        if hello:
            assert workers[-1].hello()[0] is FrameType.HELLO, workers[-1].log
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


class TestFrames:
    def test_hello_is_answered_once_the_app_is_loaded(self, worker_of: WorkerOf) -> None:
        """With an empty object and the same sequence number."""
        assert worker_of(hello=False).hello() == (FrameType.HELLO, 1, b"{}")

    def test_a_message_is_answered_by_the_reply(self, worker_of: WorkerOf) -> None:
        """Its content is the app's, its sequence number the message's."""
        kind, sequence, payload = worker_of().ask(sequence=2**40)
        assert (kind, sequence) == (FrameType.REPLY, 2**40)
        assert decode(payload)[0].arrays["arrays"]["x"].tolist() == [0.0, 1.0, 2.0, 3.0]

    def test_a_frame_may_arrive_in_pieces(self, worker_of: WorkerOf) -> None:
        """A pipe has no borders between frames."""
        worker = worker_of()
        extra = {"message_id": "1", "message_type": "train", "group_id": "1", "seed": None}
        raw = b"".join(pack(FrameType.MESSAGE, 2, encode(Content(), extra)))
        for part in (raw[:3], raw[3:20], raw[20:]):
            worker.send(part)
        assert worker.frame()[:2] == (FrameType.REPLY, 2)

    def test_two_messages_get_two_replies_in_order(self, worker_of: WorkerOf) -> None:
        """Also if the second was sent before the first was answered."""
        worker = worker_of()
        extra = {"message_id": "1", "message_type": "train", "group_id": "1", "seed": None}
        worker.send(b"".join(b"".join(pack(FrameType.MESSAGE, n, encode(Content(), extra))) for n in (2, 3)))
        assert [worker.frame()[1] for _ in range(2)] == [2, 3]

    def test_a_seed_in_the_message_seeds_the_app(self, worker_of: WorkerOf) -> None:
        """The same numbers for the same seed."""
        worker = worker_of("""
@app.query("draw")
def draw(message, context):
    return reply(message, m=MetricRecord({"n": [random.random(), float(np.random.random())]}))
""")
        first, again, other = (worker.reply("query.draw", seed=s).metrics["m"] for s in (1, 1, 2))
        assert first == again != other


class TestErrors:
    def test_an_error_carries_the_name_of_the_class_and_nothing_else(self, worker_of: WorkerOf) -> None:
        """The words, which may name a patient, stay in the log."""
        worker = worker_of("""
@app.query("fail")
def fail(message, context):
    raise KeyError("Erika Mustermann")
""")
        assert worker.ask("query.fail") == (FrameType.ERROR, 2, b"KeyError")
        assert "Erika Mustermann" in worker.log

    @pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt", "GeneratorExit", "MemoryError"])
    def test_whatever_an_app_raises_the_next_message_is_answered(self, raised: str, worker_of: WorkerOf) -> None:
        """An app cannot end the session by an exception."""
        worker = worker_of(f"""
@app.query("fail")
def fail(message, context):
    raise {raised}
""")
        assert worker.ask("query.fail")[0] is FrameType.ERROR
        assert worker.ask(sequence=3)[:2] == (FrameType.REPLY, 3)

    def test_the_name_of_a_class_is_sent_in_ascii(self, worker_of: WorkerOf) -> None:
        """As docs/frames.md says."""
        worker = worker_of("""
class Fehlerü(Exception): pass
@app.query("fail")
def fail(message, context):
    raise Fehlerü
""")
        assert worker.ask("query.fail")[2] == b"Fehler?"

    def test_an_app_that_cannot_be_loaded_is_an_error(self, worker_of: WorkerOf) -> None:
        """Answering HELLO; the traceback is in the log."""
        worker = worker_of("import not_installed_anywhere\n", hello=False)
        assert worker.hello() == (FrameType.ERROR, 1, b"ModuleNotFoundError")
        assert "not_installed_anywhere" in worker.log

    def test_a_hello_that_is_no_json_is_an_error(self, worker_of: WorkerOf) -> None:
        """The runner does not die without a word."""
        assert worker_of(hello=False).exchange(FrameType.HELLO, 1, b"{")[0] is FrameType.ERROR

    def test_a_reply_that_cannot_be_sent_is_an_error(self, worker_of: WorkerOf) -> None:
        """And nothing of it is sent before."""
        worker = worker_of("""
@app.query("text")
def text(message, context):
    arrays = {"good": Array(np.ones(3)), "bad": Array(np.array(["patient"]))}
    return reply(message, r=ArrayRecord(arrays))
""")
        assert worker.ask("query.text") == (FrameType.ERROR, 2, b"FrameError")
        assert worker.ask(sequence=3)[:2] == (FrameType.REPLY, 3)


class TestDescriptors:
    @pytest.mark.parametrize(
        "call",
        [
            'print("noise", flush=True)',
            'sys.stdout.write("noise"); sys.stdout.flush()',
            'sys.__stdout__.write("noise"); sys.__stdout__.flush()',
            'os.write(1, b"noise")',
            'os.system("echo noise")',
            'subprocess.run(["echo", "noise"])',
        ],
    )
    def test_what_an_app_prints_goes_to_the_log(self, call: str, worker_of: WorkerOf) -> None:
        """By whatever way, its children's output included; the frames stay whole."""
        worker = worker_of(f"""
@app.query("print")
def talk(message, context):
    {call}
    return reply(message)
""")
        assert worker.ask("query.print")[:2] == (FrameType.REPLY, 2)
        assert worker.ask(sequence=3)[:2] == (FrameType.REPLY, 3)
        assert "noise" in worker.log

    def test_what_is_printed_on_import_goes_to_the_log(self, worker_of: WorkerOf) -> None:
        """The descriptors are moved before the app is imported."""
        worker = worker_of('print("noise", flush=True)\n', hello=False)
        assert worker.hello() == (FrameType.HELLO, 1, b"{}")
        assert "noise" in worker.log

    @pytest.mark.parametrize("call", ["sys.stdin.read()", "os.read(0, 100).decode()"])
    def test_an_app_that_reads_its_input_gets_nothing(self, call: str, worker_of: WorkerOf) -> None:
        """It does not take the next frame, and does not wait for ever."""
        worker = worker_of(f"""
@app.query("read")
def read(message, context):
    return reply(message, c=ConfigRecord({{"read": {call}}}))
""")
        assert worker.reply("query.read").configs["c"]["read"] == ""

    def test_a_child_of_the_app_does_not_hold_the_frames_pipe(self, worker_of: WorkerOf) -> None:
        """When the runner dies its reader sees the end, though a child of the app lives on."""
        worker = worker_of("""
import shutil
@app.query("child")
def child(message, context):
    pid = os.posix_spawn(shutil.which("sleep"), ["sleep", "600"], os.environ)  # closes no descriptor itself
    return reply(message, m=MetricRecord({"pid": pid}))
""")
        pid = worker.reply("query.child").metrics["m"]["pid"]
        try:
            worker.process.kill()
            assert worker.read(1) == b""
        finally:
            os.kill(pid, signal.SIGKILL)


class TestTheEnd:
    @pytest.mark.parametrize("hello", [True, False])
    def test_it_ends_when_its_input_closes(self, hello: bool, worker_of: WorkerOf) -> None:
        """Quietly, before HELLO or after."""
        worker = worker_of(hello=hello)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(LONG) == 0
        assert worker.read(1) == b""

    def test_it_ends_when_its_input_closes_inside_a_head(self, worker_of: WorkerOf) -> None:
        """Half a frame is none."""
        worker = worker_of()
        worker.send(b"\0\0\0")
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(LONG) == 0

    @pytest.mark.parametrize("kind", [FrameType.REPLY, FrameType.ERROR, FrameType.BYE])
    def test_it_ends_on_a_frame_that_a_gate_does_not_send(self, kind: FrameType, worker_of: WorkerOf) -> None:
        """Without an answer."""
        worker = worker_of()
        worker.send(b"".join(pack(kind, 2, [b"{}"])))
        assert worker.read(1) == b""
        assert worker.process.wait(LONG) == 0

    def test_it_ends_on_a_message_before_hello(self, worker_of: WorkerOf) -> None:
        """There is no app to ask."""
        worker = worker_of(hello=False)
        worker.send(b"".join(pack(FrameType.MESSAGE, 1, encode(Content()))))
        assert worker.read(1) == b""
        assert worker.process.wait(LONG) == 0

    @pytest.mark.parametrize("busy", [False, True], ids=["waiting", "working"])
    def test_it_ends_with_its_parent(self, busy: bool, tmp_path: Path) -> None:
        """Even one killed with SIGKILL whose pipes somebody else still holds, and in the middle of a message."""
        write_app(tmp_path, "import time\n@app.query('sleep')\ndef sleep(message, context):\n    time.sleep(600)\n")
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        starter = f"import subprocess, sys; subprocess.run([sys.executable, '-m', {RUNNER!r}])"
        parent = subprocess.Popen([sys.executable, "-c", starter], stdin=to_read, stdout=from_write, cwd=tmp_path)
        os.close(to_read)
        os.close(from_write)
        told = {"app_dir": str(tmp_path / "app"), "component": "piped.client_app:app", "run_id": 7, "node_id": 42}
        hello = json.dumps(told | {"run_config": {}, "node_config": {}}).encode()
        extra = {"message_id": "1", "message_type": "query.sleep", "group_id": "1", "seed": None}
        try:
            os.write(to_write, b"".join(pack(FrameType.HELLO, 1, [hello])))
            assert _readable(from_read)
            assert os.read(from_read, 1000)[4] == FrameType.HELLO
            if busy:
                os.write(to_write, b"".join(pack(FrameType.MESSAGE, 2, encode(Content(), extra))))
            parent.kill()
            parent.wait(LONG)
            assert _readable(from_read), "the runner lives on"
            assert os.read(from_read, 1) == b""
        finally:
            with contextlib.suppress(ProcessLookupError):
                parent.kill()
            os.close(to_write)
            os.close(from_read)


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], LONG)[0])
