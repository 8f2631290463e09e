"""Stated models: predictions, and the gradient of the loss for each record by itself.

Back-propagation by hand over the few layers that the terms allow, in float64. The loops over columns take the place of
matrix products: a product in a matrix library rounds one record's numbers differently with other records beside it.
That costs little, since per-record gradients are outer products anyway.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flame_fl.contract.vetted_terms import Activation, Convolution, DpSgd, GroupNorm, LayerNorm, Linear, parameters
from flame_vetted.cohort import Floats
from flame_vetted.convolution import convolution

_EPSILON = 1e-5  # of the norms, as in torch
_GELU = math.sqrt(2 / math.pi)
Backward = Callable[[Floats, dict[str, Floats]], Floats]
"""Gradient of the loss by a layer's output (n, out) -> by its input (n, in); by its arrays, (n, …) each, it is written
into "weight" and "bias"."""


@dataclass(frozen=True)
class Network:
    """A model of stated layers. Its weights are one flat vector, in the order of `parameters`."""

    work: DpSgd

    @property
    def width(self) -> int:
        """How many weights."""
        return sum(math.prod(shape) for shape in parameters(self.work).values())

    def flat(self, arrays: Sequence[Floats]) -> Floats:
        """Arrays in the order of `parameters` as one vector.

        Raises:
            ValueError: A shape is wrong.
        """
        shapes = list(parameters(self.work).values())
        if [a.shape for a in arrays] != shapes:
            raise ValueError("the weights have other shapes than the model")
        return np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in arrays])

    def arrays(self, flat: Floats) -> dict[str, Floats]:
        """The arrays of a flat vector, by name."""
        found, at = {}, 0
        for name, shape in parameters(self.work).items():
            found[name] = flat[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        return found

    def outputs(self, flat: Floats, x: Floats) -> Floats:
        """(n, columns) -> (n, outputs): a prediction or logits."""
        return self._forward(flat, x)[0]

    def gradients(self, flat: Floats, x: Floats, y: Floats) -> Floats:
        """(n, width): each record's gradient of its own loss. `y` is the target's value or its category's number."""
        with np.errstate(all="ignore"):
            out, steps = self._forward(flat, x)
            gradient, found = _loss_gradient(self.work.task, out, y), np.empty((len(x), self.width))
            into = self._parts(found)
            for place in reversed(range(len(steps))):
                mine = {name: into[f"{place}.{name}"] for name in ("weight", "bias") if f"{place}.{name}" in into}
                gradient = steps[place](gradient, mine)
            return found

    def _parts(self, found: Floats) -> dict[str, Floats]:
        """Views (n, …) of the columns that belong to each array."""
        parts, at = {}, 0
        for name, shape in parameters(self.work).items():
            parts[name] = found[:, at : at + math.prod(shape)].reshape(len(found), *shape)
            at += math.prod(shape)
        return parts

    def _forward(self, flat: Floats, x: Floats) -> tuple[Floats, list[Backward]]:
        arrays, steps, first = self.arrays(flat), [], True
        for place, layer in enumerate(self.work.layers):
            weight, bias = arrays.get(f"{place}.weight"), arrays.get(f"{place}.bias")
            if isinstance(layer, Activation):
                x, back = _ACTIVATIONS[layer.kind](x)
            elif isinstance(layer, Convolution):
                assert weight is not None  # noqa: S101  (parameters gives every convolution one)
                x, back = convolution(layer, x, weight, bias, first=first)
            elif isinstance(layer, Linear):
                assert weight is not None  # noqa: S101  (parameters gives every linear layer one)
                x, back = _linear(x, weight, bias, first=first)
            else:
                assert weight is not None and bias is not None  # noqa: S101, PT018
                x, back = _norm(layer, x, weight, bias)
            steps.append(back)
            first = False
        return x, steps


def times(x: Floats, rows: Floats) -> Floats:
    """The product x @ rows, (n, k) and (k, m) -> (n, m), each record's sums added in the order of k whatever n is."""
    total = np.zeros((len(x), rows.shape[1]))
    for k in range(len(rows)):
        total += x[:, k : k + 1] * rows[k]
    return total


def _linear(x: Floats, weight: Floats, bias: Floats | None, *, first: bool) -> tuple[Floats, Backward]:
    out = times(x, np.ascontiguousarray(weight.T))
    if bias is not None:
        out += bias

    def back(gradient: Floats, into: dict[str, Floats]) -> Floats:
        np.multiply(gradient[:, :, None], x[:, None, :], out=into["weight"])
        if bias is not None:
            into["bias"][:] = gradient
        return gradient if first else times(gradient, weight)  # nobody needs the data's gradient

    return out, back


def _norm(layer: GroupNorm | LayerNorm, x: Floats, weight: Floats, bias: Floats) -> tuple[Floats, Backward]:
    groups = layer.groups if isinstance(layer, GroupNorm) else 1
    size = layer.width // groups
    grouped = x.reshape(len(x), groups, size)
    centred = grouped - (_last_sum(grouped) / size)[..., None]
    deviation = np.sqrt(_last_sum(centred * centred) / size + _EPSILON)[..., None]
    normal = centred / deviation

    def back(gradient: Floats, into: dict[str, Floats]) -> Floats:
        np.multiply(gradient, normal.reshape(x.shape), out=into["weight"])
        into["bias"][:] = gradient
        inner = (gradient * weight).reshape(normal.shape)
        mean, tilt = _last_sum(inner) / size, _last_sum(inner * normal) / size
        of_input: Floats = (inner - mean[..., None] - normal * tilt[..., None]) / deviation
        return of_input.reshape(x.shape)

    return normal.reshape(x.shape) * weight + bias, back


def _last_sum(x: Floats) -> Floats:
    """Over the last axis, in order."""
    total = np.zeros(x.shape[:-1])
    for k in range(x.shape[-1]):
        total += x[..., k]
    return total


def _relu(x: Floats) -> tuple[Floats, Backward]:
    return np.maximum(x, 0.0), lambda gradient, into: np.where(x > 0, gradient, 0.0)


def _tanh(x: Floats) -> tuple[Floats, Backward]:
    out = np.tanh(x)
    return out, lambda gradient, into: gradient * (1.0 - out * out)


def _sigmoid(x: Floats) -> tuple[Floats, Backward]:
    out = logistic(x)
    return out, lambda gradient, into: gradient * (out * (1.0 - out))


def _gelu(x: Floats) -> tuple[Floats, Backward]:
    """With tanh (Hendrycks and Gimpel 2016, section 2)."""
    bend = np.tanh(_GELU * (x + 0.044715 * (x * x * x)))
    slope = 0.5 * (1.0 + bend) + 0.5 * x * (1.0 - bend * bend) * (_GELU * (1.0 + 3 * 0.044715 * (x * x)))
    return 0.5 * x * (1.0 + bend), lambda gradient, into: gradient * slope


_ACTIVATIONS: dict[str, Callable[[Floats], tuple[Floats, Backward]]] = {
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
}


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), which never overflows this way."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def _loss_gradient(task: str, out: Floats, y: Floats) -> Floats:
    """By the outputs: of (f − y)², or of cross-entropy of the logits."""
    if task == "regression":
        return 2.0 * (out - y[:, None])
    if task == "binary":
        return logistic(out) - y[:, None]
    weights = np.exp(out - out.max(axis=1, keepdims=True))
    probabilities: Floats = weights / _last_sum(weights)[:, None]
    return probabilities - np.equal(y[:, None], np.arange(out.shape[1]))
