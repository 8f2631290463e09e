"""Every sandbox runs any unmodified ClientApp, and gives the gate a copy of what the app made."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import DTYPES, Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope, SandboxSpec

Start = Callable[[SandboxSpec], Any]

ECHO = """
@app.train()
def train(message, context):
    return Message(message.content, reply_to=message)
"""


def message(content: Content | None = None, kind: str = "train", seed: int | None = 1) -> Envelope:
    return Envelope("1", kind, "1", content or Content(arrays={"arrays": {"x": np.arange(4.0)}}), seed)


def ask(session: Any, envelope: Envelope | None = None, most: int = 1 << 22) -> Content:
    reply: Content = session.handle(envelope or message(), 60.0, most)
    return reply


def test_every_kind_of_content_passes_unchanged(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """Arrays of every dtype and shape, metrics and configs arrive in the app, and come back, bit for bit."""
    rng = np.random.default_rng(0)
    arrays = {name: (rng.random((2, 3)) * 2).astype(name) for name in sorted(DTYPES)}
    arrays |= {"scalar": np.float64(3.5).reshape(()), "empty": np.zeros((0, 4)), "nan": np.array([np.nan, -0.0])}
    sent = Content(
        arrays={"arrays": arrays},
        metrics={"m": {"i": 3, "f": 0.1, "is": [1, 2], "fs": [1.0, 2.5]}},
        configs={"c": {"s": "ä\n", "b": True, "raw": b"\x00\xff", "strings": ["a", "b"], "n": -1}},
    )
    reply = ask(start(spec_of(ECHO)), message(sent))
    assert list(reply.arrays["arrays"]) == list(arrays)
    for name, array in arrays.items():
        back = reply.arrays["arrays"][name]
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert (reply.metrics, reply.configs) == (sent.metrics, sent.configs)


def test_the_app_sees_its_configuration_and_its_identity(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """Run config, node config (where the data are), ids and the message's own metadata are what Flower's would be."""
    body = """
@app.query("who")
def who(message, context):
    m = message.metadata
    said = {"rounds": context.run_config["rounds"], "data": context.node_config["data-cohort"], "node": context.node_id,
            "run": context.run_id, "type": m.message_type, "dst": m.dst_node_id, "group": m.group_id}
    return reply(message, said=ConfigRecord(said))
"""
    said = ask(start(spec_of(body, rounds=5)), message(kind="query.who")).configs["said"]
    assert said == {
        "rounds": 5,
        "data": "/data/cohort",
        "node": 42,
        "run": 7,
        "type": "query.who",
        "dst": 42,
        "group": "1",
    }


def test_mods_of_the_app_run(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """A ClientApp with Flower mods behaves as it does elsewhere."""
    body = """
def double(message, context, call_next):
    out = call_next(message, context)
    out.content["m"]["n"] *= 2
    return out
app = ClientApp(mods=[double])
@app.train()
def train(message, context):
    return reply(message, m=MetricRecord({"n": 21}))
"""
    assert ask(start(spec_of(body))).metrics["m"]["n"] == 42


COUNT = """
@app.train()
def train(message, context):
    seen = context.state.metric_records.setdefault("seen", MetricRecord({"n": 0}))
    seen["n"] += 1
    return reply(message, m=MetricRecord({"n": seen["n"]}))
"""


def test_state_lives_as_long_as_the_session(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """`context.state` is there again at the next message, and gone with the session."""
    spec = spec_of(COUNT)
    session = start(spec)
    assert [ask(session).metrics["m"]["n"] for _ in range(3)] == [1, 2, 3]
    assert ask(start(spec)).metrics["m"]["n"] == 1


def test_an_app_that_changes_its_message_changes_a_copy(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """What the sender holds stays as it was, arrays and records alike."""
    body = """
@app.train()
def train(message, context):
    array = message.content["arrays"]["x"].numpy()
    array[:] = -1
    message.content["arrays"]["x"] = Array(array)
    message.content["more"] = MetricRecord({"n": 1})
    return reply(message, arrays=message.content["arrays"])
"""
    x = np.arange(4.0)
    sent = message(Content(arrays={"arrays": {"x": x}}))
    assert ask(start(spec_of(body)), sent).arrays["arrays"]["x"].tolist() == [-1] * 4
    assert x.tolist() == [0, 1, 2, 3]
    assert not sent.content.metrics


def test_an_app_that_raises_keeps_its_session(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """One failed message is a SandboxError; the next one is answered, with the state intact."""
    body = (
        COUNT
        + """
@app.evaluate()
def evaluate(message, context):
    raise ValueError("oops")
"""
    )
    session = start(spec_of(body))
    assert ask(session).metrics["m"]["n"] == 1
    with pytest.raises(SandboxError, match="ValueError"):
        ask(session, message(kind="evaluate"))
    assert session.alive
    assert ask(session).metrics["m"]["n"] == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("import there_is_no_such_module", "train"),
        ("app = 3", "train"),
        ("del app", "train"),
        ("raise SystemExit(1)", "train"),
        (ECHO, "query.unknown"),
        ("@app.train()\ndef f(m, c): raise SystemExit(0)", "train"),
        ("@app.train()\ndef f(m, c): return None", "train"),
        ("@app.train()\ndef f(m, c): return Message(Error(1, 'x'), reply_to=m)", "train"),
        ("@app.train()\ndef f(m, c): return reply(m, a=ArrayRecord({'x': Array(np.array([object()]))}))", "train"),
        ("@app.train()\ndef f(m, c): return reply(m, a=ArrayRecord({'x': Array(np.array(['text']))}))", "train"),
        (
            "@app.train()\ndef f(m, c): return reply(m, a=ArrayRecord({'x': Array('f4', (1,), 'pickle', b'x')}))",
            "train",
        ),
    ],
    ids=[
        "import",
        "no-clientapp",
        "no-object",
        "exits-at-import",
        "no-handler",
        "exits",
        "none",
        "error-reply",
        "objects",
        "strings",
        "own-serialisation",
    ],
)
def test_what_is_no_update_is_a_sandbox_error(
    start: Start, spec_of: Callable[..., SandboxSpec], body: str, kind: str
) -> None:
    """Whatever an app does instead of returning arrays, metrics and configs ends in a SandboxError, nothing else."""
    with pytest.raises(SandboxError):
        ask(start(spec_of(body)), message(kind=kind))


def test_a_reply_beyond_the_limit_is_a_sandbox_error(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """The limit holds for the reply's bytes, whatever its shape says."""
    body = "@app.train()\ndef f(m, c): return reply(m, a=ArrayRecord({'x': Array(np.zeros(1000))}))"
    with pytest.raises(SandboxError, match=r"bytes; the limit is 4000"):
        ask(start(spec_of(body)), most=4000)


def test_the_seed_fixes_every_usual_random_state(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """`random`, NumPy's legacy state and torch (imported in the middle of a message) repeat with the seed."""
    body = """
@app.train()
def train(message, context):
    import random, torch
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(1))]
    return reply(message, m=MetricRecord({"drawn": drawn}))
"""
    session = start(spec_of(body))
    first, again, other = (ask(session, message(seed=s)).metrics["m"]["drawn"] for s in (5, 5, 6))
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert ask(start(spec_of(body)), message(seed=5)).metrics["m"]["drawn"] == first


def test_print_does_not_break_the_protocol(start: Start, spec_of: Callable[..., SandboxSpec]) -> None:
    """Lines by `print`, by C's descriptor 1 and by a child process do not reach the gate."""
    body = """
import os, subprocess
@app.train()
def train(message, context):
    print("by print", flush=True)
    os.write(1, b"by descriptor\\n")
    subprocess.run(["echo", "by a child"])
    return reply(message, m=MetricRecord({"n": 1}))
"""
    session = start(spec_of(body))
    assert [ask(session).metrics["m"]["n"] for _ in range(2)] == [1, 1]
