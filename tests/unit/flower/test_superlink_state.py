"""The SuperLink's state on a real SQLite file: delivery at least once, and patience."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from sqlalchemy import text

from flame_fl.flower.superlink_beside import RunReader, register_node
from flame_fl.flower.superlink_state import HubLinkState

FEDERATION = "@none/default"


class World:
    """One run, one node, and both sides of their exchange."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.database = folder / "superlink.db"
        shutil.copyfile(template, self.database)  # Flower's migrations take a second
        self.state = self.open()
        self.node = self.state.create_node("o", "o", b"key", 30.0, name="DIZ-1")
        assert self.state.activate_node(self.node, 30.0)
        self.run = self.state.create_run("a/b", "1", "h" * 64, {}, FEDERATION, None, "alice", TaskType.SERVER_APP)
        self.task = self.state.get_run_info(run_ids=[self.run])[0].primary_task_id
        token = self.state.claim_task(self.task)
        assert token
        self.token = token
        assert self.state.activate_task(self.task)

    def open(self) -> HubLinkState:
        state = HubLinkState(
            str(self.database), NoOpFederationManager(), ObjectStoreFactory(str(self.database)).store()
        )
        state.initialize()
        return state

    def send(self, value: float = 1.0, *, complete: bool = True) -> Message:
        """The ServerApp sends a message, with its objects."""
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = self.task, self.run, 1
        content = RecordDict({"arrays": ArrayRecord({"x": Array(np.full(4, value))})})
        return self.store(Message(content, dst_node_id=self.node, message_type="train"), complete=complete)

    def reply(self, message: Message, *, complete: bool = True) -> Message:
        """The node answers."""
        content = RecordDict({"arrays": ArrayRecord({"x": Array(np.full(4, 9.0))})})
        return self.store(Message(content, reply_to=message), complete=complete)

    def store(self, message: Message, *, complete: bool = True) -> Message:
        message.metadata.__dict__["_message_id"] = message.object_id
        session = self.state.start_session(self.run)
        stored, missing = self.state.store_message_and_object_tree(message, get_object_tree(message), session)
        assert stored
        objects = get_all_nested_objects(message)
        for object_id in missing if complete else missing[:-1]:
            assert self.state.store_object(self.run, session, object_id, objects[object_id].deflate())
        return message

    def pull(self) -> list[str]:
        """The node asks."""
        return [m.metadata.message_id for m in self.state.get_message_ins(self.node, limit=1)]

    def fetch(self, message: Message) -> list[str]:
        """The ServerApp asks."""
        found = self.state.get_message_res({message.metadata.message_id}, self.run)
        return [m.metadata.message_id for m in found]

    def holds(self, message: Message) -> bool:
        """Whether all of a message's objects are there."""
        return all(self.state.object_store.get(i) for i in get_all_nested_objects(message))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of Flower's."""
    file = tmp_path_factory.mktemp("superlink") / "empty.db"
    state = HubLinkState(str(file), NoOpFederationManager(), ObjectStoreFactory(str(file)).store())
    state.initialize()
    with state.session() as session:
        session.execute(text("SELECT 1"))
    assert state._engine is not None
    with state._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    state._engine.dispose()
    return file


@pytest.fixture
def world(tmp_path: Path, template: Path) -> Iterator[World]:
    before = [getattr(TaskIdentity, field) for field in ("_task_id", "_run_id", "_node_id")]
    yield World(tmp_path, template)
    for field, value in zip(("_task_id", "_run_id", "_node_id"), before, strict=True):
        setattr(TaskIdentity, field, value)


def test_a_node_that_begins_anew_is_offered_what_it_has_not_answered(world: World) -> None:
    """With all its objects, although it had confirmed them; and it need not be offline before."""
    message = world.send()
    assert world.pull() == [message.metadata.message_id]
    world.state.confirm_delivery(message.metadata.message_id, world.node)
    assert world.pull() == []
    assert world.state.activate_node(world.node, 30.0)
    assert world.pull() == [message.metadata.message_id]
    assert world.holds(message)


def test_what_was_lost_on_the_way_is_sent_again(world: World) -> None:
    """A connection that broke while the node pulled: it asks for the next message, and has confirmed none."""
    message, second = world.send(1.0), world.send(2.0)
    for _ in range(3):
        assert world.pull() == [message.metadata.message_id]
    world.state.confirm_delivery(message.metadata.message_id, world.node)
    assert world.pull() == [second.metadata.message_id]


def test_what_it_has_answered_is_not_offered_again(world: World) -> None:
    """An answer is an answer."""
    message = world.send()
    world.pull()
    world.reply(message)
    world.state.activate_node(world.node, 30.0)
    assert world.pull() == []


def test_an_answer_that_broke_off_is_given_anew(world: World) -> None:
    """Its objects never came: the half of it goes, the message is offered again, and the new answer counts."""
    message = world.send()
    world.pull()
    half = world.reply(message, complete=False)
    assert world.fetch(message) == []  # not before it is complete
    world.state.activate_node(world.node, 30.0)
    assert world.pull() == [message.metadata.message_id]
    assert not world.state.object_store.get(half.metadata.message_id)
    whole = world.reply(message)
    assert world.fetch(message) == [whole.metadata.message_id]


def test_another_node_gets_nothing_of_it(world: World) -> None:
    """A message has one addressee."""
    message = world.send()
    world.pull()
    other = world.state.create_node("o", "o", b"other", 30.0)
    assert world.state.activate_node(other, 30.0)
    assert world.state.get_message_ins(other, limit=1) == []
    assert world.state.activate_node(world.node, 30.0)
    assert world.pull() == [message.metadata.message_id]


def test_a_finished_run_offers_nothing_and_leaves_nothing(world: World) -> None:
    """Messages and objects go with it."""
    message = world.send()
    world.pull()
    assert world.state.finish_task(world.task, SubStatus.FAILED, "so")
    assert world.state.activate_node(world.node, 30.0)
    assert world.pull() == []
    assert world.state.num_message_ins() == 0
    assert not world.holds(message)


def test_an_expired_message_is_not_offered_again(world: World) -> None:
    """Its time is over for everybody."""
    world.send()
    world.pull()
    with world.state.session() as session:
        session.execute(text("UPDATE message_ins SET ttl = 0.001"))
    time.sleep(0.01)
    world.state.activate_node(world.node, 30.0)
    assert world.pull() == []


def test_a_reply_is_fetched_until_it_is_confirmed(world: World) -> None:
    """The first answer to the ServerApp may be lost; then nothing of it stays."""
    message = world.send()
    world.pull()
    reply = world.reply(message)
    for _ in range(3):
        assert world.fetch(message) == [reply.metadata.message_id]
        assert world.holds(reply)
    world.state.forget_reply(reply.metadata.message_id, world.run)
    assert world.fetch(message) != [reply.metadata.message_id]
    assert world.state.num_message_ins() == world.state.num_message_res() == 0
    assert not world.holds(message)
    assert not world.holds(reply)


def test_another_run_cannot_forget_it(world: World) -> None:
    """A token speaks for one run."""
    message = world.send()
    world.pull()
    reply = world.reply(message)
    world.state.forget_reply(reply.metadata.message_id, world.run + 1)
    assert world.fetch(message) == [reply.metadata.message_id]
    assert world.holds(reply)


def test_what_was_on_its_way_when_the_hub_ended_is_sent_again(world: World) -> None:
    """And what had arrived is not."""
    arrived, on_its_way = world.send(1.0), world.send(2.0)
    assert world.pull() == [arrived.metadata.message_id]
    world.state.confirm_delivery(arrived.metadata.message_id, world.node)
    assert world.pull() == [on_its_way.metadata.message_id]
    world.state = world.open()
    assert world.pull() == [on_its_way.metadata.message_id]
    world.state.confirm_delivery(on_its_way.metadata.message_id, world.node)
    assert world.pull() == []


def test_a_hub_that_was_away_is_patient_again(world: World) -> None:
    """Tasks and nodes had nobody to tell that they live."""
    with world.state.session() as session:
        session.execute(text("UPDATE task SET active_until = '2020-01-01 00:00:00'"))
        session.execute(text("UPDATE node SET online_until = 1"))
    world.state = world.open()
    task = world.state.get_task_by_token(world.token)
    assert task is not None
    assert world.state.acknowledge_task_heartbeat(world.task)
    assert world.state.get_nodes(world.run) == {world.node}


def test_a_task_is_told_its_input_again(world: World) -> None:
    """While it runs; not when it is over."""
    assert world.state.activate_task(world.task)
    world.state.finish_task(world.task, SubStatus.COMPLETED, "")
    assert not world.state.activate_task(world.task)


def test_a_task_that_begins_anew_has_sent_nothing(world: World) -> None:
    """What its node has got is computed to its end; what it was offered, or what never came whole, is not."""
    got = world.send(1.0)
    assert world.pull() == [got.object_id]
    world.state.confirm_delivery(got.object_id, world.node)
    offered = world.send(2.0)
    assert world.pull() == [offered.object_id]
    world.send(3.0, complete=False)
    assert world.state.activate_task(world.task)
    assert world.state.get_message_ids_from_run_id(world.run) == {got.object_id}
    assert world.pull() == []
    again = world.send(3.0)  # the model that broke off
    assert world.holds(again)
    assert world.pull() == [again.object_id]
    answer = world.reply(got)
    assert world.fetch(got) == [answer.object_id]


def test_only_serverapps_can_be_run(world: World) -> None:
    """Neither agents nor a simulation on the hub."""
    for kind in (TaskType.AGENT_APP, TaskType.SIMULATION, TaskType.CONNECTOR, "flwr-model", ""):
        assert world.state.create_run("a/b", "1", "h" * 64, {}, FEDERATION, None, "alice", kind) == 0
    arguments = {"fab_id": "a/b", "fab_version": "1", "fab_hash": "h" * 64, "override_config": {}}
    more = {"federation_id": FEDERATION, "federation_config": None, "flwr_aid": "alice"}
    assert world.state.create_run(**arguments, **more, primary_task_type=TaskType.AGENT_APP) == 0
    assert world.state.create_run(**arguments, **more, primary_task_type=TaskType.SERVER_APP) != 0


def test_an_object_belongs_to_the_runs_it_was_sent_in(world: World) -> None:
    """Knowing an id is not enough."""
    message = world.send()
    assert world.state.holds_for_run(world.run, message.object_id)
    assert not world.state.holds_for_run(world.run + 1, message.object_id)


def test_a_reader_beside_it(world: World) -> None:
    """The agent's view of a run, from another connection."""
    reader = RunReader(world.database)
    summary = reader.run(world.run)
    assert summary is not None
    assert (summary.app, summary.federation, summary.account, summary.finished) == ("a/b", FEDERATION, "alice", False)
    world.state.finish_task(world.task, SubStatus.COMPLETED, "")
    finished = reader.run(world.run)
    assert finished is not None
    assert finished.finished
    assert reader.run(3) is None
    reader.close()


def test_a_node_is_registered_beside_it(world: World) -> None:
    """While the SuperLink uses the file; the same key is the same node."""
    node_id = register_node(world.database, "DIZ-2", b"new key")
    assert world.state.get_node_id_by_public_key(b"new key") == node_id
    assert register_node(world.database, "DIZ-2", b"new key") == node_id
    (info,) = world.state.get_node_info(node_ids=[node_id])
    assert info.name == "DIZ-2"
    assert world.state.activate_node(node_id, 30.0)


def test_nodes_are_numbered_in_the_order_in_which_they_came(world: World) -> None:
    """Sums over them are then those of a simulation."""
    ids = [register_node(world.database, f"DIZ-{i}", f"key {i}".encode()) for i in range(4)]
    assert ids == sorted(set(ids))
    assert all(1 < node_id < 2**63 for node_id in ids)
