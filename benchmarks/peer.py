"""Flower's own simulation (`flwr run` on Ray), as a user would run it, and without what would only slow it down.

Its local SuperLink is started beforehand and stays warm over all runs; run-time installation of dependencies, telemetry
and update checks are off.
"""

import os
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import measure

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class FlowerSimulation:
    """A warm local SuperLink with so many virtual nodes; ended, with all it started, on exit."""

    def __init__(self, nodes: int) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="flame-bench-flwr-")
        self._nodes, self._mark = nodes, measure.new_mark()

    def __enter__(self) -> Self:
        Path(self._home.name, "config.toml").write_text(
            '[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = ":local-in-memory:"\n'
            f"options.num-supernodes = {self._nodes}\n"
        )
        with socket.socket() as probe:  # ports of its own, beside a user's local SuperLink
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._environment = {
            **_QUIET,
            "FLWR_HOME": self._home.name,
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
            # flwr starts its programs by name
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        measure.end(self._mark)
        self._home.cleanup()

    def run(self, app: Path, *, memory: bool = False) -> measure.Finished:
        """One run of an app, to its end."""
        flwr = str(Path(sys.executable).parent / "flwr")
        command = [flwr, "run", str(app), "local", "--stream"]
        finished = measure.run(
            command, cwd=Path(self._home.name), environment=self._environment, mark=self._mark, memory=memory
        )
        if "final loss" not in finished.output:
            raise RuntimeError(f"flwr run did not finish:\n{finished.output[-3000:]}")
        return finished
