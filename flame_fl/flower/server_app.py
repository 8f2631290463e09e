"""Loads and calls a ServerApp, for a simulation and for a hub's container: the researcher's own code."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.task_identity import TaskIdentity

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.fab import Fab
from flame_fl.contract.terms import Scalar
from flame_fl.flower.app_host import load_component
from flame_fl.flower.identity import SERVER_NODE_ID, take_identity
from flame_fl.flower.seeding import seed_everything


def run_server_app(
    fab: Fab,
    app_dir: Path,
    grid: Grid,
    *,
    run_id: int,
    config: Mapping[str, Scalar],
    seed: int,
    out: Path,
    task_id: int = 1,
    checkpoint: Path | None = None,
) -> None:
    """Load and call the ServerApp. Its artefacts go to `out` (`FLAME_OUT`), its checkpoints to `FLAME_CHECKPOINT`.

    Without `checkpoint` it writes none, and goes on from none.

    Raises:
        InputError: It cannot be loaded.
        FlameError: It raised; the original error is the cause.
    """
    reference = fab.component("serverapp")
    take_identity(run_id)
    TaskIdentity.task_id = task_id
    seed_everything(seed % 2**32)
    try:
        app = load_component(app_dir, reference)
    except (Exception, SystemExit) as err:
        raise InputError(
            f"The ServerApp {reference} cannot be imported: {type(err).__name__}: {err}.",
            mend="Install what it imports, or correct it; --debug shows where.",
        ) from err
    if not isinstance(app, ServerApp):
        raise InputError(f"{reference} is no flwr.serverapp.ServerApp.", mend="Correct [tool.flwr.app.components].")
    context = Context(run_id, SERVER_NODE_ID, {}, RecordDict(), dict(config))
    kept = None if checkpoint is None else str(checkpoint)
    with _environment("FLAME_OUT", str(out)), _environment("FLAME_CHECKPOINT", kept):
        try:
            app(grid, context)
        except FlameError:
            raise
        except SystemExit as err:
            raise FlameError(
                f"The ServerApp ended the run with sys.exit({err.code!r}).",
                mend="Let its main function return, or raise what went wrong.",
            ) from err
        except Exception as err:
            raise FlameError(
                f"The ServerApp ended with {type(err).__name__}: {err}",
                mend="--debug shows where; the log of the run has what it printed.",
            ) from err


@contextlib.contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    _set(name, value)
    try:
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
