"""Flower lets only a "task process" create messages. A simulation is one: this says so, in the one place that may."""

from collections.abc import Mapping

from flwr.app import Message
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.run import Run as FlowerRun
from flwr.supercore.task_identity import TaskIdentity

from flame_fl.contract.fab import Fab
from flame_fl.contract.terms import Scalar

__all__ = ["FlowerRun", "NodeInfo", "flower_run", "set_message_id", "take_identity"]

SERVER_NODE_ID = 1


def take_identity(run_id: int, node_id: int = SERVER_NODE_ID) -> None:
    """Make this process a task of `run_id` at `node_id` (1 is the server's)."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def set_message_id(message: Message, message_id: str) -> None:
    """A SuperLink gives messages their ids; so does a simulation."""
    message.metadata.__dict__["_message_id"] = message_id


def flower_run(run_id: int, fab: Fab, overrides: Mapping[str, Scalar]) -> FlowerRun:
    """Flower's description of a run."""
    run = FlowerRun.create_empty(run_id)
    run.fab_id, run.fab_hash = fab.app_id, fab.sha256
    run.fab_version = str(fab.setting("project", "version") or "")
    run.override_config = dict(overrides)
    return run
