"""What the attacks on a container are written with: a declaration, a hostile app, and a session to run it in.

The app is one `exec`: each attack is Python source that is sent to it, so that a warm container serves many attacks.
In its source an attack finds `message`, `context`, `honest()` (an answer within the terms), `reply(**records)` and
`attempt(call, *arguments)` (the result, or the exception's name). It leaves what it saw in `found`, or an `answer`.
"""

import json
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flame_fl.contract.content import Content
from flame_fl.contract.fab import read_fab
from flame_fl.contract.frames import decode, encode
from flame_fl.contract.ports import Envelope, Sandbox, SandboxSpec, Session
from flame_fl.contract.terms import Resources
from tests.support.gates import make_fab, sent_message

Test = TypeVar("Test", bound=Callable[..., None])
MANY_BYTES = 1 << 22
MEMORY = 400_000_000
SECRET = "Erika-Mustermann-1957"  # the patient that an attack wants to carry out

HOSTILE = """
import json, os, socket, sys, time
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

def attempt(call, *arguments, **named):
    try:
        return call(*arguments, **named)
    except BaseException as err:
        return type(err).__name__ + (f" {err.errno}" if isinstance(err, OSError) and err.errno else "")

@app.train()
def train(message, context):
    def reply(**records):
        return Message(RecordDict(records), reply_to=message)
    def honest(arrays=None, metrics=None, **records):
        arrays = {"w": np.array([0.3, 0, 0, 0]), "b": np.array([0.4], np.float32)} if arrays is None else arrays
        metrics = {"num-examples": 50, "loss": 2.5} if metrics is None else metrics
        return reply(arrays=ArrayRecord({name: Array(value) for name, value in arrays.items()}),
                     metrics=MetricRecord(metrics), **records)
    names = globals() | {"message": message, "context": context, "reply": reply, "honest": honest,
                         "found": None, "answer": None, "KEPT": KEPT}
    exec(str(message.content["attack"]["source"]), names)
    if names["answer"] is not None:
        return names["answer"]
    return reply(found=ConfigRecord({"json": json.dumps(names["found"])}))

KEPT = {}  # what one attack leaves for the next
"""

# Finds the descriptor that leads to the gate, and writes frames of its own.
FORGE = """
import struct
def out():
    error = os.stat("/proc/self/fd/2")
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if attempt(os.readlink, path).startswith("pipe:") and os.stat(path).st_ino != error.st_ino:
            if attempt(os.write, int(name), b"") == 0:
                return int(name)
def head(length, kind=3, sequence=0):
    return struct.pack(">IBQ", length + 9, kind, sequence)
def frame(payload, kind=3, sequence=0):
    return head(len(payload), kind, sequence) + payload
def content(**changes):
    header = {"array_records": [], "arrays": [], "metrics": {}, "configs": {}, "extra": {}} | changes
    raw = json.dumps(header).encode()
    return struct.pack(">I", len(raw)) + raw
def sequence():  # the runner's own variable: nothing is secret from the app
    at = sys._getframe()
    while not isinstance(at.f_locals.get("sequence"), int):
        at = at.f_back
    return at.f_locals["sequence"]
"""


def attack(tried: str, held: str) -> Callable[[Test], Test]:
    """Declares what a test tries, and what stops it. The test prints both, and `docs/attacks.md` lists them."""

    def declare(test: Test) -> Test:
        test.declared = (tried, held)  # type: ignore[attr-defined]
        return test

    return declare


def order(source: str, **names: Any) -> Content:
    """A message that tells the app to run `source`, with these names set before it."""
    head = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    sent = sent_message()
    return Content(sent.arrays, configs={"attack": {"source": head + textwrap.dedent(source)}})


def hostile_fab(terms: dict[str, Any] | None = None, files: dict[str, bytes] | None = None) -> bytes:
    """The bundle of the hostile app."""
    return make_fab(terms, files={"app/client.py": HOSTILE.encode(), **(files or {})})


@dataclass
class Inside:
    """A session with the hostile app."""

    session: Session
    log_path: Path
    sent: int = field(default=0)

    def run(self, source: str, *, seconds: float = 60.0, most: int = MANY_BYTES, **names: Any) -> Any:
        """What the attack found."""
        return json.loads(self.answer(source, seconds=seconds, most=most, **names).configs["found"]["json"])

    def answer(self, source: str, *, seconds: float = 60.0, most: int = MANY_BYTES, **names: Any) -> Content:
        """What the app answered, unreleased."""
        self.sent += 1
        message = Envelope(str(self.sent), "train", "1", order(source, **names))
        content = self.session.handle(message, seconds, most)
        assert decode(b"".join(encode(content)))
        return content

    @property
    def log(self) -> str:
        """The app's own words, which stay at the node."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")


def start(
    sandbox: Sandbox, folder: Path, data: dict[str, Path] | None = None, run_id: int = 7, **resources: Any
) -> Inside:
    """A session of its own; `resources` as in the terms."""
    log_path = folder / "logs" / f"{run_id}.log"
    spec = SandboxSpec(
        fab=read_fab(hostile_fab()),
        component="app.client:app",
        run_id=run_id,
        node_id=42,
        run_config={},
        node_config={},
        resources=Resources(**{"memory_bytes": MEMORY, "scratch_bytes": 32_000_000} | resources),
        log_path=log_path,
        data=data or {},
    )
    return Inside(sandbox.start(spec), log_path)


def named_on_the_host(name: str) -> list[int]:
    """Process numbers, on the host, of every process that gave itself this name."""
    found = []
    for folder in _processes():
        try:
            if (folder / "comm").read_text().strip() == name:
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def _processes() -> Iterable[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())
