"""The SuperLink's persistent state, with what a hub of hospitals needs beside Flower's own.

1. *Redelivery.* A SuperNode keeps in memory what it has pulled. When it dies, or its connection breaks while it pulls,
   Flower never offers that message again, and a run waits for an answer until its own time is over. Here a node is
   offered again what it has not confirmed, and a node that begins anew all that it has not answered. Its gate answers
   one leg once and resends the same bytes, so at-least-once delivery is what it wants. A message's objects stay until
   its reply was fetched; a reply is fetched only once all of it is here, and as often as its ServerApp asks, until it
   confirms. So a connection or a hub that breaks at any moment loses nothing.
2. *A node takes over from itself.* Flower refuses a node that is still counted as online; after a crash it would have
   to wait a minute. Its signature has been checked by then: it is the same node.
3. *Downtime of the hub is nobody's fault.* Tasks and nodes get their full patience again when it starts.
4. *A ServerApp that is started again begins anew.* Of what the process before it sent, a node is not offered what it
   has not got: it was perhaps never sent to its end, and nobody waits for the answer.
5. *Only ServerApps run*: no other kind of run can be created.
6. A finished run leaves no messages and objects behind.
"""

import time
from datetime import timedelta
from typing import Any

from flwr.app import Message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, HEARTBEAT_PATIENCE, SUPERLINK_NODE_ID
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.linkstate import LinkState
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.constant import NodeStatus, TaskType
from flwr.supercore.date import now
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.state.schema.corestate_models import ObjectPushSession, ObjectPushSessionRoot
from flwr.supercore.state.schema.corestate_models import Task as TaskRow
from flwr.supercore.state.schema.linkstate_models import MessageIns, MessageRes
from flwr.supercore.state.schema.linkstate_models import Node as NodeRow
from flwr.supercore.state.schema.linkstate_models import Run as RunRow
from flwr.supercore.state.schema.objectstore_models import RunObject
from flwr.supercore.utils import uint64_to_int64
from flwr.superlink.federation import FederationManager
from sqlalchemy import ColumnElement, delete, select, update

_CONFIRMED = "confirmed "
_UNCONFIRMED = MessageIns.delivered_at.not_like(f"{_CONFIRMED}%")
_PATIENCE_SECONDS = HEARTBEAT_PATIENCE * HEARTBEAT_DEFAULT_INTERVAL


class HubLinkState(SqlLinkState):
    """Flower's state in SQLite, with at-least-once delivery."""

    def initialize(self, log_queries: bool = False, **engine_kwargs: Any) -> list[str]:  # noqa: FBT001, FBT002
        """Open the database, and be patient anew with everybody who was here before."""
        tables = super().initialize(log_queries, **engine_kwargs)
        with self.session() as session:
            session.execute(
                update(TaskRow)
                .where(TaskRow.token.is_not(None), TaskRow.finished_at.is_(None))
                .values(active_until=now() + timedelta(seconds=_PATIENCE_SECONDS))
            )
            session.execute(
                update(NodeRow)
                .where(NodeRow.status == NodeStatus.ONLINE)
                .values(online_until=time.time() + _PATIENCE_SECONDS)
            )
        return tables

    def activate_task(self, task_id: int) -> bool:
        """Let a task begin. One that has begun may be told its input again.

        Its first answer may have been lost; then it has sent nothing. Or its process died, and another one asks.
        """
        with self.session() as session:
            if super().activate_task(task_id):
                return True
            running = session.scalar(
                select(TaskRow.task_id).where(
                    TaskRow.task_id == uint64_to_int64(task_id),
                    TaskRow.running_at.is_not(None),
                    TaskRow.finished_at.is_(None),
                )
            )
            if running is not None:
                self._forget_unread_of(running)
        return running is not None

    def _forget_unread_of(self, task: int) -> None:
        """Forget the messages of a task's run that no node has got and answered, with what has come of them."""
        with self.session() as session:
            unread = session.scalars(
                select(MessageIns.message_id)
                .join(RunRow, RunRow.run_id == MessageIns.run_id)
                .where(
                    RunRow.primary_task_id == task,
                    _UNCONFIRMED,
                    MessageIns.message_id.not_in(select(MessageRes.reply_to_message_id)),
                )
            ).all()
            self.delete_messages({message_id for message_id in unread if message_id is not None})

    def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
        """Activate a node, also one that is counted as online, and offer it again what it has not answered."""
        with self.session():
            self.deactivate_node(node_id)
            active = super().activate_node(node_id, heartbeat_interval)
            if active:
                self._offer_again(node_id)
        return active

    def _offer_again(self, node_id: int) -> None:
        """Forget that messages were delivered to a node, and replies of it that are not complete."""
        node = uint64_to_int64(node_id)
        with self.session() as session:
            half = session.execute(
                select(MessageRes.message_id, ObjectPushSessionRoot.session_id)
                .join(ObjectPushSessionRoot, ObjectPushSessionRoot.root_object_id == MessageRes.message_id)
                .join(ObjectPushSession, ObjectPushSession.session_id == ObjectPushSessionRoot.session_id)
                .where(MessageRes.src_node_id == node, ObjectPushSession.pending_count > 0)
            ).all()
            for message_id, session_id in half:
                if message_id is None:
                    continue
                session.execute(delete(MessageRes).where(MessageRes.message_id == message_id))
                self._cleanup_push_session(session_id, cleanup_messages=False)
                self.object_store.delete(message_id)
            self._forget_delivery(MessageIns.dst_node_id == node)

    def _forget_delivery(self, *which: ColumnElement[bool]) -> None:
        """Messages of runs that go on, unanswered and in time, are as if they had not been delivered."""
        with self.session() as session:
            session.execute(
                update(MessageIns)
                .where(
                    *which,
                    MessageIns.delivered_at != "",
                    MessageIns.created_at + MessageIns.ttl > time.time(),
                    MessageIns.message_id.not_in(select(MessageRes.reply_to_message_id)),
                    MessageIns.run_id.in_(
                        select(RunRow.run_id)
                        .join(TaskRow, TaskRow.task_id == RunRow.primary_task_id)
                        .where(TaskRow.finished_at.is_(None))
                    ),
                )
                .values(delivered_at="")
                .execution_options(synchronize_session=False)
            )

    def get_message_ins(self, node_id: int, limit: int | None, *, run_id: int | None = None) -> list[Message]:
        """The next message for a node.

        A SuperNode asks for the next one when it has confirmed the one before, or has failed to get it: what it was
        given and has not confirmed was lost on the way.
        """
        with self.session():
            if node_id != SUPERLINK_NODE_ID:
                self._forget_delivery(MessageIns.dst_node_id == uint64_to_int64(node_id), _UNCONFIRMED)
            return super().get_message_ins(node_id, limit, run_id=run_id)

    def confirm_delivery(self, message_id: str, node_id: int) -> None:
        """A node has all of a message."""
        with self.session() as session:
            session.execute(
                update(MessageIns)
                .where(MessageIns.message_id == message_id, MessageIns.dst_node_id == uint64_to_int64(node_id))
                .values(delivered_at=f"{_CONFIRMED}{now().isoformat()}")
            )

    def forget_reply(self, message_id: str, run_id: int) -> None:
        """A ServerApp has all of a reply: it goes, with the message it answers."""
        with self.session() as session:
            answered = session.scalar(
                select(MessageRes.reply_to_message_id).where(
                    MessageRes.message_id == message_id, MessageRes.run_id == uint64_to_int64(run_id)
                )
            )
            if answered is not None:
                self.delete_messages({answered})
            if self.holds_for_run(run_id, message_id):
                self.object_store.delete(message_id)

    def get_message_res(self, message_ids: set[str], run_id: int) -> list[Message]:
        """Replies that are here with all their objects. One that is being sent is not here yet."""
        with self.session() as session:
            arriving = session.scalars(
                select(MessageRes.reply_to_message_id)
                .join(ObjectPushSessionRoot, ObjectPushSessionRoot.root_object_id == MessageRes.message_id)
                .join(ObjectPushSession, ObjectPushSession.session_id == ObjectPushSessionRoot.session_id)
                .where(
                    MessageRes.run_id == uint64_to_int64(run_id),
                    ObjectPushSession.pending_count > 0,
                    ObjectPushSession.expires_at > now(),
                )
            ).all()
            wanted = message_ids - set(arriving)
            session.execute(
                update(MessageRes)
                .where(MessageRes.reply_to_message_id.in_(wanted), MessageRes.run_id == uint64_to_int64(run_id))
                .values(delivered_at="")  # asked for again: it did not arrive
                .execution_options(synchronize_session=False)
            )
            return super().get_message_res(wanted, run_id)

    def delete_messages(self, message_ins_ids: set[str]) -> None:
        """Delete messages with their replies, and the messages' own objects, which delivery has left."""
        with self.session():
            super().delete_messages(message_ins_ids)
            for message_id in message_ins_ids:
                self.object_store.delete(message_id)

    def finish_task(self, task_id: int, sub_status: str, details: str) -> bool:
        """Finish a task; with a run's own task the run's messages and objects go."""
        with self.session() as session:
            finished = super().finish_task(task_id, sub_status, details)
            if finished:
                task = uint64_to_int64(task_id)
                run = session.scalar(select(RunRow.run_id).where(RunRow.primary_task_id == task))
                if run is not None:
                    self.cleanup_run(run % 2**64)
        return finished

    def create_run(self, *args: Any, **kwargs: Any) -> int:
        """Create a run, if what it runs is a ServerApp. 0 if not: Flower's word for a failure."""
        kind = kwargs.get("primary_task_type", args[7] if len(args) > 7 else None)
        return super().create_run(*args, **kwargs) if kind == TaskType.SERVER_APP else 0

    def holds_for_run(self, run_id: int, object_id: str) -> bool:
        """Whether an object was registered for a run."""
        with self.session() as session:
            found = session.scalar(
                select(RunObject.object_id).where(
                    RunObject.run_id == uint64_to_int64(run_id), RunObject.object_id == object_id
                )
            )
        return found is not None


class HubLinkStateFactory(LinkStateFactory):
    """Makes the one `HubLinkState` of a SuperLink."""

    def state(self) -> LinkState:
        """The state, made at the first call."""
        with self._state_lock:
            if self.state_instance is None:
                state = HubLinkState(self.database, self.federation_manager, self.objectstore_factory.store())
                state.initialize()
                self.state_instance = state
            return self.state_instance


def state_factories(database: str, federations: FederationManager) -> tuple[ObjectStoreFactory, LinkStateFactory]:
    """What Flower's function of that place returns, with our state in it."""
    objects = ObjectStoreFactory(database)
    return objects, HubLinkStateFactory(database, federations, objects)
