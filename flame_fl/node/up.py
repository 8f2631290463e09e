"""`flame node up`: the SuperNode and the gate, in the foreground, until told to stop.

The SuperNode is a child of this process and is started again whenever it ends. The gate is this process. One lock per
state folder: two gates of one node would be two ledgers' worth of answers.
"""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from flame_fl.contract.canonical import digest
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.data.files import remove_tree
from flame_fl.flower.runtime import NodeRuntime
from flame_fl.flower.supernode import supernode_command, supernode_environment
from flame_fl.flower.versions import require_tested_flower
from flame_fl.gate.signatures import read_private_key
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Event
from flame_fl.node.agent import Agent
from flame_fl.node.hub_approvals import FlameHub, open_external, report_to
from flame_fl.node.rules import decide_by_rules
from flame_fl.node.wiring import Node, open_gate, open_store
from flame_fl.sandbox.docker import DockerSandbox

Part = Literal["supernode", "gate"]
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_SETTLED_SECONDS = 60.0
_PATIENCE_SECONDS = 15.0


def up(node: Node, say: Callable[[str], None], *, only: Part | None = None) -> None:
    """Run until SIGTERM or Ctrl-C.

    Raises:
        InputError: Something is missing or wrong; nothing was started.
        UnreachableError: The Docker Engine does not answer.
    """
    flower = require_tested_flower()
    say(f"{node.config.node.name}: Flower {flower}, hub {node.config.hub.address}")
    stop = threading.Event()
    with ExitStack() as closing:
        agent = None if only == "supernode" else _agent(node, say, closing)

        def end(*_: object) -> None:
            stop.set()
            if agent is not None:
                agent.stop()

        closing.enter_context(_signals(end))
        if only == "gate":
            assert agent is not None  # noqa: S101  (made above)
            agent.run()
        elif agent is None:
            SuperNode(node, say, stop).run()
        else:
            keeper = _Keeper(SuperNode(node, say, stop), end)
            keeper.start()
            try:
                agent.run()
            finally:
                stop.set()
                keeper.join()
            if keeper.failed is not None:
                raise keeper.failed
    say("stopped")


class _Keeper(threading.Thread):
    """Keeps the SuperNode beside the gate; if it cannot, the gate ends too, and says why."""

    def __init__(self, supernode: "SuperNode", end: Callable[[], None]) -> None:
        super().__init__(name="supernode")
        self._supernode, self._end = supernode, end
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            self._supernode.run()
        except BaseException as err:  # a thread's own errors go nowhere
            self.failed = err
            self._end()


def _agent(node: Node, say: Callable[[str], None], closing: ExitStack) -> Agent:
    closing.enter_context(one_gate(node))
    remove_tree(node.files.views)  # what an earlier gate left; nothing else may hold patients' data
    store = open_store(node, closing)
    entries, _ = store.verify_audit()
    for lock in store.locks.open():
        say(f"LOCKED since {lock.at}: {lock.why}; messages are refused (903) until `flame node reconcile`")
    try:
        store.require_head_kept()
    except OSError as err:
        raise InputError(f"The last head cannot be kept in {node.files.keys}.", mend="Make it writable.") from err
    key = read_private_key(node.files.identity_key)
    note_start(node, store)
    closing.callback(note_end, store)
    external = open_external(node.config.flame_hub, node.files.state, say)
    flame_hub = external if isinstance(external, FlameHub) else None

    def tell(event: Event) -> None:
        say(told(event))
        if flame_hub is not None:
            report_to(flame_hub, store, event)

    gate = open_gate(node, store, external=external, on_event=tell)
    if isinstance(gate.sandbox, DockerSandbox) and (found := gate.sandbox.remove_orphans()):
        say(f"removed {found} containers that an earlier gate left")
    offered = (
        ", ".join(
            f"{r.name} ({r.current.patients} patients{', mock' if r.current.spec.mock else ''})"
            for r in node.data.registry.all().values()
        )
        or "none yet"
    )
    say(f"audit chain holds ({entries} entries); data stores: {offered}")
    if node.config.demo.approve_content:
        say("DEMO: a rule stands in for the steward; only for demonstrations")
    closing.callback(gate.stop)
    runtime = NodeRuntime(
        node.config.supernode.address,
        node.files.secret.read_bytes(),
        max_message_bytes=node.config.limits.max_message_bytes,
    )
    closing.callback(runtime.close)
    return Agent(
        runtime,
        gate,
        store,
        say,
        by_rules=lambda run: decide_by_rules(gate, run, node.config, key),
        idle_seconds=node.config.limits.session_idle_seconds,
        keep_replies_days=node.config.limits.keep_replies_days,
        keep=flame_hub.keep if flame_hub else None,
    )


def note_start(node: Node, store: Store) -> None:
    """Record that the gate starts, and with which settings; that they are others than before, too."""
    settings = digest(node.config.model_dump(mode="json"))
    before = (store.last_of("gate-started") or {}).get("settings", "")
    if before and before != settings:
        store.record("settings-changed", {"settings": settings, "before": before})
    said = {"version": version("flame-fl"), "flower": version("flwr"), "settings": settings}
    store.record("gate-started", said)
    store.checkpoint()


def note_end(store: Store) -> None:
    """Record that the gate ends."""
    store.record("gate-stopped", {"version": version("flame-fl")})
    store.checkpoint()


@contextmanager
def one_gate(node: Node) -> Iterator[None]:
    """Hold the lock of a node's state; it goes with the process, however that ends.

    Raises:
        InputError: Another gate holds it.
    """
    with node.files.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"A gate of this node runs already ({node.files.lock} is held).", mend="`flame node down` ends it."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def running_gate(node: Node) -> int | None:
    """The process id of the gate that runs, or None."""
    try:
        with node.files.lock.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read() or 0) or None
    except (OSError, ValueError):
        pass
    return None


def down(node: Node) -> bool:
    """End the gate that runs, and its SuperNode; returns whether one did.

    Raises:
        FlameError: It does not end.
    """
    pid = running_gate(node)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _PATIENCE_SECONDS
    while running_gate(node) == pid:
        if time.monotonic() > until:
            raise FlameError(f"The gate (process {pid}) does not end.", mend="See its log; end it by its number.")
        time.sleep(0.1)
    return True


@dataclass
class SuperNode:
    """Keeps Flower's SuperNode running."""

    node: Node
    say: Callable[[str], None]
    stop: threading.Event

    def run(self) -> None:
        """Start it, and start it again when it ends, until `stop` is set."""
        pause = _FIRST_PAUSE_SECONDS
        while not self.stop.is_set():
            began = time.monotonic()
            code = self._once()
            if self.stop.is_set():
                return
            pause = _FIRST_PAUSE_SECONDS if time.monotonic() - began > _SETTLED_SECONDS else pause
            self.say(
                f"the SuperNode ended (exit code {code}); its log is {self._log}; starting it again in {pause:g} s"
            )
            self.stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    @property
    def _log(self) -> str:
        return str(self.node.files.logs / "supernode.log")

    def _once(self) -> int:
        config, files = self.node.config, self.node.files
        command = supernode_command(
            hub=config.hub.address,
            ca=files.ca(config),
            key=files.flower_key,
            secret=files.secret,
            host=config.supernode.host,
            port=config.supernode.port,
            poll_seconds=config.supernode.poll_seconds,
            parent=os.getpid(),
        )
        home = files.state / "flower"
        home.mkdir(mode=0o700, exist_ok=True)
        files.logs.mkdir(mode=0o700, exist_ok=True)
        with open(self._log, "ab") as log:  # noqa: PTH123
            process = subprocess.Popen(  # noqa: S603  (our own module, by this interpreter)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=supernode_environment(home),
                start_new_session=True,
            )
        while process.poll() is None and not self.stop.wait(0.2):
            pass
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()


def told(event: Event) -> str:
    """One line of the log a person reads. Details are the node's own; they never leave."""
    run = f"run {event.run_id}"
    if event.kind == "refused":
        return f"{run} {event.message_type}: refused {event.code} ({event.detail})"
    size = f"{event.bytes_out / 1e6:.2f} MB" if event.bytes_out > 10_000 else f"{event.bytes_out} bytes"
    zero = f"; zero vector because: {event.detail}" if event.detail else ""
    return f"{run} {event.message_type}: {event.kind} {size} in {event.seconds:.2f} s{zero}"


@contextmanager
def _signals(end: Callable[..., None]) -> Iterator[None]:
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
