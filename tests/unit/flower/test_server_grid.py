"""The grid of a ServerApp at a hub, over a relay that a test plays."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, PullObjectResponse, PushObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import GetNodesResponse, PullAppMessagesResponse, PushAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from flame_fl.flower import server_grid
from flame_fl.flower.server_events import EventLog
from flame_fl.flower.server_grid import RelayGrid

RUN = 5


class Hub:
    """Nodes 7, 8 and 9, of which a test says when and what they answer."""

    def __init__(self) -> None:
        self.nodes = {7: "DIZ-10", 8: "DIZ-2", 9: "DIZ-1"}
        self.sent: dict[str, int] = {}
        self.replies: dict[int, list[Message]] = {}
        self.objects: dict[str, bytes] = {}
        self.confirmed: list[str] = []
        self.lost: set[int] = set()
        self.pulls = 0
        self.answer_after = 0
        self.forgets: list[bool] = []
        self.sessions = 0
        self.told: list[str] = []

    def GetNodes(self, request: Any) -> Any:
        return GetNodesResponse(nodes=[NodeInfo(node_id=i, name=n) for i, n in self.nodes.items()])

    def PushMessages(self, request: Any) -> Any:
        ids = []
        for proto in request.messages_list:
            node = proto.metadata.dst_node_id
            ids.append("" if node in self.lost else proto.metadata.message_id)
            self.sent[proto.metadata.message_id] = node
            self.told.append(proto.metadata.message_id)
        self.sessions += 1
        trees = request.message_object_trees
        missing = [tree.object_id for tree in trees] if self.forgets else []
        return PushAppMessagesResponse(message_ids=ids, objects_to_push=missing, session_id=f"s{self.sessions}")

    def PushObject(self, request: Any) -> Any:
        return PushObjectResponse(stored=not (self.forgets and self.forgets.pop(0)))

    def PullObject(self, request: Any) -> Any:
        content = self.objects[request.object_id]
        return PullObjectResponse(object_found=True, object_available=True, object_content=content)

    def ConfirmMessageReceived(self, request: Any) -> Any:
        self.confirmed.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()

    def PullMessages(self, request: Any) -> Any:
        self.pulls += 1
        protos, trees = [], []
        if self.pulls > self.answer_after:
            for message_id in sorted(request.message_ids, reverse=True):
                node = self.sent[message_id]
                if self.replies.get(node):
                    reply = self._stored(self.replies[node].pop(0), message_id, node)
                    protos.append(message_to_proto(reply))
                    trees.append(get_object_tree(reply))
        return PullAppMessagesResponse(messages_list=protos, message_object_trees=trees)

    def _stored(self, reply: Message, message_id: str, node: int) -> Message:
        reply.metadata.__dict__["_reply_to_message_id"] = message_id
        reply.metadata.__dict__["_src_node_id"] = node
        reply.metadata.__dict__["_message_id"] = reply.object_id
        self.objects |= {i: o.deflate() for i, o in get_all_nested_objects(reply).items()}
        return reply


class World:
    def __init__(self) -> None:
        self.hub, self.lines = Hub(), b""
        self.grid = RelayGrid(self.hub, EventLog(self.take))  # type: ignore[arg-type]
        self.grid.set_run(Run.create_empty(RUN))

    def take(self, line: bytes) -> None:
        self.lines += line

    def events(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines.splitlines()]
        return [e for e in found if e["kind"] == kind and all(e[k] == v for k, v in fields.items())]

    def messages(self, *nodes: int, kind: str = "train") -> list[Message]:
        content = RecordDict({"arrays": ArrayRecord({"x": Array(np.zeros(4))})})
        return [Message(content, dst_node_id=node, message_type=kind, group_id="1") for node in nodes]

    def answers(self, node: int, value: float, **config: Any) -> None:
        records = RecordDict(
            {"arrays": ArrayRecord({"x": Array(np.full(4, value))}), "m": MetricRecord({"loss": value, "list": [1.0]})}
        )
        if config:
            records["flame"] = ConfigRecord(config)
        (message,) = self.messages(node)
        message.metadata.__dict__["_message_id"] = "x"
        self.hub.replies.setdefault(node, []).append(Message(records, reply_to=message))

    def refuses(self, node: int, code: int, reason: str) -> None:
        (message,) = self.messages(node)
        message.metadata.__dict__["_message_id"] = "x"
        self.hub.replies.setdefault(node, []).append(Message(Error(code, reason), reply_to=message))


@pytest.fixture
def world(monkeypatch) -> Iterator[World]:
    before = [getattr(TaskIdentity, field) for field in ("_task_id", "_run_id", "_node_id")]
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 3, RUN, 1
    monkeypatch.setattr(server_grid.time, "sleep", lambda seconds: None)
    yield World()
    for field, value in zip(("_task_id", "_run_id", "_node_id"), before, strict=True):
        setattr(TaskIdentity, field, value)


def test_replies_come_in_the_order_of_the_messages(world: World) -> None:
    """Whoever was quicker: sums come out the same each time."""
    for node in (9, 7, 8):
        world.answers(node, float(node))
    replies = list(world.grid.send_and_receive(world.messages(8, 9, 7)))
    assert [reply.metadata.src_node_id for reply in replies] == [8, 9, 7]
    assert [reply.content["arrays"]["x"].numpy()[0] for reply in replies] == [8.0, 9.0, 7.0]
    assert len(world.hub.confirmed) == 3


def test_it_waits_until_they_are_there(world: World) -> None:
    """Asking again for what is missing only."""
    world.hub.answer_after = 4
    world.answers(7, 1.0)
    assert len(list(world.grid.send_and_receive(world.messages(7)))) == 1
    assert world.hub.pulls == 5


def test_late_ones_are_left_out_and_told(world: World) -> None:
    """As with Flower's own grid; the report says who was silent."""
    world.answers(7, 1.0)
    replies = list(world.grid.send_and_receive(world.messages(7, 8), timeout=0.0))
    assert [reply.metadata.src_node_id for reply in replies] == [7]
    (silent,) = world.events("reply", node="8")
    assert (silent["ok"], silent["code"], silent["reason"]) == (False, 0, "no answer in time")
    (ended,) = world.events("batch", phase="ended")
    assert (ended["replied"], ended["refused"], ended["missing"]) == (1, 0, 1)


def test_what_cannot_be_sent_is_told_and_not_waited_for(world: World) -> None:
    """A node that was taken out of the project, say."""
    world.hub.lost.add(8)
    world.answers(7, 1.0)
    replies = list(world.grid.send_and_receive(world.messages(7, 8)))
    assert [reply.metadata.src_node_id for reply in replies] == [7]
    assert world.events("reply", node="8", ok=False)


def test_refusals_keep_their_code(world: World) -> None:
    """And their fixed text."""
    world.refuses(8, 901, "this DIZ has rejected the analysis")
    world.answers(7, 2.0)
    replies = list(world.grid.send_and_receive(world.messages(7, 8)))
    assert [reply.has_error() for reply in replies] == [False, True]
    (refused,) = world.events("reply", node="8")
    assert (refused["ok"], refused["code"], refused["reason"]) == (False, 901, "this DIZ has rejected the analysis")
    assert refused["bytes_out"] == 0


def test_what_is_told_of_a_batch(world: World) -> None:
    """Names, sizes, mean metrics, and the gate's own record."""
    for node, value in ((7, 1.0), (8, float("nan")), (9, 2.0)):
        world.answers(node, value, audit_head="ab", status="approved")
    list(world.grid.send_and_receive(world.messages(9, 7)))
    (begun,) = world.events("batch", phase="begun")
    assert begun["nodes"] == [{"id": "9", "name": "DIZ-1"}, {"id": "7", "name": "DIZ-10"}]
    (reply,) = world.events("reply", node="7")
    array = 4 * 8 + 128  # with numpy's header
    assert (reply["bytes_in"], reply["bytes_out"]) == (array, array + 8 + 8 + len("ab" + "approved"))
    assert reply["flame"] == {"audit_head": "ab", "status": "approved"}
    assert world.events("batch", phase="ended")[0]["metrics"] == {"loss": 1.5}
    list(world.grid.send_and_receive(world.messages(8, kind="evaluate")))
    (second,) = world.events("batch", phase="ended", batch=2)
    assert (second["type"], second["metrics"]) == ("evaluate", {"loss": "NaN"})


def test_nodes_come_in_the_order_of_their_names(world: World) -> None:
    """As people count, and as a simulation's do."""
    assert list(world.grid.get_node_ids()) == [9, 8, 7]


def test_nodes_that_had_not_approved_are_not_shown(world: World) -> None:
    """Nor is any other waited for: the grid says how many there can be."""
    grid = RelayGrid(world.hub, EventLog(world.take), [9, 7, 5])  # type: ignore[arg-type]
    grid.set_run(Run.create_empty(RUN))
    assert list(grid.get_node_ids()) == [9, 7]
    assert (grid.flame_sites, world.grid.flame_sites) == (3, None)
    world.hub.nodes.pop(9)
    assert list(grid.get_node_ids()) == [7]


def test_pushing_and_pulling_by_hand_is_told_too(world: World) -> None:
    """Flower's lower interface."""
    world.answers(7, 1.0)
    ids = list(world.grid.push_messages(world.messages(7)))
    assert [r.metadata.src_node_id for r in world.grid.pull_messages(ids)] == [7]
    assert list(world.grid.pull_messages(ids)) == []
    assert len(world.events("reply", node="7", ok=True)) == 1
    assert list(world.grid.push_messages([])) == []
    assert list(world.grid.send_and_receive([])) == []


def test_a_hub_that_takes_no_events_stops_no_run(world: World) -> None:
    """They are for people; the run's own calls say what is wrong."""

    def refuse(line: bytes) -> None:
        raise OSError("full")

    world.grid._events = EventLog(refuse)
    world.answers(7, 1.0)
    assert len(list(world.grid.send_and_receive(world.messages(7)))) == 1


def test_a_batch_goes_again_when_the_hub_died_between_taking_and_saying_so(world: World) -> None:
    """The same messages, by the same ids, in another session; each is answered once."""
    world.hub.forgets = [True, False]
    world.answers(7, 1.0)
    replies = list(world.grid.send_and_receive(world.messages(7)))
    assert [reply.metadata.src_node_id for reply in replies] == [7]
    assert (world.hub.sessions, len(world.hub.sent)) == (2, 1)


def test_a_hub_that_never_takes_an_object_is_given_up(world: World) -> None:
    """Three times, then Flower's own error."""
    world.hub.forgets = [True] * 9
    with pytest.raises(ObjectPushError):
        world.grid.send_and_receive(world.messages(7))
    assert world.hub.sessions == 3


def test_every_diz_hears_the_heads_of_all(world: World) -> None:
    """In the end each keeps what the others' audit chains said; one alone has nobody to tell."""
    world.answers(7, 1.0, audit_head="a" * 64, audit_signature="signed")
    world.answers(8, 1.0, audit_head="b" * 64)
    world.grid.send_and_receive(world.messages(7, 8, 9), timeout=0.0)
    for node in (7, 8):
        world.answers(node, 0.0)
    told: list[str] = []
    world.hub.told = told
    world.grid.tell_heads()
    assert sorted(world.hub.sent[message_id] for message_id in told) == [7, 8]
    assert world.events("batch", phase="begun")[-1]["type"] == "query.flame_status"


def test_one_diz_alone_is_told_nothing(world: World) -> None:
    world.answers(7, 1.0, audit_head="a" * 64)
    world.grid.send_and_receive(world.messages(7))
    before = len(world.hub.sent)
    world.grid.tell_heads()
    assert len(world.hub.sent) == before


def test_a_checkpoint_is_kept_before_a_message_leaves(world: World) -> None:
    """No round is asked for before the one before is safe; by hand, too."""
    order: list[str] = []
    world.hub.told = order  # type: ignore[assignment]
    grid = RelayGrid(world.hub, EventLog(world.take), None, lambda: order.append("kept"))  # type: ignore[arg-type]
    grid.set_run(Run.create_empty(RUN))
    world.answers(7, 1.0)
    list(grid.send_and_receive(world.messages(7)))
    list(grid.push_messages(world.messages(8)))
    list(grid.push_messages([]))
    assert [what == "kept" for what in order] == [True, False, True, False]


def test_how_far_a_strategy_is_is_told(world: World) -> None:
    """Numbers of known names, whatever it says."""
    said = {"round": 2, "rounds": 9, "seconds": 1.5, "seconds_left": 10.5, "resumed_round": 0}
    world.grid.flame_progress({**said, "kind": "run", "x": 1, "rounds ": 3})
    (event,) = world.events("round")
    assert {name: value for name, value in event.items() if name not in {"kind", "at"}} == said
    world.grid.flame_progress({"round": "two", "seconds": 1.0})
    assert "round" not in world.events("round")[1]
