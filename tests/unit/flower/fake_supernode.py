"""A SuperNode made for the test: the Runtime API's routes over HTTP, answering whatever a test says."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import context_to_proto, message_to_proto, run_to_proto
from flwr.proto import message_pb2, runtime_pb2
from flwr.proto.fab_pb2 import Fab
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.task_pb2 import Task
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.run import Run

from flame_fl.flower.identity import take_identity

TOKEN = "a" * 256
RUN_ID, NODE_ID = 77, 4242


class Proto(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes: ...


REQUESTS: dict[str, Any] = {
    "acquire-task": runtime_pb2.AcquireTaskRequest,
    "pull-task-input": runtime_pb2.PullTaskInputRequest,
    "send-task-heartbeat": runtime_pb2.SendTaskHeartbeatRequest,
    "pull-messages": runtime_pb2.PullAppMessagesRequest,
    "push-messages": runtime_pb2.PushAppMessagesRequest,
    "push-task-output": runtime_pb2.PushTaskOutputRequest,
    "pull-object": message_pb2.PullObjectRequest,
    "push-object": message_pb2.PushObjectRequest,
    "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
}


@dataclass
class Sent:
    """A message as the hub made it, in Flower's parts."""

    message: Message
    tree: ObjectTree
    objects: dict[str, bytes]

    @classmethod
    def of(cls, records: RecordDict, message_type: str = "train") -> "Sent":
        take_identity(RUN_ID)
        message = Message(records, dst_node_id=NODE_ID, message_type=message_type, group_id="1")
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
            return cls(message, get_object_tree(message), objects)


def default_records(size: int = 3) -> RecordDict:
    import numpy as np

    return RecordDict({"arrays": ArrayRecord([np.arange(float(size))]), "config": ConfigRecord({"lr": 0.5})})


@dataclass
class FakeSuperNode:
    """Offers one message again and again. `change[operation]` may replace an answer, or raise `Status`."""

    sent: Sent = field(default_factory=lambda: Sent.of(default_records()))
    task_type: str = "flwr-clientapp"
    fab: bytes = b"a bundle"
    change: dict[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    pushed: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> "FakeSuperNode":
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet

            def do_POST(self) -> None:
                operation = self.path.removeprefix("/v1/runtime/")
                request = REQUESTS[operation]()
                request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                try:
                    status, body = 200, node._answer(operation, request, dict(self.headers))
                except Status as err:
                    status, body = err.code, b""
                self.send_response(status)
                self.send_header("content-type", "application/protobuf")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def count(self, operation: str) -> int:
        return Counter(name for name, _ in self.asked)[operation]

    def _answer(self, operation: str, request: Any, headers: dict[str, str]) -> bytes:
        self.asked.append((operation, request))
        self.headers.append((operation, {k.lower(): v for k, v in headers.items()}))
        answer = self._default(operation, request)
        if operation in self.change:
            answer = self.change[operation](request, answer)
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    def _default(self, operation: str, request: Any) -> Any:
        if operation == "acquire-task":
            return runtime_pb2.AcquireTaskResponse(
                task=Task(task_id=5, type=self.task_type, run_id=RUN_ID), token=TOKEN
            )
        if operation == "pull-task-input":
            run = Run.create_empty(RUN_ID)
            run.fab_hash = hashlib.sha256(self.fab).hexdigest()
            run.override_config = {"rounds": 3}
            return runtime_pb2.PullTaskInputResponse(
                context=context_to_proto(Context(RUN_ID, NODE_ID, {}, RecordDict(), {})),
                run=run_to_proto(run),
                fab=Fab(hash_str=run.fab_hash, content=self.fab),
                task_id=5,
            )
        if operation == "pull-messages":
            with no_object_id_recompute():
                proto = message_to_proto(remove_content_from_message(self.sent.message))
            return runtime_pb2.PullAppMessagesResponse(messages_list=[proto], message_object_trees=[self.sent.tree])
        if operation == "pull-object":
            data = self.sent.objects.get(request.object_id, b"")
            return message_pb2.PullObjectResponse(object_found=True, object_available=bool(data), object_content=data)
        if operation == "push-messages":
            wanted = [part.object_id for part in parts(request.message_object_trees[0])]
            return runtime_pb2.PushAppMessagesResponse(objects_to_push=wanted, session_id="s")
        if operation == "push-object":
            self.pushed[request.object_id] = request.object_content
            return message_pb2.PushObjectResponse(stored=True)
        if operation == "send-task-heartbeat":
            return runtime_pb2.SendTaskHeartbeatResponse(success=True)
        if operation == "confirm-message-received":
            return message_pb2.ConfirmMessageReceivedResponse()
        return runtime_pb2.PushTaskOutputResponse()


class Status(Exception):
    """Answer with this HTTP status."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def parts(tree: ObjectTree) -> list[ObjectTree]:
    return [tree, *(part for child in tree.children for part in parts(child))]
