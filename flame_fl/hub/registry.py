"""Lets people and nodes in: the access file, changed by one process at a time and replaced in one step."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flame_fl.contract.access import Access, HubNode
from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import FlameError, InputError, VerificationError
from flame_fl.flower.superlink_access import AccessFile
from flame_fl.flower.superlink_beside import read_public_key, register_node
from flame_fl.hub.config import HubFiles


def read_access(files: HubFiles) -> Access:
    """Who may do what.

    Raises:
        VerificationError: The file cannot be read.
    """
    return AccessFile(files.access).read()


def add_user(files: HubFiles, name: str, project: str) -> str:
    """Let a researcher into a project. Returns the token, which is kept nowhere.

    Raises:
        InputError: The name is taken, or is none.
    """
    with _changing(files.access) as change:
        changed, token = change.access.with_user(name, project)
        change.access = changed
    return token


def add_node(files: HubFiles, name: str, public_key: Path, project: str) -> int:
    """Let a DIZ's node into a project, by the public key it signs with. The hub may be up or down.

    Returns:
        Flower's id of the node.

    Raises:
        InputError: The name or the key is taken, or the file holds no such key.
    """
    try:
        raw = public_key.read_bytes()
    except OSError as err:
        raise InputError(f"{public_key} cannot be read ({err.strerror}).", mend="Give the node's public key.") from err
    key = read_public_key(raw)
    with _changing(files.access) as change:
        draft = HubNode.model_construct(node_id=2, public_key_sha256=sha256_hex(key), projects=(project,))
        change.access.with_node(name, draft)  # every check, before the SuperLink is told
        node_id = register_node(files.database, name, key)
        change.access = change.access.with_node(name, draft.model_copy(update={"node_id": node_id}))
    return node_id


def add_member(files: HubFiles, project: str, name: str) -> None:
    """Add a user or a node to one more project.

    Raises:
        InputError: Nobody has that name.
    """
    with _changing(files.access) as change:
        change.access = change.access.with_member(project, name)


class _Change:
    def __init__(self, access: Access) -> None:
        self.access = access


@contextmanager
def _changing(path: Path) -> Iterator[_Change]:
    try:
        lock = path.with_name(f"{path.name}.lock").open("w")
    except OSError as err:
        raise FlameError(
            f"{path} cannot be changed ({err.strerror}).", mend="Do it as the hub's administrator."
        ) from err
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            change = _Change(Access.model_validate_json(path.read_bytes()))
        except (OSError, ValueError) as err:
            raise VerificationError(f"The access file {path} cannot be read.", mend="Restore it.") from err
        yield change
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(change.access.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
