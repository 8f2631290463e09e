"""What the hub keeps of each run on disk, so that an agent that starts anew goes on where the last one ended.

```
runs/<run id>/task.json       what runs, and as which process or container (0600: it holds the task's token)
runs/<run id>/s/r             the socket, in the only folder that a container sees
runs/<run id>/events.jsonl    what the ServerApp's side told
runs/<run id>/out/            its artefacts
runs/<run id>/checkpoint/     what the ServerApp would go on from if it died; gone when the run is over
runs/<run id>/app.log         what it printed, in a subprocess
```
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from flame_fl.data.files import remove_tree
from flame_fl.flower.server_tasks import ServerTask

SOCKET = "r"


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run's task.

    Attributes:
        handle: How its process or container is found again.
        restarts: How often its ServerApp was started again after it had died.
    """

    task_id: int
    run_id: int
    fab_sha256: str
    token: str
    began: float
    handle: dict[str, Any] | None = None
    ended: str = ""
    restarts: int = 0

    def __repr__(self) -> str:
        return f"RunRecord(run_id={self.run_id})"

    @classmethod
    def of(cls, task: ServerTask, began: float) -> Self:
        """A task that was just claimed."""
        return cls(task.task_id, task.run_id, task.fab_sha256, task.token, began)


class RunFolder:
    """One run's folder."""

    def __init__(self, runs: Path, run_id: int) -> None:
        self.run_id, self.path = run_id, runs / str(run_id)

    @property
    def socket_folder(self) -> Path:
        """Holds the socket and nothing else."""
        return self.path / "s"

    @property
    def events(self) -> Path:
        """JSON lines."""
        return self.path / "events.jsonl"

    @property
    def out(self) -> Path:
        """Artefacts."""
        return self.path / "out"

    @property
    def checkpoint(self) -> Path:
        """What a ServerApp that is started again goes on from."""
        return self.path / "checkpoint"

    @property
    def has_checkpoint(self) -> bool:
        """Whether a round of the run was completed and kept (`flame_strategies.checkpoint`)."""
        return any(self.checkpoint.glob("*/*/state.json"))

    def tell(self, kind: str, **fields: Any) -> None:
        """Write an event of the hub's own among the run's. Nobody else may be writing."""
        event = {"kind": kind, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        with self.events.open("a", encoding="ascii") as file:
            file.write(json.dumps(event, separators=(",", ":")) + "\n")

    @property
    def log(self) -> Path:
        """What a subprocess printed."""
        return self.path / "app.log"

    @property
    def scratch(self) -> Path:
        """A subprocess's working folder."""
        return self.path / "scratch"

    def make(self) -> None:
        """Make the folders. Only the socket's is open to others, inside one that is not."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket_folder.mkdir(exist_ok=True)
        self.socket_folder.chmod(0o755)
        self.out.mkdir(mode=0o700, exist_ok=True)
        self.checkpoint.mkdir(mode=0o700, exist_ok=True)

    def write(self, record: RunRecord) -> RunRecord:
        """Keep a record, readable by its owner only."""
        temporary = self.path / ".task.json.new"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / "task.json")
        return record

    def end(self, record: RunRecord, why: str) -> RunRecord:
        """The task is over: its token is forgotten, and what it would have gone on from goes."""
        remove_tree(self.checkpoint)
        return self.write(replace(record, token="", handle=None, ended=why))

    def read(self) -> RunRecord | None:
        """The record, None if there is none that can be read."""
        try:
            return RunRecord(**json.loads((self.path / "task.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None


def unfinished(runs: Path) -> Iterator[tuple[RunFolder, RunRecord]]:
    """Runs whose task has not ended, as far as this folder knows."""
    for entry in sorted(runs.iterdir()) if runs.is_dir() else []:
        if entry.name.isdigit():
            folder = RunFolder(runs, int(entry.name))
            record = folder.read()
            if record is not None and record.token:
                yield folder, record
