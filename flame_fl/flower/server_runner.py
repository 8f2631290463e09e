"""Runs one ServerApp, in a hub's container or process.

`python -m flame_fl.flower.server_runner --socket S --out DIR --checkpoint DIR`

All it is told is where its socket and its folders are. A run whose ServerApp died is run again in the same way: the
relay then has checkpoints for it (`server_checkpoint`). The researcher's code runs in this process: nothing here
is trusted by the hub, which has its own limits (`flame_fl.hub.relay`).
"""

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # as in a simulation, before NumPy is imported: sums come out the same
for _name, _value in (("FLWR_TELEMETRY_ENABLED", "0"), ("FLWR_DISABLE_UPDATE_CHECK", "1")):
    os.environ[_name] = _value

import httpx  # noqa: E402
from flwr.common.constant import SubStatus  # noqa: E402
from flwr.proto.runtime_pb2 import (  # noqa: E402
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.logger import (  # noqa: E402
    mirror_output_to_queue,
    start_log_uploader,
    stop_log_uploader,
)
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

from flame_fl.contract.errors import FlameError  # noqa: E402
from flame_fl.contract.fab import Fab, read_fab  # noqa: E402
from flame_fl.contract.manifest import manifest_of  # noqa: E402
from flame_fl.contract.terms import Federation, Scalar, Terms  # noqa: E402
from flame_fl.flower.identity import take_identity  # noqa: E402
from flame_fl.flower.server_app import run_server_app  # noqa: E402
from flame_fl.flower.server_checkpoint import Checkpoints  # noqa: E402
from flame_fl.flower.server_client import Patient, RelayClient, RunOverError  # noqa: E402
from flame_fl.flower.server_events import EventLog  # noqa: E402
from flame_fl.flower.server_gather import Gathering  # noqa: E402
from flame_fl.flower.server_grid import RelayGrid  # noqa: E402

_HEARTBEAT_SECONDS = 15.0
_MAX_DETAILS = 2000
SEED = 1  # a simulation's default: the same app draws the same numbers


@dataclass(frozen=True)
class _Input:
    task_id: int
    run: Any
    fab: Fab
    config: dict[str, Scalar]
    terms: Terms | None


def main() -> int:
    """Run the one ServerApp that waits behind the socket. Exit code 0 if it finished."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    options = parser.parse_args()
    log: Queue[str | None] = Queue()
    mirror_output_to_queue(log)
    client = RelayClient(options.socket, Patient())
    events = EventLog(client.send_events)
    try:
        with _heartbeats(client):
            return _run(client, events, log, options.out, options.checkpoint)
    except RunOverError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    finally:
        client.close()


def _run(client: RelayClient, events: EventLog, log: "Queue[str | None]", out: Path, checkpoint: Path) -> int:
    checkpoints = Checkpoints(client, checkpoint)
    status, details = SubStatus.FAILED, "The ServerApp did not begin."
    uploader: threading.Thread | None = None
    try:
        given = _pull_input(client)
        uploader = start_log_uploader(log, 0, given.run.run_id, client)
        events.write(
            "run",
            phase="begun",
            app=given.fab.app_id,
            fab_sha256=given.fab.sha256,
            run_config=given.config,
            seed=SEED,
        )
        _serve(client, events, given, out, checkpoints)
        status, details = SubStatus.COMPLETED, ""
    except RunOverError:
        raise
    except FlameError as err:
        details = err.message
        if err.__cause__ is not None:
            _print_cause(err.__cause__)
    except Exception as err:
        details = f"{type(err).__name__}: {err}"
        _print_cause(err)
    lost = _send_artefacts(client, out)
    if status != SubStatus.COMPLETED:
        for fit in sorted(checkpoint.glob("*/")):  # the model of the last complete round is worth having
            _send_artefacts(client, fit, f"checkpoint/{fit.name}/")
    if lost and status == SubStatus.COMPLETED:
        details = f"Not kept, beyond the hub's limits: {', '.join(lost[:5])}"
        sys.stderr.write(f"{details}\n")
    events.write("run", phase="ended", status=status, details=details[:_MAX_DETAILS])
    if uploader is not None:
        stop_log_uploader(log, uploader)
    with suppress(RunOverError):  # the hub has it already, and said so to an answer that was lost
        client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details[:_MAX_DETAILS]))
    return 0 if status == SubStatus.COMPLETED else 1


def _pull_input(client: RelayClient) -> _Input:
    from flwr.common.serde import run_from_proto

    answer = client.PullTaskInput(PullTaskInputRequest())
    fab = read_fab(answer.fab.content)
    run = run_from_proto(answer.run)
    if run.fab_hash and run.fab_hash != fab.sha256:
        raise FlameError("The bundle is not the one that the run names.", mend="Submit it again.")
    manifest = manifest_of(fab)
    return _Input(answer.task_id, run, fab, {**manifest.run_config, **run.override_config}, manifest.terms)


def _sites(client: RelayClient, events: EventLog, given: _Input, checkpoints: Checkpoints) -> tuple[int, ...]:
    """The nodes that the run begins with, once it may; or those that it began with before it was killed.

    Raises:
        NotBegunError: Too few have approved.
    """
    if (sites := checkpoints.fetch()) is not None:
        return sites
    sites = _gather(client, events, given)
    checkpoints.begin(sites)
    return sites


def _gather(client: RelayClient, events: EventLog, given: _Input) -> tuple[int, ...]:
    take_identity(given.run.run_id)  # Flower makes messages only inside a task
    TaskIdentity.task_id = given.task_id
    quiet = RelayGrid(client, EventLog(lambda line: None))
    quiet.set_run(given.run)
    federation = Federation() if given.terms is None else given.terms.federation
    return Gathering(quiet, client, events, federation.min_sites, takes_ungated=given.terms is None).gather()


def _serve(client: RelayClient, events: EventLog, given: _Input, out: Path, checkpoints: Checkpoints) -> None:
    out.mkdir(parents=True, exist_ok=True)
    grid = RelayGrid(client, events, _sites(client, events, given, checkpoints), checkpoints.send)
    grid.set_run(given.run)
    with tempfile.TemporaryDirectory(prefix="flame-app-") as scratch:
        for name, data in given.fab.files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            run_server_app(
                given.fab,
                Path(scratch),
                grid,
                run_id=given.run.run_id,
                config=given.config,
                seed=SEED,
                out=out,
                task_id=given.task_id,
                checkpoint=checkpoints.folder,
            )
        finally:
            with suppress(Exception):  # what is told in the end decides nothing about the run
                grid.tell_heads()


def _send_artefacts(client: RelayClient, out: Path, below: str = "") -> list[str]:
    """Hand over what the app left; returns what was not taken."""
    lost = []
    for path in sorted(out.rglob("*")) if out.is_dir() else []:
        if (
            path.is_symlink()
            or not path.is_file()
            or any(part.startswith(".") for part in path.parts[len(out.parts) :])
        ):
            continue
        name = below + str(path.relative_to(out))
        try:
            client.send_artefact(name, path)
        except (httpx.HTTPError, OSError):
            lost.append(name)
    return lost


@contextmanager
def _heartbeats(client: RelayClient) -> Iterator[None]:
    """Tell the hub that this process lives. When the run is over, the hub ends the process."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            try:
                client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except RunOverError:
                return
            except httpx.HTTPError:
                pass
            stop.wait(_HEARTBEAT_SECONDS)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _print_cause(error: BaseException) -> None:
    """Into the run's log: it is the researcher's own code."""
    import traceback

    sys.stderr.write("".join(traceback.format_exception(error)))


if __name__ == "__main__":
    sys.exit(main())
