"""Small made-up cohorts, and a grid that calls the ClientApp as a gate would, with a session for each DIZ."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from kernel_age import client_app
from kernel_age.cohort import panel, transform

from flame_fl.flower.identity import take_identity

RUN_ID = 7
RUN_CONFIG = {"pairing": "none", "min-nodes": 3, "timeout": 5.0}
SIZES = {11: (31, 9), 12: (24, 7), 13: (28, 8), 14: (26, 3)}
"""Node: training and test samples; the last has too few test samples for a sum of errors."""


def _write(folder: Path, train: int, test: int, seed: int, pairing: str | None = None) -> Path:
    """A store whose betas follow age, not linearly; made up from start to end."""
    generator = np.random.default_rng(seed)
    n, (cpgs, centre) = train + test, panel()
    age = generator.uniform(0, 90, n)
    slope = np.random.default_rng(0).normal(0, 0.05, (2, len(cpgs)))
    betas = centre + np.outer(transform(age), slope[0]) + np.outer(np.sin(age / 15), slope[1])
    betas = np.clip(betas + generator.normal(0, 0.02, betas.shape), 0, 1)
    betas[generator.random(betas.shape) < 0.01] = np.nan
    ids = [f"S{seed}-{row}" for row in range(n)]
    sheet = {"sample_id": ids, "patient_id": ids, "age": age, "split": ["train"] * train + ["test"] * test}
    if pairing is not None:
        sheet["pairing"] = [pairing] * n
    folder.mkdir(parents=True)
    pq.write_table(pa.table(sheet), folder / "samples.parquet")
    columns = {"sample_id": ids[::-1], **{cpg: betas[::-1, j] for j, cpg in enumerate(cpgs)}}
    pq.write_table(pa.table(columns), folder / "betas.parquet")
    return folder


@pytest.fixture
def write_store() -> Callable[..., Path]:
    """Writes a store: write_store(folder, train, test, seed, pairing=None)."""
    return _write


@dataclass
class ClientGrid(Grid):
    """Delivers each message to the ClientApp at once; `meddle` may change what passes, as a hub may."""

    stores: dict[int, Path]
    run_config: dict[str, object]
    run_id: int = RUN_ID
    meddle: Callable[[Message], None] = lambda message: None
    denied: frozenset[int] = frozenset()
    states: dict[int, RecordDict] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
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
        return list(self.stores)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if message.metadata.message_type == "query.flame_status":
            status = {"node": f"DIZ-{node}", "status": "approved", "code": 0}
            return Message(RecordDict({"flame": ConfigRecord(status)}), reply_to=message)
        if node in self.denied:
            return Message(Error(905, "the sandbox failed"), reply_to=message)
        self.meddle(message)
        self.sent.append(message)
        state = self.states.setdefault(node, RecordDict())
        config = {"data-methylation": str(self.stores[node])}
        reply = client_app.app(message, Context(self.run_id, node, config, state, dict(self.run_config)))
        self.replies.append(reply)
        return reply


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Four DIZ's stores by node id."""
    root = tmp_path_factory.mktemp("stores")
    return {n: _write(root / f"DIZ-{n}" / "methylation", *size, seed=n) for n, size in SIZES.items()}


def make_grid(stores: dict[int, Path]) -> ClientGrid:
    """DIZ that answer, in sessions of their own."""
    take_identity(run_id=RUN_ID)  # lets this process make messages, as a simulation's process may
    return ClientGrid(dict(stores), dict(RUN_CONFIG))


@pytest.fixture
def grid(stores: dict[int, Path]) -> ClientGrid:
    """Four DIZ that answer."""
    return make_grid(stores)
