"""A federation whose parts are killed: the real programs, stopped at a step of the gate, and what they left behind."""

import contextlib
import hashlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import docker.errors
import pyarrow as pa
import pyarrow.parquet as pq
import requests.exceptions
from docker.models.containers import Container

from flame_fl.contract.errors import UnreachableError
from flame_fl.contract.frames import decode
from flame_fl.federation.plan import Home
from flame_fl.federation.processes import parts, running, start
from flame_fl.hub.config import load_config as load_hub
from flame_fl.node.wiring import open_node
from flame_fl.sandbox.container import OWNER, ROLE
from flame_fl.sandbox.docker import connect
from tests.support.engine import engine

HOOKS = Path(__file__).parents[1] / "integration" / "faults" / "hooks"
ENGINE = Path(__file__).with_name("engine.sh")
NODES = ("DIZ-1", "DIZ-2", "DIZ-3")
POINTS = (
    "verified", "reserving", "reserved", "running", "released", "committing", "recording", "sending", "half-sent",
)  # fmt: skip
"""Where a gate can be stopped, in order: after step 1; in and after 2; in 3; after 4; in 5; in 6; before and while the
reply is handed over."""
PATIENCE_SECONDS = 90.0
ENGINE_SECONDS = 15.0  # an engine that is not there so long after its start is started again


class Debit(NamedTuple):
    """A line of the ledger. All but its state must never change."""

    seq: int
    at: str
    unit: str
    namespace: str
    stores: str
    run: str
    leg: str
    attempt: int
    event: str
    state: str

    @property
    def claims(self) -> bool:
        """Whether it was debited from an account: noise makes such a release another one each time."""
        return self.unit != "none"


@dataclass(frozen=True)
class Ended:
    """How `flame run --json` ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> Any:
        """The JSON it printed."""
        return json.loads(self.out.splitlines()[-1])


def wait_for(look: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """What `look` finds, as soon as it is something."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return found


@dataclass
class Federation:
    """A hub and three nodes in one folder."""

    folder: Path
    image: str
    environment: Mapping[str, str] = field(init=False)
    _runs: "list[AppRun]" = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.environment = {
            **os.environ,
            "FLAME_CONFIG_HOME": str(self.folder / "config"),
            "FLAME_FAULTS": str(self.folder / "faults"),
            "PYTHONPATH": str(HOOKS),
            "COLUMNS": "200",
        }
        for node in NODES:
            (self.folder / "faults" / node).mkdir(parents=True)
            (self.folder / "faults" / node / "armed").touch()

    # --- its programs ------------------------------------------------------------------------------------------

    @property
    def home(self) -> Home:
        """Its folders."""
        return Home(self.folder / "federation")

    def flame(self, *arguments: object, node: str | None = None) -> Ended:
        """Run a command, at a node or as the researcher."""
        began, environment = time.monotonic(), dict(self.environment)
        if node is not None:
            environment["FLAME_HOME"] = str(self.home.node(node).state)
        done = subprocess.run(
            [sys.executable, "-m", "flame_fl.cli.main", *map(str, arguments)],
            capture_output=True, text=True, timeout=300, env=environment, cwd=self.folder, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def at_every_node(self, *arguments: object) -> dict[str, Ended]:
        """The same command at every node, at once. All must end well."""
        with ThreadPoolExecutor(len(NODES)) as pool:
            done = dict(zip(NODES, pool.map(lambda node: self.flame(*arguments, node=node), NODES), strict=True))
        for node, ended in done.items():
            assert ended.code == 0, (node, arguments, ended)
        return done

    def up(self) -> None:
        """`flame federation up`: start what does not run."""
        done = self.flame(
            "federation", "up", "--nodes", len(NODES), "--project", "faults", "--image", self.image,
            "--home", self.home.path, "--detach",
        )  # fmt: skip
        assert done.code == 0, done.err

    def down(self) -> None:
        """`flame federation down`."""
        done = self.flame("federation", "down", "--home", self.home.path)
        assert done.code == 0, done.err

    def start_dead(self) -> None:
        """Start what does not run, without waiting until it is ready: the run waits."""
        with _environ(self.environment):
            for part in parts(self.home, NODES):
                start(self.home, part)

    def offer_data(self) -> None:
        """One small cohort for every node."""
        cohort = self.folder / "cohort"
        cohort.mkdir(mode=0o755)
        pq.write_table(pa.table({"patient": [f"p{i}" for i in range(200)]}), cohort / "cohort.parquet")
        (cohort / "cohort.parquet").chmod(0o644)
        self.at_every_node(
            "node", "data", "add", "cohort", cohort, "--table", "cohort.parquet", "--patient-id", "patient"
        )

    def approve(self, app: Path) -> None:
        """Run an app once, so that it is filed, and have every steward approve it."""
        first = self.run(app).ended()
        assert first.code == 4, first
        filed = self.at_every_node("node", "requests", "--json")
        (digest,) = {request["digest"] for ended in filed.values() for request in json.loads(ended.out)}
        self.at_every_node("node", "approve", digest, "--with-project")

    def run(self, app: Path, *arguments: object) -> "AppRun":
        """`flame run`, in the background."""
        self._runs.append(AppRun(self, app, arguments))
        return self._runs[-1]

    def end_runs(self) -> None:
        """End what still runs: the researcher's side, and the ServerApp, whose run the hub then fails."""
        for run in self._runs:
            run.end()
        self._runs.clear()
        for container in self.containers("hub"):
            with contextlib.suppress(docker.errors.APIError):
                container.kill("SIGKILL")
        wait_for(lambda: not self.containers("hub"), "the end of every ServerApp")

    # --- faults ------------------------------------------------------------------------------------------------

    def arm(self, stops: Iterable[tuple[str, int, str]]) -> None:
        """Ask gates to stop, each as (node, round, point)."""
        for node in NODES:
            for left in (self.folder / "faults" / node).glob("*-*"):
                left.unlink()
        for node, number, point in stops:
            (self.folder / "faults" / node / f"{number}-{point}").touch()

    def await_stop(self, run: "AppRun", node: str, number: int, point: str) -> None:
        """Wait until a run has brought a gate there."""
        reached = self.folder / "faults" / node / f"{number}-{point}.reached"
        wait_for(
            lambda: reached.exists() or run.is_over,
            f"{node} at {number}-{point}; its log ends\n{self.log(node)}\nthe hub's ends\n{self.log('hub')}",
        )
        assert reached.exists(), (run.ended(), node, self.log(node), self.log("hub"))

    def let_go(self, node: str, number: int, point: str) -> None:
        """Let a gate that stopped go on."""
        (self.folder / "faults" / node / f"{number}-{point}.go").touch()

    def gate(self, node: str) -> int:
        """A node's process."""
        return _there(running(self.home, node), node)

    def hub(self) -> int:
        """The hub's process."""
        return _there(running(self.home, "hub"), "hub")

    def child(self, parent: int, module: str) -> int:
        """The child of a process that runs a module."""

        def look() -> int | None:
            for pid in _pids():
                with contextlib.suppress(OSError):
                    if _parent(pid) == parent and module in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                        return pid
            return None

        return int(wait_for(look, f"{module} below {parent}"))

    def log(self, part: str, lines: int = 15) -> str:
        """The end of what a part printed."""
        path = self.home.log(part)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    # --- what is left ------------------------------------------------------------------------------------------

    def rows(self, node: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """A query on a node's state, whatever its gate does at the moment."""
        state = self.home.node(node).state / "state.db"
        with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql, values).fetchall()

    def ledger(self, node: str) -> list[Debit]:
        """A node's debits, oldest first: of one attempt as many as it is debited from accounts."""
        columns = "seq, at, unit, namespace, stores, run_id, leg_id, attempt, event, state"
        return [Debit(*row) for row in self.rows(node, f"SELECT {columns} FROM debits ORDER BY seq")]

    def audit(self, node: str, kind: str, run_id: str) -> list[dict[str, Any]]:
        """The bodies of a node's audit entries of one kind about one run."""
        entries = [json.loads(text) for (text,) in self.rows(node, "SELECT entry FROM audit ORDER BY seq")]
        return [e["body"] for e in entries if e["kind"] == kind and e["body"].get("run") == run_id]

    def owners(self) -> dict[str, str]:
        """What marks the containers of each part."""
        hub = load_hub(self.home.hub).hub.id
        return {"hub": hub} | {node: open_node(self.home.node(node)).config.node.id for node in NODES}

    def containers(self, part: str, role: str | None = None) -> list[Container]:
        """The containers of a part, running or not."""
        labels = [f"{OWNER}={self.owners()[part]}", *([f"{ROLE}={role}"] if role else [])]
        found: list[Container] = engine().containers.list(all=True, filters={"label": labels})
        return found

    def processes(self) -> set[int]:
        """Every process with a home in this folder."""
        found = set()
        for pid in _pids():
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                if f"HOME={self.home.path}".encode() in environment and pid != os.getpid():
                    found.add(pid)
        return found


@dataclass
class AppRun:
    """A `flame run` that goes on."""

    federation: Federation
    app: Path
    arguments: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        known = self._at_hub()
        self._out = self.federation.folder / "out" / hashlib.sha256(os.urandom(8)).hexdigest()[:8]
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "flame_fl.cli.main", "run", str(self.app), "--hub", "local", "--json",
                "--out", str(self._out), *map(str, self.arguments),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.federation.environment, cwd=self.federation.folder,
        )  # fmt: skip
        new = wait_for(lambda: self._at_hub() - known or self._process.poll() is not None, "the run at the hub")
        assert new is not True, self._process.communicate()
        (self.id,) = new

    def _at_hub(self) -> set[str]:
        runs = self.federation.home.hub.state / "runs"
        return {entry.name for entry in runs.iterdir()} if runs.is_dir() else set()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def ended(self, seconds: float = PATIENCE_SECONDS) -> Ended:
        """How it ends; it must within so many seconds."""
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise AssertionError(f"the run did not end within {seconds:.0f} s") from None
        return Ended(self._process.returncode, out, err, time.monotonic() - self._began)

    def end(self) -> None:
        """End the researcher's side."""
        self._process.kill()
        self._process.communicate()

    @property
    def told(self) -> list[dict[str, Any]]:
        """Every reply as the ServerApp got it."""
        value: list[dict[str, Any]] = json.loads((self._out / "told.json").read_text())
        return value

    def attempts(self, node: str) -> dict[int, int]:
        """How often a node's gate reserved each round's leg."""
        legs = self.federation.rows(node, "SELECT leg_id, attempts FROM legs WHERE run_id=? ORDER BY rowid", self.id)
        return dict(enumerate(count for _, count in legs))


def stored(federation: Federation, node: str, run_id: str) -> dict[str, tuple[str, str]]:
    """What a node committed to send, by leg: the array's bytes and the audit head."""
    found = {}
    for leg, reply in federation.rows(
        node, "SELECT leg_id, reply FROM legs WHERE run_id=? AND state='released'", run_id
    ):
        content = decode(reply)[0]
        found[leg] = (content.arrays["arrays"]["x"].tobytes().hex(), str(content.configs["flame"]["audit_head"]))
    return found


def kill(pid: int) -> None:
    """`kill -9`, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not _lives(pid), f"the end of {pid}")


def kill_engine(how: str) -> None:
    """`kill -9` of the Docker Engine, and start it again: by tests/support/engine.sh, or by a command of one's own."""
    (pid,) = _engines(how)
    gone = {pid} | {child for child in _pids() if _parent(child) == pid}  # its containerd ends with it
    kill(pid)
    wait_for(lambda: not any(Path(f"/proc/{dead}").exists() for dead in gone), "its burial: its pid files still count")
    again = ["setsid", "--fork", *([str(ENGINE)] if how == "1" else shlex.split(how))]  # never a child of the tests'
    last = -ENGINE_SECONDS

    def answers() -> bool:
        nonlocal last
        if time.monotonic() - last > ENGINE_SECONDS and not _engines(how):
            last = time.monotonic()
            subprocess.run(again, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=True)
        return _engine_answers()

    wait_for(answers, "the engine")


def _engines(how: str) -> list[int]:
    """The machine's engine; where the tests have one of their own, only the one at DOCKER_HOST."""
    found = [pid for pid in _pids() if _command(pid)[0].endswith("dockerd")]
    return found if how == "1" else [pid for pid in found if os.environ["DOCKER_HOST"] in _command(pid)]


def _engine_answers() -> bool:
    try:
        return bool(connect(timeout_seconds=5).ping())
    except (UnreachableError, docker.errors.DockerException, requests.exceptions.RequestException):
        return False


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return [""]


def _there(pid: int | None, name: str) -> int:
    assert pid is not None, f"{name} does not run"
    return pid


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@contextlib.contextmanager
def _environ(wanted: Mapping[str, str]) -> Any:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
