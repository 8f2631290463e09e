"""The files beside a FLAME Hub: the client's secret, which id is which, and the last answers.

Both JSON files are written whole or not at all. Whatever cannot be read of them denies: no mapping, no answer.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.words import Frozen
from flame_fl.data.files import PRIVATE, Stamp, replace, stamp
from flame_fl.node.external import FlameHubSection, HubAnswer, HubId, HubIds, HubStatus

_MOST_BYTES, _MOST_SECRET_BYTES = 4 << 20, 4096
Key = tuple[str, str]
"""What was asked about: "project" or "analysis", and its id at the Hub."""


@dataclass(frozen=True)
class HubFiles:
    """Where they lie.

    Attributes:
        state: The node's state folder.
    """

    state: Path

    @property
    def secret(self) -> Path:
        """The client's secret: one line, mode 0600."""
        return self.state / "keys" / "flame-hub.secret"

    @property
    def ids(self) -> Path:
        """Which id is which."""
        return self.state / "flame-hub.json"

    @property
    def answers(self) -> Path:
        """The last answers, and what was approved before."""
        return self.state / "flame-hub-answers.json"


def read_secret(path: Path) -> str:
    """The client's secret. No error says anything of what is in the file.

    Raises:
        InputError: There is no such file, it is a link, others than its owner can use it, or it is not one line.
    """
    word = _secret_in(path).removesuffix(b"\n")
    if not word or not all(33 <= byte <= 126 for byte in word):
        raise InputError(f"{path} does not hold a secret.", mend="Put the client's secret there, alone on one line.")
    return word.decode("ascii")


def _secret_in(path: Path) -> bytes:
    try:
        # not blocking: the name may be a pipe's
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as err:
        raise InputError(
            f"The FLAME Hub client's secret {path} cannot be read ({err.strerror}).",
            mend="docs/flame-hub.md says how to put it there.",
        ) from None
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise InputError(f"{path} is not a file.", mend="Put the client's secret there, alone on one line.")
        if seen.st_mode & 0o077:
            raise InputError(f"Others than its owner can use {path}.", mend=f"Run: chmod 600 {path}")
        return os.read(descriptor, _MOST_SECRET_BYTES)
    finally:
        os.close(descriptor)


# --- which id is which ---------------------------------------------------------------------------------------------


def read_ids(files: HubFiles) -> HubIds:
    """Which id is which; nothing is mapped if there is no file.

    Raises:
        InputError: It is not as it should be.
    """
    try:
        return HubIds.model_validate_json(_bounded(files.ids))
    except FileNotFoundError:
        return HubIds()
    except (OSError, ValueError):
        raise InputError(
            f"{files.ids} is not what `flame node flame-hub map` writes, so no analysis is mapped.",
            mend="Move it away and map anew.",
        ) from None


def write_ids(files: HubFiles, ids: HubIds) -> None:
    """Keep it.

    Raises:
        FlameError: It cannot be written.
    """
    _write(files.ids, ids.model_dump_json(indent=1))


@dataclass
class IdsFile:
    """The mapping as it is now: read again whenever the file is another one."""

    files: HubFiles
    _seen: Stamp | None = field(default=None, init=False)
    _ids: HubIds = field(default_factory=HubIds, init=False)

    def now(self) -> HubIds:
        """What is mapped; nothing if the file is missing or is none of ours."""
        try:
            seen = stamp(self.files.ids)
            if seen != self._seen:
                self._ids, self._seen = read_ids(self.files), seen
        except (OSError, InputError):
            self._ids, self._seen = HubIds(), None
        return self._ids


# --- the last answers ----------------------------------------------------------------------------------------------


class _Answer(Frozen):
    kind: Annotated[str, Field(pattern=r"^(project|analysis)$")]
    id: HubId
    status: HubStatus
    asked_at: Annotated[float, Field(ge=0)]
    was_approved: bool
    row: str = ""
    project: str = ""


class _Answers(Frozen):
    version: Annotated[int, Field(ge=1, le=1)] = 1
    core_url: str
    node_id: str
    answers: tuple[_Answer, ...] = ()


def read_answers(files: HubFiles, section: FlameHubSection) -> dict[Key, HubAnswer]:
    """The last answers of this Hub about this node; none if the file is missing, broken, or of another Hub or node."""
    try:
        found = _Answers.model_validate_json(_bounded(files.answers))
    except (OSError, ValueError):
        return {}
    if (found.core_url, found.node_id) != (section.core_url, section.node_id):
        return {}
    return {
        (one.kind, one.id): HubAnswer(one.status, one.asked_at, one.was_approved, one.row, one.project)
        for one in found.answers
    }


def write_answers(files: HubFiles, section: FlameHubSection, answers: Mapping[Key, HubAnswer]) -> None:
    """Keep them over a restart.

    Raises:
        FlameError: They cannot be written.
    """
    rows = [{"kind": kind, "id": hub_id, **asdict(answer)} for (kind, hub_id), answer in sorted(answers.items())]
    table = {"version": 1, "core_url": section.core_url, "node_id": section.node_id, "answers": rows}
    _write(files.answers, json.dumps(table, indent=1))


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("too large")
    return data


def _write(path: Path, text: str) -> None:
    try:
        replace(path, text.encode(), PRIVATE)
    except OSError as err:
        raise FlameError(
            f"{path} cannot be written ({err.strerror}).", mend="See its folder's owner and room."
        ) from err
