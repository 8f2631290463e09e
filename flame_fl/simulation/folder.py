"""The folder of a run: what it is, so that an unfinished one can be resumed and a finished one is never overwritten."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.terms import Scalar

_PLAN = "run.json"
FINISHED = "result.json"


@dataclass(frozen=True)
class Plan:
    """What makes a run that run. Resuming needs it to be equal."""

    run_id: int
    analysis_digest: str
    seed: int
    sandbox: str
    policy: str
    nodes: tuple[str, ...]
    overrides: dict[str, Scalar]


def default_folder(app: str, digest: str, seed: int) -> Path:
    """`./flame-runs/<app>-<digest8>-<seed>`."""
    return Path("flame-runs") / f"{app.rpartition('/')[2]}-{digest[:8]}-{seed}"


def choose_folder(wanted: Path) -> Path:
    """`wanted`, or the next free number after it if a run has finished there."""
    folder, number = wanted, 2
    while (folder / FINISHED).exists():
        folder = wanted.with_name(f"{wanted.name}-{number}")
        number += 1
    return folder


class RunFolder:
    """An open run folder, locked against a second process."""

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (path / ".lock").open("w")
        except OSError as err:
            raise InputError(
                f"The run folder {path} cannot be written ({err.strerror}).", mend="Choose --out."
            ) from err
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(
                f"Another process is using the run folder {path}.", mend="Wait for it, or choose another --out."
            ) from None
        self.path = path.resolve()

    def plan(self) -> Plan | None:
        """The plan of the run that was begun here.

        Raises:
            VerificationError: There is one that cannot be read.
        """
        file = self.path / _PLAN
        if not file.exists():
            return None
        try:
            raw = json.loads(file.read_text())
            return Plan(**{**raw, "nodes": tuple(raw["nodes"])})
        except (ValueError, TypeError, KeyError) as err:
            raise VerificationError(f"{file} is no plan of a run.", mend="Choose another --out.") from err

    def begin(self, plan: Plan) -> bool:
        """Write the plan; True if the run was begun before and goes on now.

        Raises:
            InputError: A different run was begun here and has not finished.
        """
        before = self.plan()
        if before is None:
            temporary = self.path / f"{_PLAN}.tmp"
            temporary.write_text(json.dumps(asdict(plan), indent=1, sort_keys=True))
            os.replace(temporary, self.path / _PLAN)  # noqa: PTH105
            return False
        if before != plan:
            changed = [k for k, v in asdict(plan).items() if asdict(before)[k] != v]
            raise InputError(
                f"An unfinished run in {self.path} differs in {', '.join(changed)}.",
                mend="Repeat it with the same settings to resume it, or choose another --out.",
            )
        return True

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()
