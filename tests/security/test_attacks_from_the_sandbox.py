"""An app that means harm, one attack per test. It controls every byte that comes out of its sandbox, and nothing else.

Without a claim each attack ends in 904 or 905 with the code's fixed text; under an enforced claim it ends in noise.
Nothing that the app chose (a name, a value, an exception's text) leaves in any of them.
"""

import contextlib
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.frames import encode
from flame_fl.contract.ports import Envelope
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply
from flame_fl.sandbox.in_process import InProcessSandbox
from tests.support.gates import ENFORCED, TRAIN, NoNoise, World, good_update, make_fab, terms_table

FAB = make_fab()
NOISY = make_fab(terms_table(privacy=ENFORCED))
SECRET = "Erika-Mustermann"
ARRAYS = dict(good_update().arrays["arrays"])
METRICS = dict(good_update().metrics["metrics"])


class Payload:
    """Runs when unpickled."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Payload, "ran", True))


def raw(**changes: Any) -> bytes:
    """An honest payload with parts of its header replaced."""
    parts = encode(good_update())
    header = json.loads(bytes(parts[1])) | changes
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + b"".join(parts[2:])


def arrays(**changes: Any) -> Content:
    return Content({"arrays": ARRAYS | changes}, {"metrics": METRICS})


def metrics(**changes: Any) -> Content:
    return Content({"arrays": ARRAYS}, {"metrics": METRICS | changes})


ATTACKS: dict[str, Content | bytes] = {
    "a pickle instead of a payload": pickle.dumps(Payload()),
    "a pickle as an array of objects": raw(arrays=[["arrays", "w", "object", [1]]]),
    "a pickle in a header": raw(extra=pickle.dumps(Payload()).hex(), configs={"c": {"x": {"b64": "gASVAAAA"}}}),
    "more bytes than the arrays claim": b"".join(encode(good_update())) + SECRET.encode(),
    "fewer bytes than the arrays claim": b"".join(encode(good_update()))[:-1],
    "an array larger than the contract": arrays(w=np.zeros(5)),
    "an array of another rank": arrays(w=np.zeros((4, 1))),
    "an array of another dtype": arrays(w=np.zeros(4, np.float32)),
    "text packed into an array of bytes": arrays(w=np.frombuffer(SECRET.encode(), np.uint8)),
    "an extra array": arrays(**{SECRET: np.zeros(1)}),
    "a renamed array": Content({"arrays": {SECRET: ARRAYS["w"], "b": ARRAYS["b"]}}),
    "a missing array": Content({"arrays": {"w": ARRAYS["w"]}}),
    "an array under another record": Content({SECRET: ARRAYS}),
    "an empty record as a message": Content({"arrays": ARRAYS, SECRET: {}}),
    "a record named like the gate's": Content({"arrays": ARRAYS, "flame": {"x": np.zeros(1)}}),
    "the gate's own words": Content({"arrays": ARRAYS}, {}, {"flame": {"ground": "enforced", "noise_std": 9.0}}),
    "a string in a config record": Content({"arrays": ARRAYS}, {}, {"config": {"patient": SECRET}}),
    "bytes in a config record": Content({"arrays": ARRAYS}, {}, {"config": {"image": SECRET.encode()}}),
    "an extra metric": metrics(**{SECRET: 1}),
    "a list for a number": metrics(loss=[1.0] * 1000),
    "a metric out of its range": metrics(loss=19570312.0),
    "a count that is a birth date": metrics(**{"num-examples": -19570312}),
    "a count with a fraction": metrics(**{"num-examples": 50.19570312}),
    "a string as a metric": raw(metrics={"metrics": {"loss": SECRET}}),
    "a boolean as a metric": raw(metrics={"metrics": {"loss": True}}),
    "an integer beyond 64 bits as a metric": raw(metrics={"metrics": {"loss": int.from_bytes(SECRET.encode(), "big")}}),
    "NaN in an array": arrays(w=np.array([np.nan, 0, 0, 0])),
    "NaN with a message in its bits": arrays(w=np.frombuffer(b"Erika\x00\xf8\x7f" * 4, "<f8")),
    "infinity in an array": arrays(w=np.array([np.inf, 0, 0, 0])),
    "NaN as a metric": metrics(loss=float("nan")),
    "infinity as a metric": metrics(loss=float("inf")),
    "a name with control characters": arrays(**{"w\x1b[2J": np.zeros(1)}),
    "a name with a line end": arrays(**{"w\nrefused": np.zeros(1)}),
    "a name that reads backwards": arrays(**{"\u202ew": np.zeros(1)}),
    "a name that looks the same": Content({"arrays": {"\uff57": ARRAYS["w"], "b": ARRAYS["b"]}}),
    "a name that is half a character": raw(array_records=["arrays", "\ud800"]),
    "a name of a megabyte": raw(array_records=["arrays", "x" * 1_000_000]),
    "a header of two megabytes": struct.pack(">I", 2 << 20) + bytes(2 << 20),
    "a header nested without end": struct.pack(">I", 90_000) + b"[" * 90_000,
    "one key twice": struct.pack(">I", 12) + b'{"a":1,"a":2',
    "a shape whose size wraps": raw(arrays=[["arrays", "w", "float64", [2**62, 4]], ["arrays", "b", "float32", [1]]]),
    "a shape that is negative": raw(arrays=[["arrays", "w", "float64", [-4]], ["arrays", "b", "float32", [1]]]),
    "one array twice": raw(arrays=[["arrays", "w", "float64", [4]]] * 2),
}


@pytest.fixture(params=ATTACKS.values(), ids=ATTACKS.keys())
def attack(request: pytest.FixtureRequest) -> Callable[[Envelope], Content | bytes]:
    return lambda message: request.param


def test_without_a_claim_the_attack_is_refused_with_a_fixed_text(
    attack: Callable[[Envelope], Content | bytes], world: World
) -> None:
    world.decide(FAB)
    world.sandbox.answer = attack
    answer = world.ask(FAB)
    assert isinstance(answer, Refusal)
    assert answer.code in {RefusalCode.RELEASE_REJECTED, RefusalCode.SANDBOX_FAILED}
    assert answer.reason == answer.code.reason
    assert not Payload.ran


def test_under_a_claim_the_attack_leaves_noise_of_the_contracts_shape(
    attack: Callable[[Envelope], Content | bytes], world: World
) -> None:
    world.decide(NOISY)
    world.sandbox.answer = attack
    answer = world.ask(NOISY)
    assert isinstance(answer, Reply)
    assert [(n, a.shape) for _, n, a in answer.content.array_items()] == [("w", (4,)), ("b", (1,))]
    assert answer.content.metrics["metrics"].keys() == METRICS.keys()
    assert answer.content.configs["flame"]["ground"] == "enforced"
    assert SECRET.encode() not in answer.encoded
    assert not Payload.ran


def test_the_next_message_is_answered_as_if_nothing_had_been(
    attack: Callable[[Envelope], Content | bytes], world: World
) -> None:
    world.decide(FAB)
    world.sandbox.answer = attack
    world.ask(FAB, leg="1")
    world.sandbox.answer = lambda message: good_update()
    world.released(FAB, leg="2")
    world.store.verify_audit()


def test_what_the_node_logs_of_an_attack_obeys_no_terminal(
    attack: Callable[[Envelope], Content | bytes], world: World
) -> None:
    world.decide(FAB)
    world.sandbox.answer = attack
    world.ask(FAB)
    _, entry = world.audit()[-1]
    assert all(value.isprintable() for value in entry.values() if isinstance(value, str))
    assert len(json.dumps(dict(entry))) < 4000


def test_an_exceptions_text_stays_at_the_node(world: World) -> None:
    def shout(message: Envelope) -> Content:
        raise SandboxError(f"KeyError: {SECRET}")

    world.decide(FAB)
    world.sandbox.answer = shout
    answer = world.ask(FAB)
    assert isinstance(answer, Refusal)
    assert SECRET not in answer.reason
    assert SECRET in world.detail


def test_an_app_that_writes_into_what_it_was_sent_changes_nothing(world: World) -> None:
    """Even in the very process of the gate it gets a copy, so it cannot move the centre of its ball."""

    class Overwrites:
        def handle(self, message: Envelope) -> Content:
            for array in message.content.arrays["arrays"].values():
                with contextlib.suppress(ValueError):  # a read-only view
                    array[...] = 1e6
            return Content({"arrays": {"w": np.full(4, 1e6), "b": np.full(1, 1e6, np.float32)}})

    fab = make_fab(terms_table(privacy=ENFORCED, messages={"train": TRAIN | {"update": "delta"}}))
    world = world.replaced(noise=NoNoise(), sandbox=InProcessSandbox(lambda spec: Overwrites()))
    world.decide(fab)
    sent = Content({"arrays": {"w": np.ones(4), "b": np.ones(1, np.float32)}})
    left = world.released(fab, content=sent).arrays["arrays"]
    assert np.linalg.norm(np.append(left["w"], left["b"]) - 1) <= 1 + 1e-6


def test_order_is_no_channel(world: World) -> None:
    """Arrays and metrics leave in the contract's order, whatever order the app sent them in."""
    world.decide(FAB)
    world.sandbox.answer = lambda message: Content(
        {"arrays": {"b": ARRAYS["b"], "w": ARRAYS["w"]}}, {"metrics": dict(reversed(METRICS.items()))}
    )
    left = world.released(FAB)
    assert (list(left.arrays["arrays"]), list(left.metrics["metrics"])) == (["w", "b"], ["num-examples", "loss"])


def test_under_a_claim_a_whole_record_cannot_be_smuggled_in_a_number(world: World) -> None:
    """An exact count, a loss with a message in its digits, arrays of any size: what leaves is clipped and noised."""
    world.decide(NOISY)
    world.sandbox.answer = lambda message: metrics(**{"num-examples": 19570312, "loss": 1.9570312})
    left = world.released(NOISY)
    assert left.metrics["metrics"]["num-examples"] == 1
    assert left.metrics["metrics"]["loss"] != 1.9570312
