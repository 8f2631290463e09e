"""Prepared sets, and a grid that calls the ClientApp as a gate would."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gene_expression
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid
from gene_expression import client_app, prepare, server_app

from flame_fl.flower.identity import take_identity

PYPROJECT = Path(gene_expression.__file__).parents[1] / "pyproject.toml"

R_PACKAGES = {"bladderbatch": "bladderbatch", "all": "ALL", "golub": "multtest", "miniacc": "MultiAssayExperiment"}


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The run config as the app ships it."""
    config: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    return config


@cache
def need_r(*packages: str) -> None:
    """Skips where R or one of its packages is not installed (fails under FLAME_REQUIRE_ALL=1)."""
    program = shutil.which("Rscript") or ""
    found = ", ".join(f"nzchar(system.file(package = '{package}'))" for package in packages)
    code = f"quit(status = if (all({found})) 0 else 1)"  # found, not loaded: that takes seconds
    if not program or subprocess.run([program, "-e", code], capture_output=True, check=False).returncode:
        names = " ".join(f"r-bioc-{package.lower()}" for package in packages)
        text = f"Rscript with {', '.join(packages)} is not installed: apt-get install r-base-core {names}"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A set dealt out to five DIZ, once per session; one that R exports is skipped where R is not installed."""
    folder = tmp_path_factory.mktemp("sets")

    def get(name: str) -> Path:
        if not (folder / name).exists() and name in R_PACKAGES:
            need_r(R_PACKAGES[name])
        prepare.prepare_packaged(folder / name, name, 5, 1)
        return folder / name

    return get


@pytest.fixture
def identity() -> None:
    """Lets this process make messages, as a simulation's process may."""
    take_identity(run_id=1)


@dataclass(eq=False)  # a grid is a key, as Flower's are
class ClientGrid(Grid):
    """Delivers each message to the ClientApp at once, and keeps what was asked and answered."""

    data: Path
    run_config: dict[str, Any]
    seen: list[Message] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)

    def set_run(self, run: object) -> None:
        raise NotImplementedError

    @property
    def run(self) -> object:
        raise NotImplementedError

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def get_nodes(self) -> Iterable[object]:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return range(1, 1 + len(list(self.data.glob("DIZ-*"))))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if message.metadata.message_type == "query.flame_status":
            said = ConfigRecord({"node": f"DIZ-{node}", "status": "approved", "code": 0})
            return Message(RecordDict({"flame": said}), reply_to=message)
        self.seen.append(message)
        config = {"data-expression": str(self.data / f"DIZ-{node}" / "expression")}
        reply = client_app.app(message, Context(1, node, config, RecordDict(), dict(self.run_config)))
        self.replies.append(reply)
        return reply


@pytest.fixture(scope="session")
def runs(prepared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs one analysis over a set, each once per session; what it left lies in the folder that is returned."""
    known: dict[str, tuple[Path, ClientGrid]] = {}

    def go(config: dict[str, Any]) -> tuple[Path, ClientGrid]:
        key = repr(sorted(config.items()))
        if key not in known:
            folder = tmp_path_factory.mktemp("run")
            grid = ClientGrid(prepared(config["set"]), config)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FLAME_OUT", str(folder))
                patch.setattr(client_app, "load_table", cache(client_app.load_table))  # one table per DIZ, not the last
                server_app.app(grid, Context(1, 1, {}, RecordDict(), config))
            known[key] = folder, grid
        return known[key]

    return go


@pytest.fixture
def run(
    runs: Callable[..., tuple[Path, ClientGrid]], defaults: dict[str, Any], identity: None, tmp_path: Path
) -> Callable[..., tuple[Path, ClientGrid]]:
    """Runs one analysis over a set; returns the run's folder, the test's own, and the grid."""

    def go(name: str, analysis: str, **overrides: Any) -> tuple[Path, ClientGrid]:
        config = {**defaults, "set": name, "analysis": analysis}
        config |= {key.replace("_", "-"): value for key, value in overrides.items()}
        folder, grid = runs(config)
        return Path(shutil.copytree(folder, tmp_path / f"run-{len(list(tmp_path.iterdir()))}")), grid

    return go
