"""A dry run in real containers: made-up data, nothing of the node's, nothing left."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.task import Run
from flame_fl.data.spec import StoreSpec
from flame_fl.gate.approval import ApprovalRecord
from flame_fl.gate.workflow import Gate
from flame_fl.hub.tls import make_certificates
from flame_fl.node.data import Adding, add
from flame_fl.node.dry_run import MAX_OUTPUT_CHARS, dry_run
from flame_fl.node.dry_run_outcome import DryRunOutcome
from flame_fl.node.init import NewNode, init_node
from flame_fl.node.wiring import Node, open_gate, open_node, open_store
from tests.support.engine import engine, test_image
from tests.support.gates import ENFORCED, TRAIN, make_fab, manifest_from, terms_table
from tests.unit.node.decisions import LONG

pytestmark = pytest.mark.docker
SECRET = "Mustermann"
CLIENT = """
import os
import pyarrow.parquet as pq
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    rows = pq.read_table(os.path.join(context.node_config["data-cohort"], "samples.parquet")).to_pylist()
    print("saw", len(rows), sorted({row["patient_id"] for row in rows})[:2], "\\x1b[2J\\u202e")
    arrays = {name: Array(array.numpy() + 1) for name, array in message.content["arrays"].items()}
    metrics = {"num-examples": len(rows), "loss": 1.0}
    return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)}), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    raise ValueError("x" * 5000)


@app.query("slow")
def slow(message, context):
    import time
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    return engine()


@pytest.fixture
def node(client: docker.DockerClient, tmp_path: Path) -> Node:
    """A node with containers and a store of real data, whose ids would be noticed."""
    (tmp_path / "ca.crt").write_bytes(make_certificates(("localhost",)).ca)
    places = Places(tmp_path / "node" / "node.toml", tmp_path / "node")
    init_node(places, NewNode("DIZ-1", "localhost:1", tmp_path / "ca.crt", image=test_image(client)))
    return open_node(places)


@pytest.fixture
def gate(node: Node, tmp_path: Path) -> Iterator[Gate]:
    """Its gate."""
    folder = tmp_path / "cohort"
    folder.mkdir(mode=0o755)
    ids = [f"{SECRET}-{n}" for n in range(30)]
    pq.write_table(pa.table({"patient_id": ids, "value": range(30)}), folder / "samples.parquet")
    (folder / "samples.parquet").chmod(0o644)
    layout = {"table": "samples.parquet", "patient_id": "patient_id"}
    spec = StoreSpec.model_validate({"layout": layout, "source": {"type": "folder", "path": str(folder)}})
    with ExitStack() as closing:
        store = open_store(node, closing)
        add(node.data, store, "cohort", spec, Adding(node.data_key, by="ada", copy=False))
        gate = open_gate(node, store)
        closing.callback(gate.stop)
        yield gate


def filed(gate: Gate, **changes: Any) -> ApprovalRecord:
    messages = changes.pop("messages", {"train": TRAIN, "evaluate": TRAIN})
    raw = make_fab(
        terms_table(validity=LONG, messages=messages, resources={"seconds": 60}, **changes),
        files={"app/client.py": CLIENT.encode()},
    )
    return gate.file(manifest_from(raw), Run(7, raw))


def left(node: Node, client: docker.DockerClient) -> list[object]:
    """Containers and folders of dry runs."""
    containers = client.containers.list(all=True, filters={"label": f"fl.flame.owner={node.config.node.id}-dry-run"})
    return [*containers, *(p for p in (node.files.state / "dry-runs").iterdir() if p.is_dir())]


def test_what_works_is_told_and_what_fails_too(node: Node, gate: Gate, client: docker.DockerClient) -> None:
    """On made-up patients; the app's words are escaped and cut; nothing is left, nothing of the node's is changed."""
    record = filed(gate)
    before = list(gate.store.audit_rows())
    outcome = dry_run(node, gate, record)
    train, evaluate = outcome.messages
    assert (train.message_type, train.outcome, train.code) == ("train", "released", 0), train
    assert "arrays/w float64 4" in train.items
    assert train.bytes_out == 36
    assert (evaluate.outcome, evaluate.code) == ("refused", 905)
    assert evaluate.said.startswith("ValueError")
    said = "\n".join(outcome.output)
    assert len(said) <= MAX_OUTPUT_CHARS + len(outcome.output)
    assert "\x1b" not in said + outcome.text
    assert SECRET not in outcome.text
    assert outcome.stores["cohort"].records == 175
    assert DryRunOutcome.read(outcome.text) == outcome
    assert list(gate.store.audit_rows()) == before
    assert gate.store.runs() == []
    assert left(node, client) == []


def test_the_app_sees_made_up_patients_alone(node: Node, gate: Gate) -> None:
    """What it prints of them is the mock's."""
    outcome = dry_run(node, gate, filed(gate, messages={"train": TRAIN}))
    text = json.dumps(outcome.output)
    assert "saw 175 ['mock-000001', 'mock-000002']" in text
    assert SECRET not in text
    assert outcome.stores["cohort"].schema_of == "drafted"


def test_under_an_enforced_claim_a_failure_is_told_to_the_steward(node: Node, gate: Gate) -> None:
    """To others it would be noise."""
    privacy = ENFORCED | {"noise_multiplier": 50.0, "epsilon_max": 10.0}
    train, evaluate = dry_run(node, gate, filed(gate, privacy=privacy)).messages
    assert (train.outcome, evaluate.outcome) == ("released", "zero")
    assert "ValueError" in evaluate.detail + evaluate.said


def test_time_is_bounded(node: Node, gate: Gate, client: docker.DockerClient) -> None:
    """What hangs is stopped with its container; what would come after it is not tried."""
    messages = {"query.slow": TRAIN, "query.slow2": TRAIN}
    outcome = dry_run(node, gate, filed(gate, messages=messages), max_seconds=12)
    assert [message.outcome for message in outcome.messages][-2:] == ["stopped", "skipped"]
    assert outcome.seconds < 40
    assert left(node, client) == []


def test_one_at_a_time(node: Node, gate: Gate) -> None:
    """A second one is refused while the first goes on."""
    import fcntl

    folder = node.files.state / "dry-runs"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="Another dry run"):
            dry_run(node, gate, filed(gate))


def test_a_store_that_is_not_here(node: Node, gate: Gate, client: docker.DockerClient) -> None:
    """Nothing is started."""
    data = {"other": {"table": "a.csv", "patient_id": "p", "columns": []}}
    with pytest.raises(InputError, match="no data store 'other'"):
        dry_run(node, gate, filed(gate, data=data))
    assert left(node, client) == []


def test_real_data_and_a_sandbox_that_confines_nothing(node: Node, gate: Gate) -> None:
    """Refused, though the data would be made up: the store's folder would be in the app's reach."""
    section = node.config.sandbox.model_copy(update={"kind": "subprocess"})
    unsafe = Node(node.config.model_copy(update={"sandbox": section}), node.files)
    with pytest.raises(InputError, match="confines nothing"):
        dry_run(unsafe, gate, filed(gate))
