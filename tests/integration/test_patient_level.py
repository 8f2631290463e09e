"""Claims of unit patient, from the command line to what the server gets: blocks, vetted code, adaptive clipping.

The app is written here: its ClientApp averages what it sees and notes whom it saw, its ServerApp keeps every reply.
"""

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from flame_fl.contract.content import Content
from flame_fl.sandbox.container import OWNER, ROLE
from flame_fl.sandbox.session import FrameSession
from flame_fl.simulation import run as simulation
from tests.integration.runs import Done, audit, refusals
from tests.support.engine import engine, test_image
from tests.support.gates import NoNoise

PATIENTS, TWICE = 300, 100
CAP = "epsilon_cap = 60\n"  # so large that noise is small beside sums over all patients
NODES = ("DIZ-1", "DIZ-2")

CLIENT = """
import csv, json, os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    with (Path(context.node_config["data-cohort"]) / "patients.csv").open(newline="") as file:
        seen = list(csv.DictReader(file))
    with Path(WITNESS).open("a") as file:
        file.write(json.dumps([context.node_config["partition-id"], sorted({r["pid"] for r in seen})]) + "\\n")
    w = np.array([np.mean([float(r[c]) for r in seen]) for c in ("a", "y")] + [0.5])
    records = {"arrays": ArrayRecord({"w": Array(w)}), "metrics": MetricRecord({"num-examples": len(seen)})}
    return Message(RecordDict(records), reply_to=message)
"""
SERVER = """
import json, os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    start = {"0.weight": Array(np.zeros((1, 1), np.float32)), "0.bias": Array(np.zeros(1, np.float32))}
    sent = {"arrays": ArrayRecord(start)}
    kind = str(context.run_config["kind"])
    asked = [Message(RecordDict(dict(sent)), dst_node_id=n, message_type=kind) for n in sorted(grid.get_node_ids())]
    kept = []
    for reply in grid.send_and_receive(asked):
        records = {} if reply.has_error() else reply.content.array_records
        kept.append({f"{r}/{n}": a.numpy().tolist() for r, named in records.items() for n, a in named.items()})
    (Path(os.environ["FLAME_OUT"]) / "replies.json").write_text(json.dumps(kept))
"""
SEARCHING = """
import json, os
from pathlib import Path

import numpy as np
from flame_strategies.dp_fedavg import ClipTerms, FlameDpFedAvg
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    clipping = ClipTerms(initial=100.0, quantile=0.5, rate=1.0)
    strategy = FlameDpFedAvg(clipping=clipping, min_nodes=2, evaluate=False)
    start = ArrayRecord({"w": Array(np.zeros(3))})
    result = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    rounds = [dict(result.train_metrics_clientapp[n]) for n in sorted(result.train_metrics_clientapp)]
    (Path(os.environ["FLAME_OUT"]) / "rounds.json").write_text(json.dumps(rounds))
"""
# What a bundle would gain if the gate's worker found this package instead of the one in its image.
SHADOW = """
import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp


class Rows(ClientApp):
    def __call__(self, message, context):
        names = {"n": 1, "x": 1, "xx": 1, "y": 1, "yy": 1, "xy": 1}
        raw = {name: Array(np.full(size, 7e6)) for name, size in names.items()}
        return Message(RecordDict({"sums": ArrayRecord(raw)}), reply_to=message)


app = Rows()
"""
COLUMN = {"low": -1.0, "high": 1.0}
MOMENTS = {
    "kind": "sums",
    "store": "cohort",
    "formula": {"kind": "moments", "features": [{"names": ["a"], **COLUMN}], "target": {"names": ["y"], **COLUMN}},
}
VETTED = {
    "unit": "patient", "ground": "vetted", "mechanism": "sums", "clip_norm": 2.5, "noise_multiplier": 0.2,
    "epsilon_max": 60.0, "delta": 1e-5,
}  # fmt: skip
SIGMA = 0.5  # clip_norm · noise_multiplier
FAR = 6.5 * SIGMA  # one coordinate of twelve lies farther out with a chance below 1e-9
STEPS = {
    "kind": "dp-sgd",
    "store": "cohort",
    "features": [{"names": ["a"], **COLUMN}],
    "task": "regression",
    "target": {"names": ["y"], **COLUMN},
    "layers": [{"kind": "linear", "inputs": 1, "outputs": 1}],
    "learning_rate": 0.2,
    "expected_patients": PATIENTS,
}
DESCENT = VETTED | {
    "mechanism": "dp-sgd", "clip_norm": 4.0, "noise_multiplier": 4.0, "sample_rate": 0.5, "steps": 20,
    "epsilon_max": 8.0,
}  # fmt: skip
PROJECT = ("title", "purpose", "legal_basis", "ethics_reference", "responsible_person")
STORE = {"table": "patients.csv", "patient_id": "pid", "columns": ["a", "y"], "min_patients": 20}
NO_CLAIM = {"unit": "none", "ground": "none", "mechanism": "none"}
WEIGHTS = {"record": "arrays", "name": "w", "dtype": "float64", "shape": [3]}
COUNT = {"record": "metrics", "name": "num-examples", "kind": "count"}
AVERAGES = {"per_run": 1, "update": "value", "arrays": [WEIGHTS], "metrics": [COUNT]}
SUMMED = [
    {"record": "sums", "name": name, "dtype": "float64", "shape": [1]} for name in ("n", "x", "xx", "y", "yy", "xy")
]
TRAINED = [
    {"record": "arrays", "name": "0.weight", "dtype": "float32", "shape": [1, 1]},
    {"record": "arrays", "name": "0.bias", "dtype": "float32", "shape": [1]},
]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two DIZ. The first hundred patients have a second record, far from their first."""
    folder, rng = tmp_path_factory.mktemp("patients"), np.random.default_rng(1)
    for node in NODES:
        (folder / node / "cohort").mkdir(parents=True)
        with (folder / node / "cohort" / "patients.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["pid", "a", "y"])
            for number in [*range(PATIENTS), *range(TWICE)]:
                a = rng.uniform(0.2, 1.0)
                out.writerow([f"{node}-{number}", a, 0.8 * a - 0.3 + rng.normal(0, 0.05)])
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes the app, with these terms."""

    def make(
        messages: Mapping[str, Any],
        privacy: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
        clientapp: str = "tiny.client_app:app",
        **terms: Any,
    ) -> Path:
        flame = {
            "schema": 1,
            "project": {"id": "tiny"} | dict.fromkeys(PROJECT, "Tests"),
            "data": {"cohort": STORE},
            "messages": messages,
            "privacy": privacy,
            "validity": {"from": "2020-01-01", "until": "2099-12-31"},
            **terms,
        }  # fmt: skip
        components = {"serverapp": "tiny.server_app:app", "clientapp": clientapp}
        config = {"kind": next(iter(messages)), "rounds": 7}
        pyproject = {
            "project": {"name": "tiny", "version": "1.0.0"},
            "tool": {
                "flwr": {"app": {"publisher": "tests", "components": components, "config": config}},
                "flame": flame,
            },
        }
        source = {
            "pyproject.toml": tomli_w.dumps(pyproject).replace('"2020-01-01"', "2020-01-01").replace(
                '"2099-12-31"', "2099-12-31"
            ),
            "tiny/__init__.py": "",
            "tiny/client_app.py": CLIENT.replace("WITNESS", repr(str(tmp_path / "witness.jsonl"))),
            "tiny/server_app.py": SERVER,
        }  # fmt: skip
        (tmp_path / "policy.toml").write_text(CAP)
        for name, text in (source | dict(files or {})).items():
            (tmp_path / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tiny" / name).write_text(text)
        return tmp_path / "tiny"

    return make


@pytest.fixture
def go(simulate, data: Path, tmp_path: Path) -> Callable[..., Done]:
    """Simulates the app on the made-up patients."""
    return lambda app, *options: simulate(
        app, "--data", data, "--policy", tmp_path / "policy.toml", "--out", tmp_path / "run", *options
    )


def replies(tmp_path: Path) -> list[dict[str, Any]]:
    """What each DIZ sent, by record and array."""
    found: list[dict[str, Any]] = json.loads((tmp_path / "run" / "replies.json").read_text())
    return found


def rows(data: Path, node: str) -> dict[str, list[tuple[float, float]]]:
    """A DIZ's records by patient."""
    found: dict[str, list[tuple[float, float]]] = {}
    with (data / node / "cohort" / "patients.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["pid"], []).append((float(row["a"]), float(row["y"])))
    return found


def summed(data: Path, node: str) -> dict[str, float]:
    """The formula's sums in plain numpy: a patient's records are averaged first."""
    total = np.zeros(6)
    for records in rows(data, node).values():
        a, y = np.array(records).T
        total += np.mean([np.ones(len(a)), a, a * a, y, y * y, a * y], axis=1)
    return dict(zip(("n", "x", "xx", "y", "yy", "xy"), total.tolist(), strict=True))


def test_a_release_is_the_mean_of_the_clipped_fits_of_disjoint_blocks(
    go, write: Write, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without noise, up to the integers' rounding. A patient's records stay together, and every patient is used."""
    monkeypatch.setattr(simulation, "ExactNoise", lambda seed: NoNoise())
    app = write({"train": AVERAGES}, NO_CLAIM)
    done = go(app, "--privacy", "patient", "--epsilon", 8, "--blocks", 8, "--clip-norm", 0.8)
    assert done.code == 0, done.err
    calls = [json.loads(line) for line in (tmp_path / "witness.jsonl").read_text().splitlines()]
    norms = []
    for index, node in enumerate(NODES):
        own, blocks = rows(data, node), [seen for partition, seen in calls if partition == index]
        assert sorted(pid for seen in blocks for pid in seen) == sorted(own)
        assert len(blocks) == 8  # that one of 8 is empty has a chance of 8 · (7/8)^300
        total = np.zeros(3)
        for seen in blocks:
            w = np.append(np.mean([record for pid in seen for record in own[pid]], axis=0), 0.5)
            norms.append(float(np.linalg.norm(w)))
            total += w * min(1.0, 0.8 / norms[-1])
        assert replies(tmp_path)[index]["arrays/w"] == pytest.approx(total / 8, abs=1e-5)
    assert min(norms) < 0.8 < max(norms)  # some were clipped, some were not


@pytest.mark.parametrize("epsilon", [0.9, 1, 3])
def test_what_the_command_line_derives_fits_its_epsilon(go, write: Write, tmp_path: Path, epsilon: float) -> None:
    """The release and the noised count of patients: every DIZ answers, and spends nearly all of it."""
    app = write({"train": AVERAGES}, NO_CLAIM)
    done = go(app, "--privacy", "patient", "--epsilon", epsilon, "--blocks", 4, "--json")
    assert done.code == 0, done.err
    assert refusals(tmp_path / "run") == {node: {} for node in NODES}
    spent = [node["epsilon_spent"] for node in done.json["nodes"]]
    assert all(0.98 * epsilon < one <= epsilon for one in spent)


@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_vetted_sums_are_the_sums_over_patients(go, write: Write, data: Path, tmp_path: Path, sandbox: str) -> None:
    """As plain numpy has them, up to noise of standard deviation 0.5 (alpha 1e-9); the app's own code does not run."""
    app = write({"query.sums": {"per_run": 1, "arrays": SUMMED}}, VETTED, vetted={"query.sums": MOMENTS})
    done = go(app, "--sandbox", sandbox)
    assert done.code == 0, done.err
    assert not (tmp_path / "witness.jsonl").exists()
    differences = []
    for reply, node in zip(replies(tmp_path), NODES, strict=True):
        for name, expected in summed(data, node).items():
            differences.append(reply[f"sums/{name}"][0] - expected)
    assert max(map(abs, differences)) < FAR
    assert min(map(abs, differences)) > 0  # there is noise


@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_a_bundle_that_ships_its_own_flame_vetted_changes_nothing(
    go, write: Write, data: Path, tmp_path: Path, sandbox: str
) -> None:
    """Under ground vetted: its package would answer with 7e6, and its server imports it before any DIZ is asked."""
    shadow = {
        "flame_vetted/__init__.py": "",
        "flame_vetted/client.py": SHADOW,
        "tiny/server_app.py": "import flame_vetted.client\n" + SERVER,
    }
    app = write({"query.sums": {"per_run": 1, "arrays": SUMMED}}, VETTED, shadow, vetted={"query.sums": MOMENTS})
    done = go(app, "--sandbox", sandbox)
    assert done.code == 0, done.err
    for reply, node in zip(replies(tmp_path), NODES, strict=True):
        for name, expected in summed(data, node).items():
            assert abs(reply[f"sums/{name}"][0] - expected) < FAR


@pytest.mark.docker
@pytest.mark.slow
def test_vetted_sums_in_containers(go, write: Write, data: Path, tmp_path: Path) -> None:
    """As a DIZ runs them: the image has flame-vetted, the container no file of the bundle, which ships a shadow."""
    shadow = {"flame_vetted/__init__.py": "", "flame_vetted/client.py": SHADOW}
    app = write({"query.sums": {"per_run": 1, "arrays": SUMMED}}, VETTED, shadow, vetted={"query.sums": MOMENTS})
    done = go(app, "--sandbox", "docker", "--image", test_image())
    assert done.code == 0, done.err
    for reply, node in zip(replies(tmp_path), NODES, strict=True):
        for name, expected in summed(data, node).items():
            assert 0 < abs(reply[f"sums/{name}"][0] - expected) < FAR


@pytest.mark.docker
@pytest.mark.slow
def test_blocks_in_containers_of_which_one_runs_at_a_time(
    go, write: Write, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of the blocks' fits, as in the other sandboxes; while one works the others' containers are paused."""
    monkeypatch.setattr(simulation, "ExactNoise", lambda seed: NoNoise())
    awake: list[int] = []
    handle = FrameSession.handle

    def watched(self: FrameSession, *arguments: Any) -> Content:
        running = engine().containers.list(filters={"label": f"{ROLE}=sandbox", "status": "running"})
        awake.append(sum(str(c.labels.get(OWNER, "")).startswith("simulation-") for c in running))
        return handle(self, *arguments)

    monkeypatch.setattr(FrameSession, "handle", watched)
    monkeypatch.setattr(simulation, "worker_count", lambda nodes: 1)
    client = {"tiny/client_app.py": CLIENT.replace("WITNESS", repr("/tmp/witness"))}
    app = write({"train": AVERAGES}, NO_CLAIM, client)
    options = ("--privacy", "patient", "--epsilon", 8, "--blocks", 3, "--clip-norm", 5)
    done = go(app, *options, "--sandbox", "docker", "--image", test_image())
    assert done.code == 0, done.err
    assert awake == [1] * 6
    for reply, node in zip(replies(tmp_path), NODES, strict=True):
        overall = np.mean([record for records in rows(data, node).values() for record in records], axis=0)
        assert reply["arrays/w"][:2] == pytest.approx(overall, abs=0.1)
        assert reply["arrays/w"][2] == pytest.approx(0.5, abs=1e-5)


def test_the_shadow_would_be_seen_without_the_claim(go, write: Write, tmp_path: Path) -> None:
    """The attack works where the app names its own package as what runs, so that the test above means something."""
    shadow = {"flame_vetted/__init__.py": "", "flame_vetted/client.py": SHADOW}
    app = write({"query.sums": {"per_run": 1, "arrays": SUMMED}}, NO_CLAIM, shadow, clientapp="flame_vetted.client:app")
    assert go(app).code == 0
    assert [reply["sums/n"] for reply in replies(tmp_path)] == [[7e6], [7e6]]


@pytest.mark.parametrize("vetted", [None, {"query.other": MOMENTS}], ids=["none", "of another message"])
def test_vetted_without_declared_work_is_refused(go, write: Write, tmp_path: Path, vetted: Any) -> None:
    """Naming flame_vetted as the app's own ClientApp is no claim: what it computes must stand in the terms."""
    messages = {"query.sums": {"per_run": 1, "arrays": SUMMED}}
    more = {"vetted": vetted} if vetted else {}
    app = write(messages, VETTED, clientapp="flame_vetted.client:app", **more)
    done = go(app)
    assert done.code == 2
    assert "vetted" in done.err
    assert not (tmp_path / "run").exists()


def test_vetted_steps_are_made_and_debited_as_the_terms_say(go, write: Write, data: Path, tmp_path: Path) -> None:
    """Twenty steps on (y − wa − b)²: the loss falls well below that of the weights that were sent."""
    app = write({"train": {"per_run": 1, "update": "value", "arrays": TRAINED}}, DESCENT, vetted={"train": STEPS})
    done = go(app, "--policy", "stated-terms")
    assert done.code == 0, done.err
    for reply, node in zip(replies(tmp_path), NODES, strict=True):
        a, y = np.array([record for records in rows(data, node).values() for record in records]).T
        left = y - reply["arrays/0.weight"][0][0] * a - reply["arrays/0.bias"][0]
        assert np.mean(left**2) < 0.6 * np.mean(y**2)
        (reserved,) = audit(tmp_path / "run" / "nodes" / node / "state.db", "reserved")
        event = reserved["event"]
        assert (event["event"], event["sample_rate"], event["steps"]) == ("sampled-gaussian", 0.5, 20)
        assert event["noise_multiplier"] == 4.0


def test_the_clip_norm_adapts_and_never_goes_above_the_terms(
    go, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fits have norms near 0.8, the terms allow 5, the strategy begins with 100. Without noise, to be exact."""
    monkeypatch.setattr(simulation, "ExactNoise", lambda seed: NoNoise())
    privacy = {
        "unit": "patient", "ground": "enforced", "mechanism": "discrete-gaussian", "clip_norm": 5.0,
        "noise_multiplier": 1.0, "epsilon_max": 60.0, "delta": 1e-5, "blocks": 4, "slot_seconds": 1.0,
        "adaptive_clip": True,
    }  # fmt: skip
    app = write({"train": AVERAGES | {"per_run": 7}}, privacy, {"tiny/server_app.py": SEARCHING})
    done = go(app)
    assert done.code == 0, done.err
    rounds = json.loads((tmp_path / "run" / "rounds.json").read_text())
    norms = [one["clip_norm"] for one in rounds]
    assert norms[0] == 5.0
    assert max(norms) <= 5.0
    assert [one["below_clip"] for one in rounds[:5]] == pytest.approx([1.0] * 4 + [0.0], abs=1e-3)
    assert norms[:5] == pytest.approx([5.0 * math.exp(-0.5 * n) for n in range(5)], rel=1e-3)
    assert norms[5] == pytest.approx(norms[3], rel=1e-3)  # too small a norm grows again
    for node in NODES:
        assert len(audit(tmp_path / "run" / "nodes" / node / "state.db", "released")) == 7
