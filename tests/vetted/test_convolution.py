"""Convolutions in stated models: torch's outputs and per-record gradients, and the same bits whoever is beside."""

from typing import Any

import numpy as np
import pytest
from flame_vetted.network import Network
from pydantic import ValidationError

from tests.vetted.made import columns, model

torch = pytest.importorskip("torch", reason="torch is not installed: the oracle of gradients")

RNG = np.random.default_rng(8)
FLAT: dict[str, Any] = {"shape": [5, 6], "inputs": 2, "outputs": 3, "kernel": 3, "stride": 2, "padding": 1}
DEEP: dict[str, Any] = {"shape": [4, 3, 5], "inputs": 1, "outputs": 2, "kernel": 2, "bias": False}
CASES = {"pictures": FLAT, "volumes": DEEP, "one number each": FLAT | {"kernel": 1, "padding": 0, "stride": 1}}


def stated(case: dict[str, Any]) -> Network:
    """Two convolutions, the second over what the first leaves, and a linear layer."""
    first = {"kind": "convolution"} | case
    left = [(s + 2 * case.get("padding", 0) - case["kernel"]) // case.get("stride", 1) + 1 for s in case["shape"]]
    second = {"kind": "convolution", "shape": left, "inputs": case["outputs"], "outputs": 2, "kernel": 2}
    ends = int(2 * np.prod([s - 1 for s in left]))
    width = case["inputs"] * int(np.prod(case["shape"]))
    layers = [first, {"kind": "tanh"}, second, {"kind": "relu"}, {"kind": "linear", "inputs": ends, "outputs": 1}]
    return Network(model(*layers, features=[columns(*(f"v{i:03}" for i in range(width)))]))


def in_torch(network: Network, weights: Any) -> Any:
    made: list[Any] = []
    for layer in network.work.layers:
        match layer.kind:
            case "convolution":
                kind = torch.nn.Conv2d if len(layer.shape) == 2 else torch.nn.Conv3d
                shape = (layer.inputs, *layer.shape)
                sizes = {"stride": layer.stride, "padding": layer.padding, "bias": layer.bias}
                convolve = kind(layer.inputs, layer.outputs, layer.kernel, **sizes)
                made.append(torch.nn.Sequential(torch.nn.Unflatten(1, shape), convolve, torch.nn.Flatten()))
            case "linear":
                made.append(torch.nn.Linear(layer.inputs, layer.outputs))
            case kind:
                made.append({"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[kind]())
    module = torch.nn.Sequential(*made).double()
    for parameter, array in zip(module.parameters(), network.arrays(weights).values(), strict=True):
        parameter.data = torch.from_numpy(array.copy())
    return module


def data(network: Network, rows: int) -> tuple[Any, Any]:
    return RNG.normal(size=(rows, network.work.features[0].count)), RNG.normal(size=rows)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_are_those_of_torch_one_record_at_a_time(case: dict[str, Any]) -> None:
    network = stated(case)
    x, y = data(network, 4)
    weights = RNG.normal(size=network.width)
    module = in_torch(network, weights)
    found = network.gradients(weights, x, y)
    assert network.outputs(weights, x) == pytest.approx(module(torch.from_numpy(x)).detach().numpy(), abs=1e-11)
    for i in range(len(x)):
        module.zero_grad()
        ((module(torch.from_numpy(x[i : i + 1]))[0, 0] - y[i]) ** 2).backward()
        wanted = torch.cat([p.grad.reshape(-1) for p in module.parameters()]).numpy()
        assert found[i] == pytest.approx(wanted, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("magnitude", [1.0, 1e5, 1e200])
def test_a_records_gradient_is_the_same_bits_whoever_is_beside_it(case: dict[str, Any], magnitude: float) -> None:
    network = stated(case)
    x, y = data(network, 67)
    weights = RNG.normal(size=network.width) * magnitude
    whole = network.gradients(weights, x, y)
    for start, stop in [(0, 1), (1, 67), (5, 38), (30, 63), (66, 67)]:
        part = network.gradients(weights, x[start:stop], y[start:stop])
        assert np.array_equal(whole[start:stop], part, equal_nan=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": 3},
        {"kernel": 9},
        {"shape": [5]},
        {"shape": [2, 2, 2, 2]},
        {"shape": [1024, 1024]},
        {"shape": [5, 5]},
        {"outputs": 4},
    ],
    ids=["padding", "kernel", "a line", "four sizes", "too large", "comes in", "goes out"],
)
def test_a_layer_that_does_not_fit_is_an_error(changes: dict[str, Any]) -> None:
    layers = [dict(layer) for layer in stated(FLAT).work.model_dump(mode="json")["layers"]]
    layers[0] |= changes
    with pytest.raises(ValidationError):
        model(*layers, features=[columns(*(f"v{i:03}" for i in range(60)))])
