"""A node in a folder of its own, with data, a gate, and an authority that is as real as a hub's."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.places import Places
from flame_fl.data.spec import StoreSpec
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.hub.tls import Certificates, make_certificates
from flame_fl.node.config import NodeFiles
from flame_fl.node.data import Adding, add
from flame_fl.node.init import NewNode, init_node
from flame_fl.node.registry import Registration
from flame_fl.node.wiring import Node, open_gate, open_node, open_store

IMAGE = "sha256:" + "ab" * 32


@pytest.fixture(scope="session")
def authority() -> Certificates:
    """A hub's."""
    return make_certificates(("localhost", "127.0.0.1"))


@pytest.fixture
def ca(authority: Certificates, tmp_path: Path) -> Path:
    """The file that the hub's administrator sends."""
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.ca)
    return path


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Where the node will be."""
    return Places(tmp_path / "node" / "node.toml", tmp_path / "node")


@pytest.fixture
def files(places: Places, ca: Path) -> NodeFiles:
    """A node that was just made."""
    return init_node(places, NewNode("DIZ-1", "localhost:8000", ca, image=IMAGE))


def change(places: Places, old: str, new: str) -> None:
    """Change node.toml; what is to be changed must be there."""
    text = places.config.read_text()
    assert old in text
    places.config.write_text(text.replace(old, new))


def cohort(folder: Path, patients: int = 30, column: str = "patient_id") -> Path:
    """A data store of made-up patients, readable by everybody."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({column: [f"p{n}" for n in range(patients)] * 2, "value": list(range(2 * patients))})
    pq.write_table(table, folder / "samples.parquet")
    (folder / "samples.parquet").chmod(0o644)
    folder.chmod(0o755)
    return folder


def spec_of(folder: Path, **changes: object) -> StoreSpec:
    """The registration of such a folder, as made-up data."""
    layout = {"table": "samples.parquet", "patient_id": "patient_id"}
    stated = {"layout": layout, "source": {"type": "folder", "path": str(folder)}, "mock": True}
    return StoreSpec.model_validate(stated | changes)


def offer(node: Node, name: str, folder: Path, **changes: object) -> Registration:
    """Register a store, used where it lies."""
    with ExitStack() as closing:
        how = Adding(node.data_key, by="ada", copy=False, replace=True)
        return add(node.data, open_store(node, closing), name, spec_of(folder, **changes), how)


@pytest.fixture
def node(files: NodeFiles, places: Places, tmp_path: Path) -> Node:
    """A node that offers mock data `cohort` and runs apps in subprocesses."""
    change(places, 'kind = "docker"', 'kind = "subprocess"')
    node = open_node(places)
    offer(node, "cohort", cohort(tmp_path / "cohort"))
    return node


@pytest.fixture
def store(node: Node) -> Iterator[Store]:
    """Its state."""
    with ExitStack() as closing:
        yield open_store(node, closing)


@pytest.fixture
def gate(node: Node, store: Store) -> Iterator[Gate]:
    """Its gate."""
    gate = open_gate(node, store)
    yield gate
    gate.stop()
