"""The real thing: a hub and three nodes with containers, against stock Flower with subprocess isolation, on one machine.

Both run the same app under Flower's own FedAvg; what is compared is the ServerApp's clock round its strategy.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

HERE = Path(__file__).parent
ROUNDS = HERE / "apps" / "rounds"
BIN = Path(sys.executable).parent
_OFF = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "OMP_NUM_THREADS": "1",
}


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StockFlower:
    """A SuperLink and SuperNodes as Flower's documentation starts them: no TLS, apps in subprocesses."""

    def __init__(self, nodes: int) -> None:
        self._home, self._mark, self._nodes = Path(tempfile.mkdtemp(prefix="flame-stock-")), measure.new_mark(), nodes
        self._environment = {**os.environ, **_OFF, "FLWR_HOME": str(self._home), "FLAME_BENCHMARK": self._mark,
                             "PATH": f"{BIN}:{os.environ['PATH']}"}  # fmt: skip

    def __enter__(self) -> "StockFlower":
        port = _port()
        (self._home / "config.toml").write_text(
            f'[superlink]\ndefault = "stock"\n[superlink.stock]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
        )
        self._start("superlink", "flower-superlink", "--insecure", "--port", str(port))
        time.sleep(5)
        for number in range(self._nodes):
            self._start(f"node-{number}", "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port",
                        str(_port()))  # fmt: skip
        time.sleep(5)
        return self

    def _start(self, name: str, *command: str) -> None:
        with (self._home / f"{name}.log").open("wb") as log:
            subprocess.Popen([str(BIN / command[0]), *command[1:]], env=self._environment, stdout=log, stderr=log,
                             stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    def run(self, config: str) -> str:
        """What the ServerApp printed."""
        flwr = str(BIN / "flwr")
        started = subprocess.run([flwr, "run", str(ROUNDS), "stock", "--run-config", config, "--format", "json"],
                                 env=self._environment, capture_output=True, text=True, check=True)  # fmt: skip
        run_id = json.loads(started.stdout[started.stdout.index("{") :])["run-id"]
        until = time.monotonic() + 600
        while time.monotonic() < until:
            log = subprocess.run([flwr, "log", run_id, "stock", "--show"], env=self._environment, capture_output=True,
                                 text=True, check=False).stdout  # fmt: skip
            if "final loss" in log:
                return log
            time.sleep(2)
        raise RuntimeError(f"The stock run did not end:\n{log[-2000:]}")

    def peak_of_node(self) -> int:
        """Most memory of one node's processes, since they were started: the SuperNode and what it started."""
        return max(_high_water(pid) for pid in measure.marked(self._mark) if _is(pid, "flower-supernode"))

    def __exit__(self, *_: object) -> None:
        measure.end(self._mark)
        shutil.rmtree(self._home, ignore_errors=True)


class Federation:
    """`flame federation up` with the app's image, warm sandboxes and a DEMO policy."""

    def __init__(self, nodes: int) -> None:
        self._home, self._nodes = Path(tempfile.mkdtemp(prefix="flame-bench-")), nodes
        self._environment = {**os.environ, "FLAME_CONFIG_HOME": str(self._home)}

    def __enter__(self) -> "Federation":
        self._flame("federation", "up", "--nodes", str(self._nodes), "--demo", str(ROUNDS), "--detach")
        return self

    def _flame(self, *arguments: str) -> str:
        home = ("--home", str(self._home / "federation")) if arguments[0] == "federation" else ()
        done = subprocess.run([str(BIN / "flame"), *arguments, *home], env=self._environment, capture_output=True,
                              text=True, check=False, cwd=self._home)  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"flame {arguments[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def run(self, config: str) -> str:
        """What the ServerApp printed."""
        said = self._flame("run", str(ROUNDS), "--hub", "local", "--run-config", config, "--json")
        assert '"finished"' in said, said[-500:]
        return self._flame("federation", "logs", "hub", "--lines", "200")

    def peak_of_gate(self) -> int:
        """Most memory of one gate, since it was started."""
        found = json.loads(self._flame("federation", "status", "--json"))["processes"]
        return max(_high_water(pid) for name, pid in found.items() if name != "hub")

    def __exit__(self, *_: object) -> None:
        self._flame("federation", "down", "--purge")
        shutil.rmtree(self._home, ignore_errors=True)


def seconds_and_loss(output: str) -> tuple[float, str]:
    """The ServerApp's clock, and twelve digits of the last loss: by it two runs did the same work."""
    return (
        float(re.findall(r"strategy seconds ([0-9.]+)", output)[-1]),
        f"{float(re.findall(r'final loss ([0-9.e+-]+)', output)[-1]):.6e}",
    )


def _high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _is(pid: int, word: str) -> bool:
    return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
