"""Prepared sets, and a grid that calls the ClientApp as a gate would."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import gwas
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid
from gwas import client_app, prepare, server_app, synthetic
from gwas.settings import Settings

from flame_fl.flower.identity import take_identity

PYPROJECT = Path(gwas.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The run config as the app ships it."""
    config: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    return config


@pytest.fixture
def settings(defaults: dict[str, Any]) -> Callable[..., Settings]:
    """Settings with some keys changed: settings(analysis="logistic", min_carriers=1)."""

    def get(**more: Any) -> Settings:
        return Settings.from_config({**defaults, **{key.replace("_", "-"): value for key, value in more.items()}})

    return get


@cache
def need_program(name: str, package: str) -> str:
    """The path of a program; skips where it is not installed (fails under FLAME_REQUIRE_ALL=1)."""
    found = shutil.which(name)
    if found is None:
        text = f"{name} is not installed: apt-get install {package}"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    return found


@cache
def need_snpstats() -> None:
    """Skips where R with snpStats is not installed (fails under FLAME_REQUIRE_ALL=1)."""
    program = shutil.which("Rscript") or ""
    code = "quit(status = if (nzchar(system.file(package = 'snpStats'))) 0 else 1)"
    if not program or subprocess.run([program, "-e", code], capture_output=True, check=False).returncode:
        text = "Rscript with snpStats is not installed: apt-get install r-base-core r-bioc-snpstats"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A set dealt out to five DIZ, once per session: prepared("synthetic", uneven=True)."""
    folder = tmp_path_factory.mktemp("sets")

    def get(name: str = "synthetic", *, uneven: bool = False) -> Path:
        target = folder / f"{name}{'-uneven' if uneven else ''}"
        if not target.exists() and name == "snpstats":
            need_snpstats()
        prepare.prepare_packaged(target, name, 5, 1, uneven=uneven)
        return target

    return get


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic panel with few people (400 over five DIZ): quick to scan."""
    target = tmp_path_factory.mktemp("small") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "make", partial(synthetic.make, samples=400))
        prepare.prepare_packaged(target, "synthetic", 5, 1)
    return target


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
        config = {"data-genotypes": str(self.data / f"DIZ-{node}" / "genotypes")}
        reply = client_app.app(message, Context(1, node, config, RecordDict(), dict(self.run_config)))
        self.replies.append(reply)
        return reply


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs one analysis over a folder of data, each once per session."""
    known: dict[str, tuple[Path, ClientGrid]] = {}

    def go(data: Path, config: dict[str, Any]) -> tuple[Path, ClientGrid]:
        key = repr((data, sorted(config.items())))
        if key not in known:
            folder = tmp_path_factory.mktemp("run")
            grid = ClientGrid(data, config)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FLAME_OUT", str(folder))
                patch.setattr(client_app, "load_site", _each_once())  # one site per DIZ, not the last
                server_app.app(grid, Context(1, 1, {}, RecordDict(), config))
            known[key] = folder, grid
        return known[key]

    return go


def _each_once() -> Callable[..., Any]:
    kept: dict[str, Any] = {}

    def load(folder: str, settings: Settings, node: int) -> Any:
        if folder not in kept:
            kept[folder] = _load_site(folder, settings, node)
        return kept[folder]

    return load


_load_site = client_app.load_site


@pytest.fixture
def run(runs: Callable[..., Any], defaults: dict[str, Any], identity: None) -> Callable[..., tuple[Path, ClientGrid]]:
    """Runs one analysis: run(data, "linear", pcs=4); returns the run's folder (do not change it) and the grid."""

    def go(data: Path, analysis: str, **overrides: Any) -> tuple[Path, ClientGrid]:
        config = {**defaults, "analysis": analysis}
        config |= {key.replace("_", "-"): value for key, value in overrides.items()}
        return runs(data, config)  # type: ignore[no-any-return]

    return go
