"""Stated models: outputs and per-record gradients equal torch's, record by record, and Opacus's."""

from typing import Any

import numpy as np
import pytest
from flame_vetted.network import Network

from tests.vetted.made import model

torch = pytest.importorskip("torch", reason="torch is not installed: the oracle of gradients")

RNG = np.random.default_rng(3)
HIDDEN: list[dict[str, Any]] = [
    {"kind": "layer-norm", "width": 3},
    {"kind": "linear", "inputs": 3, "outputs": 8},
    {"kind": "gelu"},
    {"kind": "group-norm", "width": 8, "groups": 2},
    {"kind": "linear", "inputs": 8, "outputs": 6, "bias": False},
    {"kind": "tanh"},
    {"kind": "linear", "inputs": 6, "outputs": 4},
    {"kind": "sigmoid"},
    {"kind": "linear", "inputs": 4, "outputs": 4},
    {"kind": "relu"},
]
TASKS: dict[str, tuple[int, Any]] = {
    "regression": (1, torch.nn.MSELoss(reduction="sum")),
    "binary": (1, torch.nn.BCEWithLogitsLoss(reduction="sum")),
    "multiclass": (3, torch.nn.CrossEntropyLoss(reduction="sum")),
}


def stated(task: str) -> Network:
    target = {"target": {"name": "code", "values": ["u", "v", "w"][: 3 if task == "multiclass" else 2]}}
    last = {"kind": "linear", "inputs": 4, "outputs": TASKS[task][0]}
    return Network(model(*HIDDEN, last, task=task, **({} if task == "regression" else target)))


def in_torch(network: Network, weights: Any) -> Any:
    """The same model; its state has the same names."""
    made: list[Any] = []
    for layer in network.work.layers:
        match layer.kind:
            case "linear":
                made.append(torch.nn.Linear(layer.inputs, layer.outputs, bias=layer.bias))
            case "layer-norm":
                made.append(torch.nn.LayerNorm(layer.width))
            case "group-norm":
                made.append(torch.nn.GroupNorm(layer.groups, layer.width))
            case "gelu":
                made.append(torch.nn.GELU(approximate="tanh"))
            case kind:
                made.append({"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}[kind]())
    module = torch.nn.Sequential(*made).double()
    module.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in network.arrays(weights).items()})
    return module


def some_data(task: str, rows: int = 7) -> tuple[Any, Any]:
    y = RNG.normal(size=rows) if task == "regression" else RNG.integers(0, 3 if task == "multiclass" else 2, rows)
    return RNG.normal(size=(rows, 3)), y.astype(float)


def loss(task: str, out: Any, y: Any) -> Any:
    y = torch.from_numpy(y)
    return TASKS[task][1](out, y.long()) if task == "multiclass" else TASKS[task][1](out[:, 0], y)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_those_of_torch_one_record_at_a_time(task: str) -> None:
    network, (x, y) = stated(task), some_data(task)
    weights = RNG.normal(size=network.width)
    module = in_torch(network, weights)
    found = network.gradients(weights, x, y)
    assert network.outputs(weights, x) == pytest.approx(module(torch.from_numpy(x)).detach().numpy(), abs=1e-12)
    for i in range(len(x)):
        module.zero_grad()
        loss(task, module(torch.from_numpy(x[i : i + 1])), y[i : i + 1]).backward()
        wanted = torch.cat([p.grad.reshape(-1) for p in module.parameters()]).numpy()
        assert found[i] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_those_of_opacus(task: str) -> None:
    grad_sample = pytest.importorskip("opacus.grad_sample", reason="opacus is not installed: the oracle of gradients")
    network, (x, y) = stated(task), some_data(task)
    weights = RNG.normal(size=network.width)
    module = grad_sample.GradSampleModule(in_torch(network, weights), loss_reduction="sum")
    loss(task, module(torch.from_numpy(x)), y).backward()
    wanted = torch.cat([p.grad_sample.reshape(len(x), -1) for p in module.parameters()], dim=1).numpy()
    assert network.gradients(weights, x, y) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("magnitude", [1.0, 1e5, 1e200])
def test_a_records_gradient_is_the_same_bits_whoever_is_beside_it(task: str, magnitude: float) -> None:
    """Wherever it stands in a batch of any size: sizes here end inside and between a processor's vectors."""
    network, (x, y) = stated(task), some_data(task, rows=67)
    weights = RNG.normal(size=network.width) * magnitude
    whole = network.gradients(weights, x, y)
    for start, stop in [(0, 1), (1, 67), (5, 38), (30, 63), (66, 67)]:
        part = network.gradients(weights, x[start:stop], y[start:stop])
        assert np.array_equal(whole[start:stop], part, equal_nan=True)


def test_weights_of_another_shape_are_an_error() -> None:
    network = Network(model())
    with pytest.raises(ValueError, match="shapes"):
        network.flat([np.zeros((1, 4)), np.zeros(1)])
