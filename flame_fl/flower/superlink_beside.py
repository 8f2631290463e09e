"""Beside a SuperLink: its database, read and written by the hub's other programs while it is in use, or down."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.state.schema.corestate_models import Task as TaskRow
from flwr.supercore.state.schema.linkstate_models import Node as NodeRow
from flwr.supercore.state.schema.linkstate_models import Run as RunRow
from flwr.supercore.utils import uint64_to_int64
from flwr.superlink.federation import NoOpFederationManager
from sqlalchemy import select, update

from flame_fl.contract.errors import FlameError, InputError

_ID_BITS = 20  # after 41 bits of milliseconds: in all less than the 63 bits that SQLite has
_OWNER = "flame-hub"  # no account: nodes belong to nobody who can log in


def read_public_key(raw: bytes) -> bytes:
    """A node's public key, OpenSSH or PEM, in the form in which SuperNodes send theirs.

    Raises:
        InputError: It is no public key that a SuperNode can have.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes, uses_nist_ec_curve

    load = load_pem_public_key if raw.lstrip().startswith(b"-----") else load_ssh_public_key
    try:
        key = load(raw)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not uses_nist_ec_curve(key):
        raise InputError(
            "This is no public key that a node signs with.",
            mend="Give the file that `flame node init` wrote (an EC key on a NIST curve, OpenSSH or PEM).",
        )
    return public_key_to_bytes(key)


def register_node(database: Path, name: str, public_key: bytes) -> int:
    """Write a node into the SuperLink's database, which may be in use; returns Flower's id of it.

    A key that is there keeps its id: the hub's access file says whose it is.

    Args:
        database: The SuperLink's.
        name: What ServerApps see.
        public_key: From `read_public_key`.

    Raises:
        FlameError: It could not be written.
    """
    with _opened(database) as state:
        known = state.get_node_id_by_public_key(public_key)
        node_id = known or state.create_node(_OWNER, _OWNER, public_key, HEARTBEAT_DEFAULT_INTERVAL, name=name)
        if node_id == 0:
            raise FlameError(f"The node {name} could not be registered.", mend="Try again.")
        return known or _in_order(state, node_id)


def _in_order(state: SqlLinkState, node_id: int) -> int:
    """Give a new node an id that is larger than those before it.

    Flower draws ids by chance. Strategies sum over nodes in the order of their ids, and a sum of floating-point numbers
    depends on it: nodes that joined in the order in which a simulation has them give the same result, bit for bit.
    """
    ordered = (int(time.time() * 1000) << _ID_BITS) | secrets.randbits(_ID_BITS)
    with state.session() as session:
        session.execute(update(NodeRow).where(NodeRow.node_id == uint64_to_int64(node_id)).values(node_id=ordered))
    return ordered


@dataclass(frozen=True)
class RunSummary:
    """What the hub's agent asks about a run."""

    app: str
    federation: str
    account: str
    finished: bool


class RunReader:
    """Reads runs from a SuperLink's database while it is in use, without the SuperLink."""

    def __init__(self, database: Path) -> None:
        self._context = _opened(database)
        self._state = self._context.__enter__()

    def run(self, run_id: int) -> RunSummary | None:
        """What is known of a run."""
        with self._state.session() as session:
            row = session.execute(
                select(RunRow.fab_id, RunRow.federation_id, RunRow.flwr_aid, TaskRow.finished_at)
                .join(TaskRow, TaskRow.task_id == RunRow.primary_task_id)
                .where(RunRow.run_id == uint64_to_int64(run_id))
            ).one_or_none()
        if row is None:
            return None
        return RunSummary(row.fab_id or "", row.federation_id or "", row.flwr_aid or "", row.finished_at is not None)

    def close(self) -> None:
        """Close the database."""
        self._context.__exit__(None, None, None)


@contextmanager
def _opened(database: Path) -> Iterator[SqlLinkState]:
    factory = LinkStateFactory(str(database), NoOpFederationManager(), ObjectStoreFactory(str(database)))
    state = factory.state()
    assert isinstance(state, SqlLinkState)  # noqa: S101  (a path is a SQLite file)
    try:
        yield state
    finally:
        if state._engine is not None:
            state._engine.dispose()
