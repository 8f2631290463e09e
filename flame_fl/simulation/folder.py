"""The folder of a run: what it is, so that an unfinished one can be resumed and a finished one is never overwritten."""

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.terms import Scalar

_PLAN = "run.json"
_NEW_PLAN = "run.json.new"
_LOCK = ".lock"
FINISHED = "result.json"
_IN_WORDS = {"analysis_digest": "the app or its terms", "overrides": "--run-config", "noise_seed": "the noise's seed"}


@dataclass(frozen=True)
class Plan:
    """What makes a run that run. Resuming needs it to be equal."""

    run_id: int
    analysis_digest: str
    seed: int
    sandbox: str
    policy: str
    nodes: tuple[str, ...]
    deny: tuple[str, ...] = ()
    overrides: dict[str, Scalar] = field(default_factory=dict)
    state: str | None = None
    noise_seed: int | None = None


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


def open_folder(wanted: Path) -> "RunFolder":
    """The folder of an unfinished or new run at `wanted`, locked.

    Raises:
        InputError: It holds something else, cannot be written, or another process uses it.
    """
    while True:
        folder = RunFolder(choose_folder(wanted))
        if not (folder.path / FINISHED).exists():
            return folder
        folder.close()  # its run finished between the look and the lock


class RunFolder:
    """An open run folder, locked against a second process.

    Until `keep` is called, closing it takes away what was written into it: a run that never began leaves nothing.
    """

    def __init__(self, path: Path) -> None:
        self._made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            held = {entry.name for entry in path.iterdir()} - {_LOCK, _NEW_PLAN}
            if held and _PLAN not in held:
                raise InputError(f"The folder {path} is not empty and holds no run.", mend="Choose another --out.")
            self._kept = _PLAN in held  # a run that was begun is never taken away
            self._lock: IO[str] = (path / _LOCK).open("w")
        except OSError as err:
            raise InputError(
                f"The run folder {path} cannot be written ({err.strerror}).", mend="Choose another --out."
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
            return Plan(**{**raw, "nodes": tuple(raw["nodes"]), "deny": tuple(raw["deny"])})
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise VerificationError(
                f"{file} is no plan of a run that can be read.", mend="Choose another --out."
            ) from err

    def begin(self, plan: Plan) -> Plan:
        """Write the plan, or find the same one here: then the run was begun before, and goes on under its own id.

        Returns:
            The plan that holds; its `run_id` is another one if the run was begun before.

        Raises:
            InputError: A different run was begun here and has not finished.
            VerificationError: What was begun here cannot be read.
        """
        before = self.plan()
        if before is None:
            temporary = self.path / _NEW_PLAN
            temporary.write_text(json.dumps(asdict(plan), indent=1, sort_keys=True))
            os.replace(temporary, self.path / _PLAN)  # noqa: PTH105
            return plan
        old, new = asdict(before), asdict(plan)
        if changed := [_IN_WORDS.get(k, f"--{k}") for k in new if k != "run_id" and old[k] != new[k]]:
            raise InputError(
                f"The unfinished run in {self.path} differs in {', '.join(changed)}.",
                mend="Repeat it with the same settings to resume it, or choose another --out.",
            )
        return before

    def keep(self) -> None:
        """The run has begun, or begins now: the folder stays whatever happens."""
        self._kept = True

    def close(self) -> None:
        """Release the lock; take away a folder in which nothing began."""
        if not self._kept:
            for entry in list(self.path.iterdir()):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)
            if self._made:
                with contextlib.suppress(OSError):
                    self.path.rmdir()
        self._lock.close()
