"""The model strategies in whole simulations behind gates, with the ClientApps that docs/strategies.md shows.

Four sites fit a logistic regression, each with patients of its own kind; what is compared with is computed here, from
the same made-up data.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from scipy.optimize import minimize

from tests.integration.runs import result

pytestmark = pytest.mark.slow

DOCUMENT = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
SITES = 4
UNLIKE, ALIKE = "SCALES, SPREAD = 1.0, 1.0", "SCALES, SPREAD = 1.0, 0.0"

DATA = '''
import numpy as np

RIDGE = 0.05


class Data:
    """x (patients, 4) with a first column of ones, y (patients,) of 0 and 1."""

    def __init__(self, site):
        rng = np.random.default_rng(100 + site)
        count = (40, 150, 60, 90)[site]
        x = rng.normal(loc=SPREAD * (site - 1.5) / 2, size=(count, 3))
        own = np.array([0.5, -0.5, 0.5]) + SPREAD * np.array([1.5 - site, 2.0 * (-1) ** site, 0.5 * site])
        self.y = (rng.random(count) < 1 / (1 + np.exp(-(x @ own) - SPREAD * (site - 1)))).astype(float)
        self.x = np.column_stack([np.ones(count), x * SCALES])

    def __len__(self):
        return len(self.y)


def loss(w, data):
    z = data.x @ w
    return np.mean(np.logaddexp(0, z) - data.y * z) + RIDGE / 2 * w @ w


def slope(w, data):
    return data.x.T @ (1 / (1 + np.exp(-data.x @ w)) - data.y) / len(data) + RIDGE * w
'''
CLIENT = """
from fnmatch import fnmatchcase

from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def site(context):
    return int(context.node_config["partition-id"])


def load(context):
    return Data(site(context))


def steps_of(context):
    return (1, 30, 3, 12)[site(context)]


def gradient(arrays, data):
    return {"w": slope(arrays["w"], data)}
"""
SERVER = """
import json, os
from pathlib import Path

import numpy as np
from flame_strategies.fedadam import AdamTerms
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.fedbn import FlameFedBN
from flame_strategies.fednova import FlameFedNova
from flame_strategies.fedyogi import FlameFedYogi
from flame_strategies.robust import FlameRobust
from flame_strategies.scaffold import FlameScaffold
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    start = ArrayRecord({name: Array(np.array(values)) for name, values in START.items()})
    strategy = STRATEGY
    done = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    out = Path(os.environ["FLAME_OUT"])
    np.savez(out / "model.npz", **{name: array.numpy() for name, array in done.arrays.items()})
    told = {"train": done.train_metrics_clientapp, "evaluate": done.evaluate_metrics_clientapp}
    metrics = {leg: [dict(rounds[n]) for n in sorted(rounds)] for leg, rounds in told.items()}
    (out / "metrics.json").write_text(json.dumps(metrics))
"""
PROJECT = ("title", "purpose", "legal_basis", "ethics_reference", "responsible_person")
NO_LIMIT = {"max_numbers_per_patient": 1e6, "max_numbers_per_patient_in_total": 1e9, "exemption": "Made-up patients."}
NO_CLAIM = {"unit": "none", "ground": "none", "mechanism": "none"}
COUNT = {"record": "metrics", "name": "num-examples", "kind": "count"}
STEPS = {"record": "metrics", "name": "local-steps", "kind": "mean"}
START = {"w": [0.0] * 4}
Fit = Callable[..., "Fitted"]


@dataclass(frozen=True)
class Fitted:
    """What a run's server had in the end: the model, and each round's mean metrics by leg."""

    arrays: dict[str, np.ndarray]
    metrics: dict[str, list[dict[str, float]]]

    @property
    def w(self) -> np.ndarray:
        """The coefficients."""
        return self.arrays["w"]


def snippet(heading: str) -> str:
    """The first block of Python under a heading of the document."""
    (section,) = re.findall(rf"^## {heading}.*?(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0]


def world(made: str = UNLIKE) -> dict[str, Any]:
    """The names that the made-up data define."""
    names: dict[str, Any] = {"__name__": "made_up"}
    exec(made + DATA, names)
    return names


def pooled(names: Mapping[str, Any], weights: Any = len) -> np.ndarray:
    """The optimum of all patients' loss together, or of another weighted mean of the sites' losses."""
    sites = [names["Data"](i) for i in range(SITES)]
    shares = [weights(s) for s in sites] if callable(weights) else weights

    def value(w: np.ndarray) -> float:
        return float(np.dot(shares, [names["loss"](w, s) for s in sites]) / np.sum(shares))

    def slope(w: np.ndarray) -> np.ndarray:
        return np.asarray(np.dot(shares, [names["slope"](w, s) for s in sites]) / np.sum(shares))

    return np.asarray(minimize(value, np.zeros(4), jac=slope, method="BFGS", options={"gtol": 1e-10}).x)


def pooled_loss(names: Mapping[str, Any], w: np.ndarray) -> float:
    """Of all patients together."""
    sites = [names["Data"](i) for i in range(SITES)]
    return float(np.average([names["loss"](w, s) for s in sites], weights=[len(s) for s in sites]))


@pytest.fixture
def fit(simulate, tmp_path: Path) -> Fit:
    """Writes an app, simulates it with four DIZ, and returns what came out."""

    def go(
        strategy: str,
        client: str,
        *,
        start: Mapping[str, Any] = START,
        control: bool = False,
        metrics: tuple[Mapping[str, Any], ...] = (COUNT,),
        evaluate: Mapping[str, Any] | None = None,
        made: str = UNLIKE,
        rounds: int = 40,
        steps: int = 20,
        rate: float = 0.1,
        requires_state: bool = False,
    ) -> Fitted:
        names = [*start, *(f"control/{name}" for name in start if control)]
        shapes = {name: list(np.shape(start[name.removeprefix("control/")])) for name in names}
        arrays = [{"record": "arrays", "name": n, "dtype": "float64", "shape": s} for n, s in shapes.items()]
        folder = tmp_path / f"app-{len(list(tmp_path.iterdir()))}"
        out = folder.with_name(folder.name + "-run")
        train = {"per_run": 1000, "update": "delta", "arrays": arrays, "metrics": list(metrics)}
        pyproject = {
            "project": {"name": "tiny", "version": "1.0.0"},
            "tool": {
                "flwr": {
                    "app": {
                        "publisher": "tests",
                        "components": {"serverapp": "tiny.server_app:app", "clientapp": "tiny.client_app:app"},
                        "config": {"rounds": rounds, "steps": steps, "rate": rate},
                    }
                },
                "flame": {
                    "schema": 1,
                    "project": {"id": "tiny"} | dict.fromkeys(PROJECT, "Tests"),
                    "messages": {"train": train} | ({"evaluate": dict(evaluate)} if evaluate else {}),
                    "privacy": NO_CLAIM,
                    "disclosure": NO_LIMIT,
                    "limits": {"requires_state": requires_state},
                    "validity": {"from": "2020-01-01", "until": "2099-12-31"},
                },
            },
        }
        text = re.sub(r'"(20\d\d-\d\d-\d\d)"', r"\1", tomli_w.dumps(pyproject))
        shared = snippet("What all ClientApps below share")
        for name, content in {
            "pyproject.toml": text,
            "tiny/__init__.py": "",
            "tiny/client_app.py": "\n".join([made, DATA, CLIENT, shared, client]),
            "tiny/server_app.py": SERVER.replace("STRATEGY", strategy).replace("START", repr(dict(start))),
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        done = simulate(folder, "--nodes", SITES, "--out", out)
        assert done.code == 0, done.err
        assert [node["refusals"] for node in result(out)["nodes"]] == [[]] * SITES
        with np.load(out / "model.npz") as model:
            arrays = {name: model[name] for name in model.files}
        return Fitted(arrays, json.loads((out / "metrics.json").read_text()))

    return go


PLAIN = snippet("FedAvg, FedAdam, FedYogi, robust rules")


def test_scaffold_ends_at_the_pooled_optimum_where_fedavg_does_not(fit: Fit) -> None:
    """Twenty local steps at sites that contradict each other: SCAFFOLD to 1e-7, FedAvg 0.05 off, however long."""
    best = pooled(world())
    scaffold = fit("FlameScaffold(evaluate=False)", snippet("SCAFFOLD"), control=True, requires_state=True)
    average = fit("FlameFedAvg(evaluate=False)", PLAIN)
    assert set(scaffold.arrays) == {"w"}  # the result is the model alone
    assert np.linalg.norm(scaffold.w - best) < 1e-7
    assert np.linalg.norm(average.w - best) > 0.03


def test_fednova_ends_at_the_pooled_optimum_where_fedavg_ends_at_another_losses(fit: Fit) -> None:
    """Sites make 1 to 30 small steps: FedAvg weighs them by their steps too, to first order in the step length."""
    names, rate = world(), 0.01
    best = pooled(names)
    client = snippet("FedNova")
    nova = fit("FlameFedNova(evaluate=False)", client, metrics=(COUNT, STEPS), rounds=150, rate=rate)
    unequal = PLAIN.replace('int(context.run_config["steps"])', "steps_of(context)")
    assert unequal != PLAIN
    average = fit("FlameFedAvg(evaluate=False)", unequal, rounds=150, rate=rate)
    other = pooled(names, [len(names["Data"](i)) * (1, 30, 3, 12)[i] for i in range(SITES)])
    assert np.linalg.norm(other - best) > 0.2  # the two losses differ
    assert np.linalg.norm(nova.w - best) < 0.1 * np.linalg.norm(other - best)
    assert np.linalg.norm(average.w - other) < 0.1 * np.linalg.norm(other - best)


def test_fedyogi_gets_farther_than_fedavg_where_columns_differ_in_scale(fit: Fit) -> None:
    """One column is a tenth of the others: its gradient is too, and the mean change hardly moves it."""
    made = "SCALES, SPREAD = [1.0, 1.0, 0.1], 0.5"
    names = world(made)
    best = pooled_loss(names, pooled(names))
    yogi = fit("FlameFedYogi(yogi=AdamTerms(eta=0.1), evaluate=False)", PLAIN, made=made, steps=1, rounds=60)
    average = fit("FlameFedAvg(evaluate=False)", PLAIN, made=made, steps=1, rounds=60)
    assert pooled_loss(names, average.w) - best > 1e-3
    assert pooled_loss(names, yogi.w) - best < 1e-4


LIE = "    if site(context) == 2:\n        model = {'w': model['w'] * 0 + 1e6}\n    return answer("
GARBAGE = PLAIN.replace("    return answer(", LIE)


def test_one_site_that_sends_garbage_takes_the_mean_along(fit: Fit) -> None:
    """What the robust rules are for: sites are alike here, but one sends a million for every coefficient."""
    average = fit("FlameFedAvg(evaluate=False)", GARBAGE, made=ALIKE, rounds=5)
    assert np.linalg.norm(average.w - pooled(world(ALIKE))) > 1e3


@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "geometric-median"])
def test_a_robust_rule_stands_one_site_that_sends_garbage(fit: Fit, rule: str) -> None:
    """It comes as near the pooled optimum as three of the four sites can."""
    best = pooled(world(ALIKE))
    strategy = f"FlameRobust(rule={rule!r}, trim=0.3, min_nodes=4, evaluate=False)"
    robust = fit(strategy, GARBAGE, made=ALIKE, steps=4, rounds=20)
    assert np.linalg.norm(robust.w - best) < 0.4 * np.linalg.norm(best)


def test_fedbn_fits_sites_with_other_units_and_nothing_local_leaves(fit: Fit) -> None:
    """Each site's column has an offset and a unit of its own; layers of its own fit it, averaged ones fit nobody."""
    evaluate = {"per_run": 1000, "metrics": [COUNT, {"record": "metrics", "name": "loss", "kind": "mean"}]}
    client = snippet("FedBN")
    own = """
def units(context):
    data = load(context)
    data.x[:, 1:] = data.x[:, 1:] * (0.1, 1.0, 10.0, 3.0)[site(context)] + 20.0 * site(context)
    return data


def first_local():
    return {"norm.mean": np.zeros(3), "norm.std": np.ones(3)}


def normalised(arrays, data):
    clean = Data(0)
    clean.x = np.column_stack([data.x[:, 0], (data.x[:, 1:] - arrays["norm.mean"]) / arrays["norm.std"]])
    clean.y = data.y
    return clean


def fit(arrays, data):
    arrays = arrays | {"norm.mean": data.x[:, 1:].mean(axis=0), "norm.std": data.x[:, 1:].std(axis=0)}
    clean, w = normalised(arrays, data), arrays["w"]
    for _ in range(5):
        w = w - 0.2 * slope(w, clean)
    return arrays | {"w": w}


@app.evaluate()
def evaluate(message, context):
    local = context.state.array_records.get("local")
    arrays = arrays_of(message.content["arrays"]) | (arrays_of(local) if local is not None else {})
    data = units(context)
    said = {"num-examples": len(data), "loss": float(loss(arrays["w"], normalised(arrays, data)))}
    return Message(RecordDict({"metrics": MetricRecord(said)}), reply_to=message)
"""
    client = own + client.replace("load(context)", "units(context)")
    local = fit("FlameFedBN(local=['norm.*'])", client, evaluate=evaluate, rounds=15, requires_state=True)
    everything = {"w": [0.0] * 4, "norm.mean": [0.0] * 3, "norm.std": [1.0] * 3}
    nothing_stays = client.replace('LOCAL = ("norm.*",)', "LOCAL = ()")
    average = fit("FlameFedAvg()", nothing_stays, start=everything, evaluate=evaluate, rounds=15)
    assert set(local.arrays) == {"w"}
    assert set(average.arrays) == set(everything)
    assert local.metrics["evaluate"][-1]["loss"] < 0.7 < average.metrics["evaluate"][-1]["loss"]
