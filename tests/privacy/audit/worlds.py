"""Gates for audits: apps that see their views, noise that is counted, and real tables in a store."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from flame_fl.contract.content import Content
from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.ports import Envelope, SandboxSpec
from flame_fl.data.layout import layout_of
from flame_fl.data.offer import Offer
from flame_fl.gate.workflow import NodeLimits
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.gates import (
    ENFORCED,
    TRAIN,
    FakeOffers,
    FakeSession,
    World,
    make_fab,
    terms_table,
)

DELTA = 1e-5
CAP = 60.0
STORE = {"table": "samples.parquet", "patient_id": "patient_id", "columns": ["*"], "min_patients": 10}
ARRAYS = [{"record": "arrays", "name": "w", "dtype": "float64", "shape": [4]}]
BLOCKS = 4
V = np.full(4, 0.5)


@dataclass
class ReadingSandbox:
    """Starts sessions whose app is `answer`, which sees the view it is given."""

    answer: Callable[[Mapping[str, Path], Envelope], Content]
    kind: str = "fake"
    heard: int = 0

    def kind_of(self, app: str) -> str:
        return self.kind

    def start(self, spec: SandboxSpec) -> FakeSession:
        def answered(message: Envelope) -> Content:
            self.heard += 1
            return self.answer(spec.data, message)

        return FakeSession(answered)


@dataclass
class Recorded:
    """Noise that is counted."""

    inner: Any = field(default_factory=ExactNoise)
    asked: list[tuple[tuple[int, int], int]] = field(default_factory=list)
    seeded: bool = True

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        self.asked.append((sigma_squared, count))
        draws: npt.NDArray[np.int64] = self.inner.discrete_gaussian(sigma_squared, count)
        return draws

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        return float(self.inner.distance(sigma_squared, count))


def terms_of(**privacy: Any) -> dict[str, Any]:
    """Four coordinates and nothing else."""
    count = {"record": "metrics", "name": "num-examples", "kind": "count"}
    message = TRAIN | {"per_run": 100_000, "arrays": ARRAYS, "metrics": [count]}
    stated = ENFORCED | {"epsilon_max": CAP, "noise_multiplier": 2.0} | privacy
    return terms_table(privacy=stated, messages={"train": message}, data={"cohort": STORE}, limits={"runs": 100_000})


def patient_terms() -> dict[str, Any]:
    return terms_of(unit="patient", blocks=BLOCKS, slot_seconds=60.0)


def answer_of(vector: npt.NDArray[np.float64]) -> Content:
    return Content({"arrays": {"w": vector}}, {"metrics": {"num-examples": 1}})


@contextmanager
def a_world(sandbox: Any, noise: Any = None, data: FakeOffers | None = None, cap: float = CAP) -> Any:
    limits = NodeLimits(epsilon_cap=cap, delta=DELTA, min_patients=5, fixed_slots=False)
    with TemporaryDirectory() as folder:
        world = World(Path(folder), noise=noise or ExactNoise(), limits=limits, sandbox=sandbox, data=data)
        world.gate.block_key = b"k" * 32
        try:
            yield world
        finally:
            world.store.close()


PEOPLE = tuple(f"p{i}" for i in range(160))  # 9 standard deviations above what the noised count needs
TOLD = DataStore(table="samples.parquet", patient_id="patient_id", columns=("*",))


@contextmanager
def real_world(people: Sequence[str], answer: Any, noise: Any) -> Any:
    """A gate over a Parquet file in which every third patient has two samples; and the analysis it approved."""
    rows = [(name, value) for name in people for value in range(1 + (int(name[1:]) % 3 == 0))]
    with TemporaryDirectory() as folder:
        table = {"patient_id": [name for name, _ in rows], "value": [float(int(n[1:]) + v) for n, v in rows]}
        pq.write_table(pa.table(table), Path(folder) / "samples.parquet")
        offer: Any = Offer("cohort", Path(folder), "5" * 64, layout_of(TOLD))
        app = make_fab(patient_terms())
        with a_world(ReadingSandbox(answer), noise, FakeOffers(cohort=offer)) as world:
            world.decide(app)
            yield world, app


def view_bytes(folder: Path) -> bytes:
    """All of a view: names and bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"".join(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() for path in files)
