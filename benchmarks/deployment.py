"""The real thing: a hub and nodes with containers, against stock Flower with subprocess isolation, on one machine.

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
MODEL_BYTES = 3535 * 3536 * 4
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
            address, own = f"127.0.0.1:{port}", str(_port())
            self._start(f"node-{number}", "flower-supernode", "--insecure", "--superlink", address, "--port", own)
        time.sleep(5)
        found = [pid for pid in measure.marked(self._mark) if _is(pid, "flower-supernode")]
        self._idle = {pid: _high_water(pid) for pid in found}
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

    def growth_of_node(self) -> int:
        """Most that a SuperNode's memory grew since it was idle, in bytes."""
        return max(_high_water(pid) - idle for pid, idle in self._idle.items())

    def __exit__(self, *_: object) -> None:
        measure.end(self._mark)
        shutil.rmtree(self._home, ignore_errors=True)


class Federation:
    """`flame federation up` with the app's image, warm sandboxes and a DEMO policy."""

    def __init__(self, nodes: int) -> None:
        self._home, self._nodes = Path(tempfile.mkdtemp(prefix="flame-bench-")), nodes
        self._environment = {**os.environ, "FLAME_CONFIG_HOME": str(self._home)}

    def __enter__(self) -> "Federation":
        said = self._flame("federation", "up", "--nodes", str(self._nodes), "--demo", str(ROUNDS), "--detach", "--json")
        gates = [pid for name, pid in json.loads(said)["processes"].items() if name != "hub"]
        self._idle = {pid: _high_water(pid) for pid in gates}
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
        said = json.loads(self._flame("run", str(ROUNDS), "--hub", "local", "--run-config", config, "--json"))
        return (self._home / said["folder"] / "clock.txt").read_text()

    def growth_of_gate(self) -> int:
        """Most that a gate's memory grew since it was idle, in bytes."""
        return max(_high_water(pid) - idle for pid, idle in self._idle.items())

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


def warm_container(model_bytes: int, times: int, *, large: bool = False) -> list[float]:
    """Seconds of messages there and back through one warm container; the first, which pays for imports, is left out."""
    import docker
    import numpy as np

    from flame_fl.contract.content import Content
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.ports import Envelope, SandboxSpec
    from flame_fl.contract.terms import Resources
    from flame_fl.flower.bundle import build_fab
    from flame_fl.node.image import build_image
    from flame_fl.sandbox.docker import DockerSandbox, Images

    image = build_image(ROUNDS, client=docker.from_env(timeout=1800), tag="flame-benchmark").id
    with tempfile.TemporaryDirectory() as folder:
        sandbox = DockerSandbox(Images(image), owner="benchmark", folder=Path(folder) / "runs")
        spec = SandboxSpec(
            fab=read_fab(build_fab(HERE / "apps" / "echo")),
            component="echo.client_app:app",
            run_id=1,
            node_id=1,
            run_config={},
            node_config={},
            resources=Resources(),
            log_path=Path(folder) / "log",
        )
        session = sandbox.start(spec)
        content = Content({"arrays": {"x": np.zeros(model_bytes // 4 if large else 10, np.float32)}})
        seconds = []
        try:
            for number in range(times + 1):
                began = time.perf_counter()
                session.handle(Envelope(str(number), "train", "1", content), 120.0, 2 * model_bytes)
                seconds.append(time.perf_counter() - began)
        finally:
            session.close()
    return seconds[1:]


def fresh_process() -> float:
    """Seconds until a new process has imported what a ClientApp of torch needs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import flwr.clientapp, flwr.supernode.runtime.run_clientapp, torch"],
                   env={**os.environ, **_OFF}, check=True)  # fmt: skip
    return time.perf_counter() - began
