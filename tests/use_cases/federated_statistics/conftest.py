"""Prepared sets, and a grid that calls the ClientApp as a gate would."""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import federated_statistics
import pytest
from federated_statistics import client_app, prepare, server_app
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid

from flame_fl.flower.identity import take_identity

PYPROJECT = Path(federated_statistics.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The run config as the app ships it."""
    config: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    return config


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A packaged set dealt out to five DIZ, once per session."""
    folder = tmp_path_factory.mktemp("sets")

    def get(name: str) -> Path:
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
        config = {"data-cohort": str(self.data / f"DIZ-{node}" / "cohort")}
        reply = client_app.app(message, Context(1, node, config, RecordDict(), dict(self.run_config)))
        self.replies.append(reply)
        return reply


@pytest.fixture
def run(
    prepared: Callable[[str], Path],
    defaults: dict[str, Any],
    identity: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Path, ClientGrid]]:
    """Runs one analysis over a packaged set; returns the run's folder and the grid."""

    def go(name: str, analysis: str, **overrides: Any) -> tuple[Path, ClientGrid]:
        config = {**defaults, "set": name, "analysis": analysis}
        config |= {key.replace("_", "-"): value for key, value in overrides.items()}
        grid = ClientGrid(prepared(name), config)
        folder = tmp_path / f"{name}-{analysis}-{len(list(tmp_path.iterdir()))}"
        monkeypatch.setenv("FLAME_OUT", str(folder))
        server_app.app(grid, Context(1, 1, {}, RecordDict(), config))
        return folder, grid

    return go
