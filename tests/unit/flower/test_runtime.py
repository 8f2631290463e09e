"""The gate's side of a SuperNode: what it does when the other side is slow, gone, or hostile.

The SuperNode here is a few lines of HTTP that say whatever the test wants (`fake_supernode`).
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.runtime_pb2 import AcquireTaskResponse
from flwr.proto.task_pb2 import Task as FlowerTask
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from flame_fl.contract.content import Content
from flame_fl.contract.errors import UnreachableError
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply, Task
from flame_fl.flower import runtime as module
from flame_fl.flower.runtime import UNREADABLE, Claim, ClaimLostError, NodeRuntime
from flame_fl.flower.translate import to_content
from tests.unit.flower.fake_supernode import (
    NODE_ID,
    RUN_ID,
    TOKEN,
    FakeSuperNode,
    Sent,
    Status,
    default_records,
)


@pytest.fixture
def supernode(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSuperNode]:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.001)
    with FakeSuperNode() as fake:
        yield fake


@pytest.fixture
def connect(supernode: FakeSuperNode) -> Iterator[Callable[..., NodeRuntime]]:
    opened: list[NodeRuntime] = []

    def make(**limits: int) -> NodeRuntime:
        opened.append(NodeRuntime(supernode.address, b"secret", **limits))
        return opened[-1]

    yield make
    for runtime in opened:
        runtime.close()


Connect = Callable[..., NodeRuntime]


def claimed(runtime: NodeRuntime) -> Claim:
    claim = runtime.acquire()
    assert claim is not None
    return claim


def pulled(runtime: NodeRuntime) -> Task:
    with claimed(runtime) as claim:
        return claim.pull()


def no_objects(supernode: FakeSuperNode) -> bool:
    return supernode.count("pull-object") == 0


# --- an ordinary message ---------------------------------------------------------------------------------------------


def test_a_message_as_the_gate_sees_it(supernode: FakeSuperNode, connect: Connect) -> None:
    """Run, bundle, overrides, type, group, content; the leg is the message's own hash, which a repeat has too."""
    task = pulled(connect())
    assert (task.run.run_id, task.run.raw_fab, dict(task.run.overrides)) == (RUN_ID, b"a bundle", {"rounds": 3})
    assert (task.leg_id, task.message_type, task.group_id) == (supernode.sent.tree.object_id, "train", "1")
    assert task.content.arrays["arrays"]["0"].tolist() == [0.0, 1.0, 2.0]
    assert task.content.configs == {"config": {"lr": 0.5}}
    assert supernode.count("confirm-message-received") == 1


def test_only_client_apps_are_asked_for(supernode: FakeSuperNode, connect: Connect) -> None:
    """One type in the request, no fab hash by which other types would come."""
    connect().acquire()
    (asked,) = [request for name, request in supernode.asked if name == "acquire-task"]
    assert list(asked.supported_task_types) == ["flwr-clientapp"]
    assert list(asked.agentapp_fab_hashes) == []


@pytest.mark.parametrize(
    "kind", ["flwr-agentapp", "flwr-connector", "flwr-model", "flwr-serverapp", "", "FLWR-CLIENTAPP"]
)
def test_another_type_is_not_taken_if_it_is_handed_out(supernode: FakeSuperNode, connect: Connect, kind: str) -> None:
    """Its token is forgotten; nothing else is asked."""
    supernode.task_type = kind
    assert connect().acquire() is None
    assert [name for name, _ in supernode.asked] == ["acquire-task"]


def test_no_task_is_none(supernode: FakeSuperNode, connect: Connect) -> None:
    """The usual answer, and one without a token."""
    supernode.change["acquire-task"] = lambda request, answer: AcquireTaskResponse()
    assert connect().acquire() is None
    supernode.change["acquire-task"] = lambda request, answer: AcquireTaskResponse(
        task=FlowerTask(type="flwr-clientapp")
    )
    assert connect().acquire() is None


def test_the_secret_itself_does_not_travel_and_the_token_goes_to_the_supernode_only(
    supernode: FakeSuperNode, connect: Connect
) -> None:
    """The secret signs; the token is a header of every later request and in no body."""
    with claimed(connect()) as claim:
        claim.pull()
        claim.answer(Refusal(RefusalCode.NOT_APPROVED))
    for name, headers in supernode.headers:
        assert "secret" not in str(headers).replace("superexec-auth-secret", "")
        assert (TOKEN in headers.values()) == (name != "acquire-task")
    assert not [name for name, request in supernode.asked if TOKEN.encode() in request.SerializeToString()]


def test_a_claim_does_not_show_its_token() -> None:
    """Nor does the runtime show its secret: both end up in logs sooner or later."""
    claim = Claim("127.0.0.1:9", TOKEN, 1)
    runtime = NodeRuntime("127.0.0.1:9", b"a-secret")
    assert TOKEN not in repr(claim)
    assert "a-secret" not in repr(runtime)
    runtime.close()


def answered(supernode: FakeSuperNode) -> Message:
    """What the SuperNode would send on, put together from its parts as the hub's ServerApp does."""
    (pushed,) = [request for name, request in supernode.asked if name == "push-messages"]
    root = pushed.message_object_trees[0].object_id
    message = inflate_object_from_contents(root, dict(supernode.pushed))
    assert isinstance(message, Message)
    proto = message_from_proto(pushed.messages_list[0])
    assert proto.metadata.message_id == root
    assert proto.metadata.reply_to_message_id == supernode.sent.message.metadata.message_id
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in supernode.pushed.items())
    return message


def test_a_reply_arrives_as_it_was_released(supernode: FakeSuperNode, connect: Connect) -> None:
    """Every array, metric and config, bit for bit, and the task is reported as completed."""
    content = Content(
        {"arrays": {"x": np.array([0.1, np.nan, -0.0]), "n": np.arange(6, dtype=np.int64).reshape(2, 3)}},
        {"metrics": {"num-examples": 3}},
        {"flame": {"node": "DIZ-1"}},
    )
    with claimed(connect()) as claim:
        claim.pull()
        claim.answer(Reply(content, b""))
    back = to_content(answered(supernode).content)
    assert {n: a.tobytes() for _, n, a in back.array_items()} == {n: a.tobytes() for _, n, a in content.array_items()}
    assert (back.metrics, back.configs) == (content.metrics, content.configs)
    (done,) = [request for name, request in supernode.asked if name == "push-task-output"]
    assert (done.sub_status, done.details, done.HasField("context")) == ("completed", "", False)


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_refusal_is_an_error_reply_with_a_fixed_text(
    supernode: FakeSuperNode, connect: Connect, code: RefusalCode
) -> None:
    """The code is Flower's `Error.code`; the task is completed, so that nothing is offered again."""
    with claimed(connect()) as claim:
        claim.pull()
        claim.answer(Refusal(code))
    error = answered(supernode).error
    assert (error.code, error.reason) == (int(code), code.reason)


# --- slow, gone, over -------------------------------------------------------------------------------------------------


def test_objects_that_come_late_are_waited_for(supernode: FakeSuperNode, connect: Connect) -> None:
    """A SuperNode hands a task out before the hub has sent all of its message: asked again until it is there."""
    missing = dict.fromkeys(supernode.sent.objects, 3)

    def late(request: Any, answer: Any) -> Any:
        if missing[request.object_id]:
            missing[request.object_id] -= 1
            answer.object_available, answer.object_content = False, b""
        return answer

    supernode.change["pull-object"] = late
    assert pulled(connect()).content.arrays["arrays"]["0"].tolist() == [0.0, 1.0, 2.0]
    assert supernode.count("pull-object") == 4 * len(missing)


def test_a_message_that_comes_late_is_waited_for(supernode: FakeSuperNode, connect: Connect) -> None:
    """The task is there, its message not yet."""
    supernode.change["pull-messages"] = lambda request, answer: (
        answer if supernode.count("pull-messages") > 2 else type(answer)()
    )
    assert pulled(connect()).message_type == "train"


def test_a_message_that_never_comes_is_given_up(
    supernode: FakeSuperNode, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SuperNode is blocked no longer than that."""
    monkeypatch.setattr(module, "_ARRIVAL_SECONDS", 0.1)
    supernode.change["pull-messages"] = lambda request, answer: type(answer)()
    with pytest.raises(ClaimLostError, match="never arrived"):
        pulled(connect())


def test_a_supernode_that_fails_now_and_then_is_asked_again(supernode: FakeSuperNode, connect: Connect) -> None:
    """HTTP 5xx at every first try of every operation: the message is answered all the same."""
    tried: set[str] = set()

    def flaky(request: Any, answer: Any) -> Any:
        key = repr(request)[:200]
        if key not in tried:
            tried.add(key)
            raise Status(503)
        return answer

    runtime = connect()
    claim = claimed(runtime)
    supernode.change.update(dict.fromkeys(("pull-task-input", "pull-object", "push-object", "push-task-output"), flaky))
    with claim:
        claim.pull()
        claim.answer(Refusal(RefusalCode.NOT_APPROVED))
    assert answered(supernode).error.code == 901


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
@pytest.mark.parametrize("operation", ["pull-task-input", "pull-messages", "pull-object", "confirm-message-received"])
def test_a_refused_request_drops_the_claim_at_once(
    supernode: FakeSuperNode, connect: Connect, status: int, operation: str
) -> None:
    """An expired token is 401, and asking again does not help. This process lives on (Flower's would not)."""

    def no(request: Any, answer: Any) -> Any:
        raise Status(status)

    supernode.change[operation] = no
    with pytest.raises(ClaimLostError, match=f"HTTP {status}"):
        pulled(connect())
    assert supernode.count(operation) == 1


@pytest.mark.parametrize("operation", ["push-messages", "push-object", "push-task-output"])
def test_an_answer_that_is_not_taken_any_more_is_a_lost_claim(
    supernode: FakeSuperNode, connect: Connect, operation: str
) -> None:
    """The run is over, or the claim expired while the app worked."""

    def no(request: Any, answer: Any) -> Any:
        raise Status(401)

    supernode.change[operation] = no
    with claimed(connect()) as claim:
        claim.pull()
        with pytest.raises(ClaimLostError):
            claim.answer(Refusal(RefusalCode.NOT_APPROVED))


def test_an_object_that_is_not_stored_is_a_lost_claim(supernode: FakeSuperNode, connect: Connect) -> None:
    """The SuperNode says so in its answer, with HTTP 200."""
    supernode.change["push-object"] = lambda request, answer: type(answer)(stored=False)
    with claimed(connect()) as claim:
        claim.pull()
        with pytest.raises(ClaimLostError, match="no longer takes"):
            claim.answer(Reply(Content({"a": {"x": np.ones(2)}}), b""))


def test_no_answer_before_a_message(supernode: FakeSuperNode, connect: Connect) -> None:
    """There is nothing to answer."""
    with claimed(connect()) as claim, pytest.raises(ClaimLostError):
        claim.answer(Refusal(RefusalCode.NOT_APPROVED))


def test_a_supernode_that_is_gone_is_named(supernode: FakeSuperNode, connect: Connect) -> None:
    """Before a claim: unreachable, with the mend; the address, no traceback."""
    runtime = NodeRuntime("127.0.0.1:1", b"secret")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 does not answer") as err:
        runtime.acquire()
    assert "flame node up" in err.value.mend
    runtime.close()


def test_a_supernode_that_vanishes_in_the_middle_is_a_lost_claim(
    supernode: FakeSuperNode, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked a few times, then given up."""
    claim = Claim("127.0.0.1:1", TOKEN, 1 << 20)
    with pytest.raises(ClaimLostError, match="does not answer"), claim:
        claim.pull()


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"<html>no protobuf</html>"])
def test_an_answer_that_is_no_protobuf(supernode: FakeSuperNode, connect: Connect, body: bytes) -> None:
    """Something else listens at that port."""
    supernode.change["acquire-task"] = lambda request, answer: body
    with pytest.raises(UnreachableError):
        connect().acquire()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refused_secret_is_unreachable_and_says_what_to_do(
    supernode: FakeSuperNode, connect: Connect, status: int
) -> None:
    """And the next try may work: nothing of the runtime is used up."""
    runtime = connect()

    def no(request: Any, answer: Any) -> Any:
        raise Status(status)

    supernode.change["acquire-task"] = no
    for _ in range(2):
        with pytest.raises(UnreachableError, match=f"HTTP {status}") as err:
            runtime.acquire()
        assert "same secret" in err.value.mend
    del supernode.change["acquire-task"]
    assert runtime.acquire() is not None


def test_work_is_told_to_go_on(supernode: FakeSuperNode, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats while the claim is held, none after; one that fails does not end them."""
    monkeypatch.setattr(module, "_HEARTBEAT_SECONDS", 0.01)

    def no(request: Any, answer: Any) -> Any:
        raise Status(500)

    supernode.change["send-task-heartbeat"] = no
    with claimed(connect()):
        until = time.monotonic() + 10
        while supernode.count("send-task-heartbeat") < 3 and time.monotonic() < until:
            time.sleep(0.01)
    beats = supernode.count("send-task-heartbeat")
    assert beats >= 3
    time.sleep(0.05)
    assert supernode.count("send-task-heartbeat") == beats


# --- hostile ----------------------------------------------------------------------------------------------------------


def test_an_object_that_is_not_its_hash_makes_the_message_unreadable(
    supernode: FakeSuperNode, connect: Connect
) -> None:
    """One bit differs in one object: the gate gets a type that no terms can list, and no content."""

    def flipped(request: Any, answer: Any) -> Any:
        data = bytearray(answer.object_content)
        data[-1] ^= 1
        answer.object_content = bytes(data)
        return answer

    supernode.change["pull-object"] = flipped
    task = pulled(connect())
    assert (task.message_type, task.content) == (UNREADABLE, Content())
    assert task.leg_id == supernode.sent.tree.object_id


def test_what_cannot_be_read_is_answered_with_a_refusal(supernode: FakeSuperNode, connect: Connect) -> None:
    """A SuperNode waits for an answer to every message, to this one too."""
    supernode.change["pull-object"] = lambda request, answer: type(answer)(
        object_found=True, object_available=True, object_content=b"x"
    )
    with claimed(connect()) as claim:
        claim.pull()
        claim.answer(Refusal(RefusalCode.TERMS_VIOLATED))
    assert answered(supernode).error.code == 908


def chain(depth: int, leaf: ObjectTree | None = None) -> ObjectTree:
    tree = leaf or ObjectTree(object_id="f" * 64)
    for _ in range(depth - 1):
        tree = ObjectTree(object_id="e" * 64, children=[tree])
    return tree


@pytest.mark.parametrize(
    "tree",
    [
        lambda: chain(9),
        lambda: chain(90),  # protobuf itself reads no more than about a hundred levels
        lambda: ObjectTree(object_id="a" * 64, children=[ObjectTree(object_id=f"{n:064x}") for n in range(100_001)]),
        lambda: chain(8, ObjectTree(children=[ObjectTree(object_id=f"{n:064x}") for n in range(100_001)])),
    ],
    ids=["deep", "very deep", "wide", "deep and wide"],
)
def test_a_tree_that_no_message_has_is_not_walked(
    supernode: FakeSuperNode, connect: Connect, tree: Callable[[], ObjectTree]
) -> None:
    """Not one object is asked for; the stack does not grow with the hub's tree."""
    grown = tree()

    def other(request: Any, answer: Any) -> Any:
        answer.message_object_trees[0].CopyFrom(grown)
        return answer

    supernode.change["pull-messages"] = other
    assert pulled(connect()).message_type == UNREADABLE
    assert no_objects(supernode)


def test_a_tree_too_deep_for_protobuf_ends_the_claim(supernode: FakeSuperNode, connect: Connect) -> None:
    """Protobuf does not read it; there is no message to answer, and the gate goes on."""
    body = b"\x0a\x40" + b"f" * 64
    for _ in range(200):
        size, length = len(body), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        body = b"\x0a\x01e" + b"\x12" + length + bytes([size]) + body
    supernode.change["pull-messages"] = lambda request, answer: (
        answer.SerializeToString() + b"\x12" + _varint(len(body)) + body
    )
    with pytest.raises(ClaimLostError):
        pulled(connect())


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_the_deepest_and_widest_that_flower_makes_is_read(supernode: FakeSuperNode, connect: Connect) -> None:
    """The limits are no limits for honest messages: a large array comes in chunks, a thousand arrays in one record."""
    records = RecordDict(
        {
            "large": ArrayRecord([np.zeros(2_000_000)]),
            "many": ArrayRecord({str(n): _array(n) for n in range(1000)}),
        }
    )
    supernode.sent = Sent.of(records)
    content = pulled(connect()).content
    assert content.arrays["large"]["0"].nbytes == 16_000_000
    assert [int(content.arrays["many"][str(n)][0]) for n in range(1000)] == list(range(1000))


def _array(number: int) -> Any:
    from flwr.app import Array

    return Array(np.array([number]))


@pytest.mark.parametrize("most", [0, 100, 3000])
def test_a_message_beyond_the_limit_is_not_read_further(supernode: FakeSuperNode, connect: Connect, most: int) -> None:
    """Counted over all objects as they come."""
    supernode.sent = Sent.of(RecordDict({"many": ArrayRecord({str(n): _array(n) for n in range(100)})}))
    assert pulled(connect(max_message_bytes=most)).message_type == UNREADABLE
    assert supernode.count("pull-object") < len(supernode.sent.objects)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "message_type", "evaluate"),
        lambda m: setattr(m, "group_id", "2"),
        lambda m: setattr(m, "run_id", RUN_ID + 1),
        lambda m: setattr(m, "message_id", "0" * 64),
    ],
    ids=["type", "group", "run", "id"],
)
def test_what_is_said_beside_the_message_must_be_what_is_in_it(
    supernode: FakeSuperNode, connect: Connect, change: Callable[[Any], None]
) -> None:
    """The terms are looked up by the one and the app would be given the other."""

    def lying(request: Any, answer: Any) -> Any:
        change(answer.messages_list[0].metadata)
        return answer

    supernode.change["pull-messages"] = lying
    assert pulled(connect()).message_type == UNREADABLE


def replaced(supernode: FakeSuperNode, old: bytes, new: bytes) -> None:
    """Replace an object by another that hashes right, and its name in everything above it."""
    objects, tree = dict(supernode.sent.objects), supernode.sent.tree
    names = {}
    while True:
        name = hashlib.sha256(old).hexdigest()
        fresh = hashlib.sha256(new).hexdigest()
        names[name] = fresh
        del objects[name]
        objects[fresh] = new
        above = [data for data in objects.values() if name.encode() in data]
        if not above:
            break
        old, new = above[0], above[0].replace(name.encode(), fresh.encode())
    raw = tree.SerializeToString()
    for name, fresh in names.items():
        raw = raw.replace(name.encode(), fresh.encode())
    tree.ParseFromString(raw)
    supernode.sent.objects = objects
    supernode.sent.message.metadata.__dict__["_message_id"] = tree.object_id


def object_of(supernode: FakeSuperNode, kind: str) -> bytes:
    (found,) = [data for data in supernode.sent.objects.values() if data.startswith(kind.encode() + b" ")]
    return found


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("ConfigRecord", lambda data: b"ConfigRecord"),
        ("ConfigRecord", lambda data: b"Evil" + data[12:]),
        ("ConfigRecord", lambda data: data.replace(b"ConfigRecord ", b"Message ", 1)),
        ("ConfigRecord", lambda data: data[:-4]),
        ("ConfigRecord", lambda data: b"\x00" * 10),
        ("ArrayRecord", lambda data: data[: len(data) // 2]),
        ("Array", lambda data: data.replace(b"numpy.ndarray", b"pickle.object")),
        ("ArrayChunk", lambda data: data[:40]),
        ("ArrayChunk", lambda data: data.replace(b"'<f8'", b"'|O '")),
    ],
)
def test_objects_with_right_hashes_and_wrong_content(
    supernode: FakeSuperNode, connect: Connect, kind: str, bad: Callable[[bytes], bytes]
) -> None:
    """Flower's parsers raise whatever they like on them: it is a message that cannot be read, never a crash."""
    old = object_of(supernode, kind)
    new = bad(old)
    assert new != old
    replaced(supernode, old, new)
    task = pulled(connect())
    assert (task.message_type, task.content) == (UNREADABLE, Content())
    assert supernode.count("confirm-message-received") == 1


def test_a_message_without_content_is_unreadable(supernode: FakeSuperNode, connect: Connect) -> None:
    """An error from the server's side is no task."""
    from flwr.app import Error

    message = Message(Error(1, "x"), reply_to=supernode.sent.message)
    message.metadata.__dict__["_message_id"] = message.object_id
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

    objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
    supernode.sent = Sent(message, get_object_tree(message), objects)
    assert pulled(connect()).message_type == UNREADABLE


def test_the_same_object_twice_is_asked_for_once(supernode: FakeSuperNode, connect: Connect) -> None:
    """Two equal arrays are one object; a tree that repeats one a thousand times costs one request."""
    supernode.sent = Sent.of(RecordDict({"a": ArrayRecord([np.ones(2)]), "b": ArrayRecord([np.ones(2)])}))
    content = pulled(connect()).content
    assert content.arrays["a"]["0"].tolist() == content.arrays["b"]["0"].tolist() == [1.0, 1.0]
    names = [request.object_id for name, request in supernode.asked if name == "pull-object"]
    assert len(names) == len(set(names))


def test_the_nodes_own_words_do_not_leave_with_a_refusal(supernode: FakeSuperNode, connect: Connect) -> None:
    """All that was pushed is a code, a fixed text and Flower's metadata."""
    supernode.sent = Sent.of(RecordDict({"config": ConfigRecord({"word": "Mustermann"})}))
    with claimed(connect()) as claim:
        claim.pull()
        claim.answer(Refusal(RefusalCode.RELEASE_REJECTED))
    pushed = b"".join(supernode.pushed.values())
    assert b"does not fit the release contract" in pushed
    assert b"Mustermann" not in pushed


def test_node_id_is_known_after_the_pull(supernode: FakeSuperNode, connect: Connect) -> None:
    """It is Flower's, and only shown."""
    with claimed(connect()) as claim:
        assert claim.node_id == 0
        claim.pull()
        assert claim.node_id == NODE_ID


def test_default_records_are_what_the_tests_think() -> None:
    """The tests above change objects by their kind: there must be exactly one of each."""
    kinds = sorted(data.split(b" ")[0] for data in Sent.of(default_records()).objects.values())
    assert kinds == [b"Array", b"ArrayChunk", b"ArrayRecord", b"ConfigRecord", b"Message", b"RecordDict"]


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("pull-task-input", lambda answer: type(answer)()),
        ("pull-task-input", lambda answer: answer.ClearField("run")),
        ("pull-task-input", lambda answer: answer.ClearField("context")),
        ("pull-task-input", lambda answer: answer.ClearField("fab")),
        ("pull-task-input", lambda answer: answer.run.override_config["odd"].Clear()),
        ("pull-messages", lambda answer: answer.messages_list[0].Clear()),
        ("pull-messages", lambda answer: answer.messages_list[0].ClearField("metadata")),
        ("pull-messages", lambda answer: answer.messages_list[0].content.Clear()),
        ("pull-messages", lambda answer: answer.message_object_trees[0].Clear()),
        ("pull-messages", lambda answer: answer.messages_list.append(answer.messages_list[0])),
    ],
)
def test_answers_with_parts_missing_end_the_claim_or_are_read(
    supernode: FakeSuperNode,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    change: Callable[[Any], Any],
) -> None:
    """The gate's loop knows two ends of a pull: a task, or a lost claim. Anything else would end the gate."""

    monkeypatch.setattr(module, "_ARRIVAL_SECONDS", 0.1)

    def maimed(request: Any, answer: Any) -> Any:
        changed = change(answer)
        return changed if changed is not None and hasattr(changed, "SerializeToString") else answer

    supernode.change[operation] = maimed
    with claimed(connect()) as claim:
        try:
            task = claim.pull()
        except ClaimLostError:
            return
        assert isinstance(task, Task)
        with contextlib.suppress(ClaimLostError):
            claim.answer(Refusal(RefusalCode.TERMS_VIOLATED))
