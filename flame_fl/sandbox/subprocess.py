"""The subprocess sandbox: one warm worker process per run and node, spoken to in frames.

It keeps an app's crash, hang or flood away from the gate. It does not confine hostile code: the worker has the user's
files and network. It is what simulations use on the researcher's own machine; a node with real data refuses it.

The worker is a fork of a warm process (`nursery`). It leads its own process group, gets an environment of a few named
variables, a scratch folder with the FAB unpacked read-only, and one thread for BLAS. Ending it kills the whole group (a
process that left the group on purpose survives: that takes a container). No file it writes, its log included, grows
beyond a limit set from here.
"""

import contextlib
import os
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import SandboxSpec
from flame_fl.data.files import remove_tree
from flame_fl.sandbox.nursery import Nursery, Worker
from flame_fl.sandbox.pipes import FramePipe
from flame_fl.sandbox.scratch import unpack
from flame_fl.sandbox.session import RUNNER, FrameSession

MAX_FILE_BYTES = 1 << 30
_APP = "app"
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class SubprocessSandbox:
    """Starts workers with this interpreter.

    Args:
        runner: The module that speaks frames with the gate.
        max_file_bytes: How large a file of a worker may grow, its log included.
        preload: Installed modules that workers find imported already, because they are slow to import.
    """

    def __init__(
        self, runner: str = RUNNER, *, max_file_bytes: int = MAX_FILE_BYTES, preload: Sequence[str] = ()
    ) -> None:
        self._runner, self._max_file_bytes = runner, max_file_bytes
        self._nursery = Nursery(_environment(), preload)

    def warm_up(self) -> None:
        """Begin with what every worker needs; a failure shows when the first one is started."""
        with contextlib.suppress(OSError):
            self._nursery.warm_up()

    def kind_of(self, app: str) -> str:
        """The same for every app."""
        del app
        return "subprocess"

    def start(self, spec: SandboxSpec) -> FrameSession:
        """Start a worker; it loads the app with its first message, inside that message's deadline.

        Raises:
            SandboxError: The bundle cannot be unpacked, or the process not started.
        """
        scratch: Path | None = None
        try:
            scratch = Path(tempfile.mkdtemp(prefix="flame-sandbox-"))
            unpack(spec.fab, scratch / _APP)
            worker, pipe = self._fork(spec.log_path, scratch)
        except OSError as err:
            if scratch is not None:
                remove_tree(scratch)
            raise SandboxError(f"The worker could not be started ({err.strerror or err}).") from err
        hello = spec.hello(str(scratch / _APP), lambda name, path: str(path))
        return FrameSession(worker, pipe, hello, lambda: remove_tree(scratch))

    def _fork(self, log_path: Path, scratch: Path) -> tuple[Worker, FramePipe]:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        from_worker, to_worker = os.pipe(), os.pipe()
        pipe = FramePipe(from_worker[0], to_worker[1])  # owns the gate's ends from here on
        try:
            with log_path.open("ab") as log:
                descriptors = to_worker[0], from_worker[1], log.fileno()
                worker = self._nursery.start(self._runner, scratch, _places(scratch), descriptors)
        except OSError:
            pipe.close()
            raise
        finally:
            os.close(to_worker[0])
            os.close(from_worker[1])
        with contextlib.suppress(OSError):  # it may have died already; the first message will say so
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (self._max_file_bytes, self._max_file_bytes))
            resource.prlimit(worker.pid, resource.RLIMIT_CORE, (0, 0))
        return worker, pipe


def _environment() -> dict[str, str]:
    """What every worker finds in its environment: nothing of the user's but what is named here."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return (
        passed_on
        | _ONE_THREAD
        | {
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )


def _places(scratch: Path) -> dict[str, str]:
    """What one worker finds there beside: its own folders."""
    return {"HOME": str(scratch), "TMPDIR": str(scratch), "FLWR_HOME": str(scratch / "flwr")}
