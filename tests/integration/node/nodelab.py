"""A hub with a node of ours beside it: everything real, in one folder, without Docker unless a test asks for it."""

import os
import signal
import subprocess
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import manifest_of
from flame_fl.contract.places import Places
from flame_fl.flower.bundle import build_fab
from flame_fl.flower.runtime import NodeRuntime
from flame_fl.gate.approval import Status
from flame_fl.gate.workflow import Event, Gate
from flame_fl.node.agent import Agent
from flame_fl.node.up import told
from flame_fl.node.wiring import Node, open_gate, open_node, open_store
from tests.integration.hub.lab import Lab, free_port, wait_for
from tests.integration.runs import FLAME, GIVE_UP_SECONDS, TOY, Done, edited, seen
from tests.support.stewards import decide


def toy(into: Path, number: int, *edits: tuple[str, str, str]) -> Path:
    """The toy as a real node runs it. Each number is an analysis of its own."""
    into.mkdir(parents=True, exist_ok=True)
    return edited(
        TOY,
        into,
        ("pyproject.toml", 'version = "0.1.0"', f'version = "0.1.{number}"'),
        ("toy/client_app.py", 'index = int(context.node_config["partition-id"])', "index = 0"),
        (
            "toy/server_app.py",
            'x = result.arrays["x"].numpy()',
            'x = result.arrays["x"].numpy() if result.arrays else 0.0',
        ),
        # a bundle's own text is at the hub: what the app says must not be in it as one word
        ("toy/client_app.py", '"patient Mustermann, born 1970"', '"patient Muster" + "mann, born 1970"'),
        *edits,
    )


@dataclass
class NodeLab(Lab):
    """A hub, and nodes of ours that a test may kill."""

    @property
    def node_home(self) -> Path:
        """FLAME_HOME of the node called DIZ-1."""
        return self.root / "DIZ-1-home"

    @property
    def places(self) -> Places:
        """The node's settings and state."""
        return Places(self.node_home / "node.toml", self.node_home)

    def make_node(self, sandbox: str = "subprocess", image: str = "") -> None:
        """Make DIZ-1, and let it into the project."""
        done = self.node(
            "init", "--name", "DIZ-1", "--hub", f"localhost:{self.port}", "--ca", self.ca, "--port", free_port(),
            "--image", image,
        )  # fmt: skip
        assert done.code == 0, done.err
        config = self.node_home / "node.toml"
        config.write_text(config.read_text().replace('kind = "docker"', f'kind = "{sandbox}"'))
        done = self.flame("hub", "node", "add", "DIZ-1", self.node_home / "keys" / "flower.pub", "--project", "steps")
        assert done.code == 0, done.err

    def node(self, *arguments: object) -> Done:
        """`flame node …` to its end."""
        done = subprocess.run(
            [FLAME, "node", *map(str, arguments)],
            capture_output=True, text=True, timeout=GIVE_UP_SECONDS, check=False, cwd=self.root,
            env={**self.environment, "FLAME_HOME": str(self.node_home)},
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def node_up(self, *arguments: object) -> None:
        """`flame node up` in the background, until it is connected."""
        before = self.node_said().count("connected to the SuperNode")
        with (self.root / "node-up.log").open("ab") as out:
            self.processes["node"] = subprocess.Popen(
                [FLAME, "node", "up", *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.root,
                env={**self.environment, "FLAME_HOME": str(self.node_home)},
            )  # fmt: skip
        wait_for(
            lambda: (
                self.node_said().count("connected to the SuperNode") > before
                or self.processes["node"].poll() is not None
            ),
            "the node",
        )
        assert self.processes["node"].poll() is None, self.node_said()
        wait_for(lambda: "SuperNode ID" in self.supernode_log(), "the SuperNode")

    def node_said(self) -> str:
        """What `flame node up` printed."""
        log = self.root / "node-up.log"
        return log.read_text() if log.exists() else ""

    def supernode_log(self) -> str:
        """What Flower's SuperNode printed."""
        log = self.node_home / "logs" / "supernode.log"
        return log.read_text() if log.exists() else ""

    def supernodes(self) -> list[int]:
        """Processes of this node's SuperNode."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    words = (folder / "cmdline").read_bytes()
                    if b"flame_fl.flower.supernode" in words and os.fsencode(self.node_home) in words:
                        found.append(int(folder.name))
        return found

    def start_supernode(self) -> None:
        """`flame node up --only supernode`."""
        before = self.supernode_log().count("SuperNode ID")
        with (self.root / "node-up.log").open("ab") as out:
            self.processes["supernode"] = subprocess.Popen(
                [FLAME, "node", "up", "--only", "supernode"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.root,
                env={**self.environment, "FLAME_HOME": str(self.node_home)},
            )  # fmt: skip
        wait_for(lambda: self.supernode_log().count("SuperNode ID") > before, "the SuperNode")

    def end_supernode(self) -> None:
        """And wait until it has ended."""
        self.kill("supernode", signal.SIGTERM)
        wait_for(lambda: not self.supernodes(), "its end")

    @property
    def opened(self) -> Node:
        """The node, opened in this process."""
        return open_node(self.places)

    def file(self, app: Path, status: Status = Status.APPROVED) -> str:
        """Decide about an app before it was ever seen, as its first run and the steward would. Returns its digest."""
        manifest = manifest_of(read_fab(build_fab(app)))
        with ExitStack() as closing:
            store = open_store(self.opened, closing)
            gate = open_gate(self.opened, store)
            decide(self.opened.files, gate, manifest, status)
        return manifest.digest

    def requests(self) -> list[dict[str, Any]]:
        """`flame node requests --all --json`."""
        done = self.node("requests", "--all", "--json")
        assert done.code == 0, done.err
        found: list[dict[str, Any]] = done.json  # type: ignore[assignment]
        return found

    def replies_of(self, folder: Path) -> list[dict[str, Any]]:
        """Every reply that the toy's ServerApp was given."""
        return [reply for each in seen(folder) for reply in each["replies"]]

    def close(self) -> None:
        """End everything."""
        for name in ("node", "supernode"):
            if name in self.processes:
                process = self.processes[name]
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                self.kill(name)
        super().close()


@dataclass
class InProcessGate:
    """The node's agent in a thread of the test's, so that a test may see and change what it does."""

    node: Node
    secret: bytes | None = None
    lines: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __enter__(self) -> "InProcessGate":
        self._closing = ExitStack()
        self.store = open_store(self.node, self._closing)
        self.gate: Gate = open_gate(self.node, self.store, on_event=self._heard)
        self._closing.callback(self.gate.stop)
        self.runtime = NodeRuntime(
            self.node.config.supernode.address, self.secret or self.node.files.secret.read_bytes()
        )
        self._closing.callback(self.runtime.close)
        self.agent = Agent(self.runtime, self.gate, self.store, self.lines.append)
        self.thread = threading.Thread(target=self.agent.run)
        return self

    def start(self) -> None:
        """Begin to answer."""
        self.thread.start()

    def _heard(self, event: Event) -> None:
        self.events.append(event)
        self.lines.append(told(event))

    def said(self, word: str) -> bool:
        """Whether a line holds the word."""
        return any(word in line for line in list(self.lines))

    def __exit__(self, *_: object) -> None:
        self.agent.stop()
        if self.thread.ident is not None:
            self.thread.join(30)
        alive = self.thread.is_alive()
        self._closing.close()
        assert not alive
