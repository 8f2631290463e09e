"""A real hub, real SuperNodes and a researcher, in one folder: processes that a test may kill."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.integration.runs import FLAME, GIVE_UP_SECONDS, Done

PROJECT = "steps"
_PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "steps"
version = "1.0.0"
description = "Counts steps at every node"
license = "Apache-2.0"
dependencies = ["flwr>=1.41,<1.43", "numpy>=1.26"]
[tool.hatch.build.targets.wheel]
packages = ["steps"]
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "steps.server_app:app"
clientapp = "steps.client_app:app"
[tool.flwr.app.config]
rounds = 2
pause = 0.0
nodes = 1
fail = ""
"""
_CLIENT = """
import time
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(msg, context):
    time.sleep(float(msg.content["config"]["pause"]))
    x = msg.content["arrays"]["x"].numpy() + 1
    metrics = MetricRecord({"num-examples": 1, "seen": float(x[0])})
    return Message(RecordDict({"arrays": ArrayRecord({"x": Array(x)}), "metrics": metrics}), reply_to=msg)
"""
_SERVER = """
import json, os, random, time
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    config = context.run_config
    end = time.time() + 60
    while len(list(grid.get_node_ids())) < config["nodes"] and time.time() < end:
        time.sleep(0.2)
    x, nodes = np.zeros(3), sorted(grid.get_node_ids())
    print("the server prints", len(nodes))
    if config["fail"]:
        raise RuntimeError(config["fail"])
    for number in range(config["rounds"]):
        pause = ConfigRecord({"pause": config["pause"]})
        content = RecordDict({"arrays": ArrayRecord({"x": Array(x)}), "config": pause})
        messages = [Message(content, dst_node_id=node, message_type="train", group_id=str(number)) for node in nodes]
        replies = list(grid.send_and_receive(messages, timeout=120))
        assert [r.metadata.src_node_id for r in replies] == nodes, replies
        assert all(r.has_content() for r in replies), [r.error for r in replies]
        x = sum(r.content["arrays"]["x"].numpy() for r in replies) / len(replies)
    out = Path(os.environ["FLAME_OUT"])
    (out / "plots").mkdir()
    (out / "plots" / "drawn.txt").write_text("a plot")
    (out / "x.json").write_text(json.dumps([x.tolist(), random.random(), sorted(grid.get_node_ids()) == nodes]))
"""


def make_app(folder: Path) -> Path:
    """An app that counts: after n rounds every element of `x` is n."""
    package = folder / "steps" / "steps"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(_PYPROJECT)
    (package / "__init__.py").write_text("")
    (package / "client_app.py").write_text(_CLIENT)
    (package / "server_app.py").write_text(_SERVER)
    return package.parent


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(look: Callable[[], object], what: str, seconds: float = GIVE_UP_SECONDS) -> Any:
    """What `look` finds, as soon as it is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.1)
    return found


@dataclass
class Lab:
    """A hub at home."""

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="flame-hub-")))
    port: int = field(default_factory=free_port)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    node_ids: dict[str, int] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The hub's FLAME_HOME."""
        return self.root / "hub"

    @property
    def environment(self) -> Mapping[str, str]:
        """For every command."""
        return {
            **os.environ,
            "FLAME_HOME": str(self.home),
            "FLAME_CONFIG_HOME": str(self.root / "config"),
            "COLUMNS": "200",
        }

    @property
    def url(self) -> str:
        """The hub's."""
        return f"https://localhost:{self.port}"

    @property
    def ca(self) -> Path:
        """The hub's authority."""
        return self.home / "tls" / "ca.crt"

    def flame(self, *arguments: object, seconds: float = GIVE_UP_SECONDS) -> Done:
        """Run a command."""
        done = subprocess.run(
            [FLAME, *map(str, arguments)],
            capture_output=True, text=True, timeout=seconds, env=self.environment, cwd=self.root, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def init(self, sandbox: str = "subprocess", image: str = "") -> None:
        """Make the hub."""
        done = self.flame("hub", "init", "--name", "localhost", "--host", "127.0.0.1", "--port", self.port)
        assert done.code == 0, done.err
        config = self.home / "hub.toml"
        text = config.read_text().replace('sandbox = "docker"', f'sandbox = "{sandbox}"')
        config.write_text(text.replace('default = ""', f'default = "{image}"'))

    def add_user(self, name: str, project: str = PROJECT) -> str:
        """Let somebody in; their hub is called by their name. Returns the token."""
        token = self.root / f"{name}.token"
        done = self.flame(
            "hub", "user", "add", name, "--project", project, "--token-file", token,
            "--hubs-file", self.root / "config" / "hubs.toml", "--hub-name", name,
        )  # fmt: skip
        assert done.code == 0, done.err
        assert token.read_text() not in done.out
        return token.read_text()

    def add_node(self, name: str, project: str = PROJECT) -> int:
        """Let a node in. Returns Flower's id of it."""
        key = ec.generate_private_key(ec.SECP384R1())
        private = self.root / f"{name}.key"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        private.chmod(0o600)
        public = self.root / f"{name}.pub"
        public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        done = self.flame("hub", "node", "add", name, public, "--project", project, "--json")
        assert done.code == 0, done.err
        self.node_ids[name] = int(done.json["node_id"])
        return self.node_ids[name]

    def up(self) -> None:
        """Start the hub, and wait until it is ready."""
        before = self.said().count("hub is ready")
        with (self.root / "up.log").open("ab") as out:
            self.processes["hub"] = subprocess.Popen(
                [FLAME, "hub", "up"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment
            )
        wait_for(lambda: self.said().count("hub is ready") > before or not self.is_up(), "the hub")
        assert self.is_up(), self.said()

    def said(self) -> str:
        """What `flame hub up` printed."""
        log = self.root / "up.log"
        return log.read_text() if log.exists() else ""

    def is_up(self) -> bool:
        """Whether the hub's process runs."""
        return self.processes["hub"].poll() is None

    def start_node(self, name: str) -> None:
        """Start a stock SuperNode, and wait until it has its id."""
        log, flwr = self.root / f"{name}.log", Path(FLAME).with_name("flower-supernode")
        before = log.read_text().count("SuperNode ID") if log.exists() else 0
        port = self.ports.setdefault(name, free_port())
        environment = {
            **os.environ,
            "PATH": f"{flwr.parent}:{os.environ['PATH']}",
            "FLWR_HOME": str(self.root / f"{name}-flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }
        with log.open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [
                    flwr, "--superlink", f"localhost:{self.port}", "--root-certificates", self.ca,
                    "--auth-supernode-private-key", self.root / f"{name}.key", "--port", str(port),
                ],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=self.root,
            )  # fmt: skip
        wait_for(lambda: self.node_log(name).count("SuperNode ID") > before, f"the SuperNode {name}")

    def node_log(self, name: str) -> str:
        """What a SuperNode printed."""
        return (self.root / f"{name}.log").read_text()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one of our processes."""
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(timeout=GIVE_UP_SECONDS)

    def run(self, app: Path, *arguments: object, user: str = "alice") -> Done:
        """`flame run` to its end."""
        return self.flame("run", app, "--hub", user, "--project", PROJECT, *arguments)

    def submit(self, app: Path, *arguments: object, user: str = "alice") -> tuple[int, Path]:
        """`flame run --detach`. Returns id and folder."""
        done = self.run(app, "--detach", "--json", *arguments, user=user)
        assert done.code == 0, done.err
        return int(done.json["run_id"]), Path(done.json["folder"])

    def events(self, run_id: int) -> list[dict[str, Any]]:
        """What was told of a run so far."""
        with suppress(FileNotFoundError):
            lines = (self.home / "runs" / str(run_id) / "events.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines]
        return []

    def count(self, run_id: int, kind: str, **fields: object) -> int:
        """How many events are so."""
        return sum(
            event["kind"] == kind and all(event.get(k) == v for k, v in fields.items()) for event in self.events(run_id)
        )

    def down(self) -> None:
        """End everything, ServerApps that outlive their hub included."""
        for name in [n for n in self.processes if n != "hub"]:
            self.kill(name)
        if "hub" in self.processes:
            self.kill("hub", signal.SIGTERM)
        for file in (self.home / "runs").glob("*/task.json"):
            handle = json.loads(file.read_text())["handle"] or {}
            with suppress(OSError):
                os.killpg(handle["pid"], signal.SIGKILL) if "pid" in handle else None

    def close(self) -> None:
        """End everything, and remove it."""
        self.down()
        shutil.rmtree(self.root, ignore_errors=True)
