"""FedYogi (Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv:2003.00295, algorithm 2).

As FedAdam, but the second moment moves by a bounded amount in each round, whatever its size. Per coordinate, with
model x, mean y of the nodes' models and all operations elementwise::

    d = y - x
    m = beta_1 m + (1 - beta_1) d                   m starts at 0
    v = v - (1 - beta_2) d^2 sign(v - d^2)          v starts at tau^2
    x = x + eta m / (sqrt(v) + tau)

So v forgets large changes slowly: after a few rounds with large changes the steps stay small for longer than FedAdam's.
v never falls below 0, because it shrinks only where it exceeds d^2, and then by less than that. As in the paper there
is no correction for the start of m and v. d is linear in the replies, so nothing here needs to see a single one.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.averaging import Arrays
from flame_strategies.fedadam import AdamState, AdamTerms, FlameFedAdam


def yogi_step(
    model: Arrays, mean: Arrays, state: AdamState, terms: AdamTerms
) -> tuple[dict[str, npt.NDArray[np.float64]], AdamState]:
    """The next model and the next state; arguments are left as they are."""
    moved, m, v = {}, {}, {}
    for name, array in model.items():
        x = array.astype(np.float64)
        change = mean[name] - x
        square = change**2
        m[name] = terms.beta_1 * state.m[name] + (1 - terms.beta_1) * change
        v[name] = state.v[name] - (1 - terms.beta_2) * square * np.sign(state.v[name] - square)
        moved[name] = x + terms.eta * m[name] / (np.sqrt(v[name]) + terms.tau)
    return moved, AdamState(m, v)


class FlameFedYogi(FlameFedAdam):
    """Federated averaging with a Yogi step at the server; constants and moments are FedAdam's."""

    step = staticmethod(yogi_step)

    def __init__(self, *, yogi: AdamTerms | None = None, **terms: Any) -> None:
        """Set the step's constants, which are FedAdam's, and the terms of `FlameFedAvg`."""
        super().__init__(adam=yogi, **terms)
