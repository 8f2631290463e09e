"""The stores of `made` once per session, and a grid that calls the ClientApp as a gate would."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid
from multimodal_imaging import client_app, server_app

from flame_fl.flower.identity import take_identity
from tests.use_cases.multimodal_imaging import made


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The run config as the app ships it."""
    return dict(made.defaults())


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five DIZ of `made.folders`; not to be changed."""
    return made.folders(tmp_path_factory.mktemp("stores"))


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
    states: dict[int, RecordDict] = field(default_factory=dict)

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

    def context(self, node: int) -> Context:
        """What the app sees at a DIZ: no folder of images where there is none."""
        folder = self.data / f"DIZ-{node}"
        config: dict[str, Any] = {f"data-{path.name}": str(path) for path in folder.iterdir()}
        return Context(1, node, config, self.states.setdefault(node, RecordDict()), dict(self.run_config))

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if message.metadata.message_type == "query.flame_status":
            said = ConfigRecord({"node": f"DIZ-{node}", "status": "approved", "code": 0})
            return Message(RecordDict({"flame": said}), reply_to=message)
        self.seen.append(message)
        reply = client_app.app(message, self.context(node))
        self.replies.append(reply)
        return reply


@pytest.fixture(scope="session")
def runs(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, ClientGrid]]:
    """Runs one analysis over the stores, each once per session; what it left lies in the folder that is returned."""
    known: dict[str, tuple[Path, ClientGrid]] = {}

    def go(config: dict[str, Any]) -> tuple[Path, ClientGrid]:
        key = repr(sorted(config.items()))
        if key not in known:
            folder = tmp_path_factory.mktemp("run")
            grid = ClientGrid(stores, config)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FLAME_OUT", str(folder))
                loaded: dict[Any, Any] = {}

                def load(patients: str, images: str | None, settings: Any, *, node: int) -> Any:
                    if node not in loaded:  # one site per DIZ, not the last
                        loaded[node] = original(patients, images, settings, node=node)
                    return loaded[node]

                original = client_app.load_site
                patch.setattr(client_app, "load_site", load)
                server_app.app(grid, Context(1, 1, {}, RecordDict(), config))
            known[key] = folder, grid
        return known[key]

    return go


@pytest.fixture
def run(
    runs: Callable[..., tuple[Path, ClientGrid]], identity: None, tmp_path: Path
) -> Callable[..., tuple[Path, ClientGrid]]:
    """run(analysis, key=value): the run's folder, the test's own, and the grid."""

    def go(analysis: str, **overrides: Any) -> tuple[Path, ClientGrid]:
        folder, grid = runs(made.config(analysis=analysis, **overrides))
        return Path(shutil.copytree(folder, tmp_path / f"run-{len(list(tmp_path.iterdir()))}")), grid

    return go
