"""Convolutions of pictures and volumes: predictions, and each record's own gradient.

As in `network`, one record's numbers must not be rounded differently with other records beside it. So the sum over a
kernel's places and the channels is a loop of elementwise steps, and only sums within one record's row of numbers are
left to numpy.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flame_fl.contract.vetted_terms import Convolution
from flame_vetted.cohort import Floats

_ALL = slice(None)
Backward = Callable[[Floats, dict[str, Floats]], Floats]


def convolution(
    layer: Convolution, x: Floats, weight: Floats, bias: Floats | None, *, first: bool
) -> tuple[Floats, Backward]:
    """A layer's output, and what takes the gradient back through it.

    Args:
        layer: The layer; its numbers stand channel by channel, row by row.
        x: (n, inputs · places).
        weight: (outputs, inputs, kernel, …).
        bias: (outputs,).
        first: Nobody needs the gradient by `x`.

    Returns:
        (n, outputs · places left), and a function of the gradient by it.
    """
    n, padding = len(x), layer.padding
    inner = tuple(slice(padding, padding + size) for size in layer.shape)
    padded = np.zeros((n, layer.inputs, *(size + 2 * padding for size in layer.shape)))
    padded[_at(..., *inner)] = x.reshape(n, layer.inputs, *layer.shape)
    out = np.zeros((n, layer.outputs, *layer.left))
    for o, i, at, seen in _places(layer):
        out[:, o] += padded[_at(_ALL, i, *seen)] * weight[_at(o, i, *at)]
    if bias is not None:
        for o in range(layer.outputs):
            out[:, o] += bias[o]

    def back(gradient: Floats, into: dict[str, Floats]) -> Floats:
        by_out = gradient.reshape(out.shape)
        for o, i, at, seen in _places(layer):
            into["weight"][_at(_ALL, o, i, *at)] = _row_sum(by_out[:, o] * padded[_at(_ALL, i, *seen)])
        if bias is not None:
            for o in range(layer.outputs):
                into["bias"][:, o] = _row_sum(by_out[:, o])
        if first:
            return gradient
        by_in = np.zeros_like(padded)
        for o, i, at, seen in _places(layer):
            by_in[_at(_ALL, i, *seen)] += by_out[:, o] * weight[_at(o, i, *at)]
        return np.ascontiguousarray(by_in[_at(..., *inner)]).reshape(x.shape)

    return out.reshape(n, -1), back


def _places(layer: Convolution) -> Iterator[tuple[int, int, tuple[int, ...], tuple[slice, ...]]]:
    """Each weight: its outputs' and inputs' channel, its place in the kernel, and the numbers that it is applied to."""
    offsets = itertools.product(range(layer.kernel), repeat=len(layer.shape))
    for at in offsets:
        seen = tuple(
            slice(start, start + layer.stride * (count - 1) + 1, layer.stride)
            for start, count in zip(at, layer.left, strict=True)
        )
        for o, i in itertools.product(range(layer.outputs), range(layer.inputs)):
            yield o, i, at, seen


def _at(*places: Any) -> Any:
    """An index of mixed parts."""
    return places


def _row_sum(values: Floats) -> Floats:
    """(n, …) -> (n,): numpy adds up a contiguous row in an order that its length alone decides."""
    total: Floats = np.ascontiguousarray(values).reshape(len(values), -1).sum(axis=1)
    return total
