"""A SuperNode's Runtime API, spoken by the gate in the place of Flower's SuperExec and `flwr-clientapp`.

The task token stays in this process. What comes from the hub through the SuperNode is hostile: every object is compared
with its hash and with limits before it is read. Rules this module follows:

- Only `flwr-clientapp` tasks are asked for, and only they are taken.
- Every message is answered, with a reply or an error: a SuperNode handles one at a time, and waits for the answer.
- Requests are repeated a few times; Flower's own retrying is not used (it ends the process at a 401).
- A claim that expired, or whose run is over, is dropped: what the gate stored is sent when the hub asks again.
"""

import contextlib
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import httpx
from flwr.app import Array, Error, Message
from flwr.app.message import remove_content_from_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import SubStatus
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_body,
    get_object_children_ids_from_object_content,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    push_objects,
    validate_object_content,
)
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from flame_fl.contract.content import Content
from flame_fl.contract.errors import FlameError, UnreachableError
from flame_fl.contract.refusal import Refusal
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.flower.identity import take_identity
from flame_fl.flower.translate import to_content, to_records

CLIENT_APP = "flwr-clientapp"
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_HEARTBEAT_SECONDS = 15.0  # Flower gives up after 60
_TRIES, _PAUSE_SECONDS = 5, 0.5
_ARRIVAL_SECONDS = 600.0
_MAX_OBJECTS, _MAX_DEPTH = 100_000, 8
_ARRAY = b"Array "  # how the object of an array begins
UNREADABLE = "query.flame_unreadable"  # no contract can list it: the gate refuses it
T = TypeVar("T")


class ClaimLostError(FlameError):
    """The SuperNode no longer waits for this task: the claim expired, or the run is over."""


class NodeRuntime:
    """One SuperNode.

    Args:
        address: Of its Runtime API, host and port.
        secret: The SuperExec secret that both sides know.
        max_message_bytes: A message with more is not read.
    """

    def __init__(self, address: str, secret: bytes, *, max_message_bytes: int = 1 << 31) -> None:
        self._address, self._max_message_bytes = address, max_message_bytes
        auth = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        self._client = _client(address, auth)

    def acquire(self) -> "Claim | None":
        """The oldest message that waits, or None.

        Raises:
            UnreachableError: The SuperNode does not answer, or does not accept the secret.
        """
        try:
            answer = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[CLIENT_APP]))
        except httpx.HTTPStatusError as err:
            raise UnreachableError(
                f"The SuperNode refuses the gate (HTTP {err.response.status_code}).",
                mend="See that both were started with the same secret, by `flame node up`.",
            ) from None
        except (httpx.HTTPError, ValueError) as err:
            raise UnreachableError(
                f"The SuperNode at {self._address} does not answer ({type(err).__name__}).",
                mend="It is started by `flame node up`; its log says why it is not there.",
            ) from None
        if not answer.HasField("task") or not answer.token or answer.task.type != CLIENT_APP:
            return None
        return Claim(self._address, answer.token, self._max_message_bytes)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class Claim:
    """A message that this process answers. Use it as a context: meanwhile the SuperNode is told that work goes on."""

    def __init__(self, address: str, token: str, max_message_bytes: int) -> None:
        self._client = _client(address, RuntimeTokenHttpInterceptor(token))
        self._max_message_bytes = max_message_bytes
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._message: Message | None = None
        self._node_id = 0

    def __enter__(self) -> "Claim":
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        self._client.close()

    def _beat(self) -> None:
        while not self._over.wait(_HEARTBEAT_SECONDS):
            with contextlib.suppress(httpx.HTTPError, ValueError):
                self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    @property
    def node_id(self) -> int:
        """Flower's id of this node, known after `pull`."""
        return self._node_id

    def pull(self) -> Task:
        """The message, for the gate. One that cannot be read is of type `UNREADABLE`: it is refused like any other.

        Raises:
            ClaimLostError: The SuperNode does not give it out any more, or it is none that could be answered.
        """
        given = self._ask(lambda: self._client.PullTaskInput(PullTaskInputRequest()))
        run_id, self._node_id = int(given.run.run_id), int(given.context.node_id)
        take_identity(run_id, self._node_id)
        said = _parsed(lambda: run_from_proto(given.run))
        submitter = said.account_name or said.flwr_aid or said.federation_id
        run = Run(run_id, bytes(given.fab.content), dict(said.override_config), str(submitter))
        pulled = self._arrived(
            lambda: self._client.PullMessages(PullAppMessagesRequest()),
            lambda got: bool(got.messages_list and got.message_object_trees),
        )
        tree = pulled.message_object_trees[0]
        message = _parsed(lambda: message_from_proto(pulled.messages_list[0]))
        self._message, metadata = message, message.metadata
        leg_id = str(tree.object_id)
        try:
            content = self._content(tree, run_id)
        except _UnreadableError:
            return Task(run, leg_id, UNREADABLE, metadata.group_id, Content())
        return Task(run, leg_id, metadata.message_type, metadata.group_id, content)

    def _content(self, tree: ObjectTree, run_id: int) -> Content:
        node = Node(node_id=self._node_id)
        raw: dict[str, bytes] = {}
        arrays: dict[str, InflatableObject] = {}
        size = 0
        _check_tree(tree)
        uses = Counter(part.object_id for part in iterate_object_tree(tree))
        for part in iterate_object_tree(tree):
            name = part.object_id
            if name in raw or name in arrays:
                continue
            request = PullObjectRequest(node=node, run_id=run_id, object_id=name)
            got = self._arrived(partial(self._client.PullObject, request), lambda got: bool(got.object_available))
            data = bytes(got.object_content)
            size += len(data)
            if hashlib.sha256(data).hexdigest() != name or size > self._max_message_bytes:
                raise _UnreadableError
            raw[name] = data
            if data.startswith(_ARRAY):
                with contextlib.suppress(_UnreadableError):  # then it is missing below, and the message cannot be read
                    arrays[name] = _assembled(raw.pop(name), raw, uses)
            del got, data
        confirm = ConfirmMessageReceivedRequest(node=node, run_id=run_id, message_object_id=tree.object_id)
        self._ask(lambda: self._client.ConfirmMessageReceived(confirm))
        try:
            for data in raw.values():
                validate_object_content(data)
            message = inflate_object_from_contents(tree.object_id, raw, objects=arrays)
            if not isinstance(message, Message) or not message.has_content() or self._message is None:
                raise _UnreadableError
            theirs, ours = message.metadata, self._message.metadata
            said = (ours.message_type, ours.group_id, ours.run_id, ours.message_id)
            if (theirs.message_type, theirs.group_id, theirs.run_id, tree.object_id) != said:
                raise _UnreadableError  # what the hub says beside the message is not what is in it
            return to_content(message.content)
        except _UnreadableError:
            raise
        except Exception as err:  # Flower's parsers raise what they like on bytes that are none of theirs
            raise _UnreadableError from err

    def answer(self, answer: Reply | Refusal) -> None:
        """Hand the answer to the SuperNode, which sends it to the hub.

        Raises:
            ClaimLostError: It does not take it any more.
        """
        if self._message is None:
            raise ClaimLostError("There is no message to answer.")
        if isinstance(answer, Refusal):
            reply = Message(Error(int(answer.code), answer.reason), reply_to=self._message)
        else:
            reply = Message(to_records(answer.content), reply_to=self._message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        run_id = reply.metadata.run_id
        with no_object_id_recompute():
            request = PushAppMessagesRequest(
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
            )
            pushed = self._ask(lambda: self._client.PushMessages(request))
            objects = get_all_nested_objects(reply)
            del reply
            node = Node(node_id=self._node_id)

            def push(name: str, data: bytes) -> None:
                part = PushObjectRequest(
                    node=node, run_id=run_id, object_id=name, object_content=data, session_id=pushed.session_id
                )
                if not self._ask(lambda: self._client.PushObject(part)).stored:
                    raise ClaimLostError("The SuperNode no longer takes the reply.")

            push_objects(objects, push, object_ids_to_push=set(pushed.objects_to_push))
        done = PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details="")
        self._ask(lambda: self._client.PushTaskOutput(done))

    def _arrived(self, call: Callable[[], T], is_there: Callable[[T], bool]) -> T:
        """Ask until it is there: a SuperNode hands a task out before the hub has sent all of its message.

        Raises:
            ClaimLostError: It never came.
        """
        until = time.monotonic() + _ARRIVAL_SECONDS
        pause = 0.02
        while not is_there(got := self._ask(call)):
            if time.monotonic() > until:
                raise ClaimLostError("The message never arrived in full.")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        return got

    def _ask(self, call: Callable[[], T]) -> T:
        """One request, repeated when the SuperNode did not answer; a refusal is final.

        Raises:
            ClaimLostError: It was refused, or never answered.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return call()
            except httpx.HTTPStatusError as err:
                if err.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise ClaimLostError(f"The SuperNode refuses it (HTTP {err.response.status_code}).") from None
            except (httpx.HTTPError, ValueError):
                pass
            if attempt < _TRIES:
                time.sleep(_PAUSE_SECONDS * attempt)
        raise ClaimLostError("The SuperNode does not answer.")


class _UnreadableError(Exception):
    """What the hub sent is no message."""


def _parsed(parse: Callable[[], T]) -> T:
    """What Flower's parsers make of the SuperNode's words.

    Raises:
        ClaimLostError: They raised, whatever they did: what is no message cannot be answered.
    """
    try:
        return parse()
    except Exception as err:
        raise ClaimLostError(f"The SuperNode handed out what is no task ({type(err).__name__}).") from err


def _client(address: str, auth: ProtobufClientInterceptor) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=True,  # loopback, or a network of the node's own: the SuperNode is started beside the gate
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), auth],
    )


def _assembled(content: bytes, raw: dict[str, bytes], uses: "Counter[str]") -> Array:
    """An array of Flower's from its pieces, which leave `raw` one by one: Flower's own way holds a large one thrice.

    Args:
        content: The array's object.
        raw: The pieces. One that another array needs too (`uses` counts them) stays.
        uses: How many arrays still need each piece.

    Raises:
        _UnreadableError: They are no array.
    """
    try:
        validate_object_content(content)
        names = get_object_children_ids_from_object_content(content)
        stated = json.loads(get_object_body(content, Array))
        order = [names[index] for index in stated["arraychunk_ids"]]
        here, data = Counter(order), io.BytesIO()  # which gives its bytes away without copying them
        for name in order:
            validate_object_content(raw[name])
            data.write(get_object_body(raw[name], ArrayChunk))
            here[name] -= 1
            if not here[name]:
                uses[name] -= 1
                if not uses[name]:
                    del raw[name]
        return Array(dtype=stated["dtype"], shape=tuple(stated["shape"]), stype=stated["stype"], data=data.getvalue())
    except Exception as err:  # as above
        raise _UnreadableError from err


def _check_tree(tree: ObjectTree) -> None:
    """Not deeper and not larger than a message of Flower's can be; without recursion, as the tree is the hub's.

    Raises:
        _UnreadableError: It is.
    """
    seen = 0
    level: list[ObjectTree] = [tree]
    for _ in range(_MAX_DEPTH):
        seen += len(level)
        level = [child for part in level for child in part.children]
        if not level:
            break
        if seen + len(level) > _MAX_OBJECTS:
            raise _UnreadableError
    if level:
        raise _UnreadableError
