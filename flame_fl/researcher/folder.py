"""Where a run at a hub leaves its files on the researcher's machine: `./flame-runs/<app>-<digest8>-<hub>-<run id>/`.

`hub-run.json` says which run it is, so that it can be followed again after Ctrl-C or a crash.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Scalar

PLAN = "hub-run.json"
FINISHED = "result.json"
LOG = "logs/server.log"
_OWN = frozenset({PLAN, FINISHED, "report.html", "logs"})
_ROOT = Path("flame-runs")


@dataclass(frozen=True)
class HubRun:
    """A run that was submitted."""

    run_id: int
    hub: str
    project: str
    app: str
    analysis_digest: str
    fab_sha256: str
    submitted: str
    overrides: dict[str, Scalar] = field(default_factory=dict)


def default_folder(app: str, digest: str, hub: str, run_id: int) -> Path:
    """`./flame-runs/<app>-<digest8>-<hub>-<run id>`."""
    return _ROOT / f"{app.rpartition('/')[2]}-{digest[:8]}-{hub}-{run_id}"


def make_folder(folder: Path, run: HubRun) -> Path:
    """A run's folder, new or its own from before.

    Raises:
        InputError: It holds something else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = read_plan(folder)
        if before is None and any(folder.iterdir()):
            raise InputError(f"The folder {folder} is not empty and holds no run.", mend="Choose another --out.")
        if before is not None and before.run_id != run.run_id:
            raise InputError(f"The folder {folder} holds another run.", mend="Choose another --out.")
        if before is None:
            (folder / PLAN).write_text(json.dumps(asdict(run), indent=1, sort_keys=True))
    except OSError as err:
        raise InputError(
            f"The folder {folder} cannot be written ({err.strerror}).", mend="Choose another --out."
        ) from err
    return folder


def read_plan(folder: Path) -> HubRun | None:
    """The run of a folder, None if it holds none."""
    try:
        return HubRun(**json.loads((folder / PLAN).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def find_run(hub: str, run_id: int, out: Path | None) -> Path | None:
    """The folder of a run that was submitted from here."""
    candidates = [out] if out is not None else sorted(_ROOT.glob(f"*-{run_id}")) if _ROOT.is_dir() else []
    for folder in candidates:
        plan = read_plan(folder)
        if plan is not None and (plan.hub, plan.run_id) == (hub, run_id):
            return folder
    return None


def artefact_path(folder: Path, name: str) -> Path | None:
    """Where a file from the hub goes; None if its name is not plain, or one of our own files'."""
    path = PurePosixPath(name)
    if (
        not path.parts
        or str(path) != name
        or path.is_absolute()
        or path.parts[0] in _OWN
        or any(part.startswith(".") for part in path.parts)
        or re.search(r"[\x00-\x1f\x7f\\]", name)
    ):
        return None
    return folder / name
