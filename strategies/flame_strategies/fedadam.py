"""FedAdam (Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv:2003.00295, algorithm 2).

The server treats the nodes' mean change as a gradient and takes an Adam step with it. Per coordinate, with
model x,
mean y of the nodes' models and all operations elementwise::

    d = y - x
    m = beta_1 m + (1 - beta_1) d                   m starts at 0
    v = beta_2 v + (1 - beta_2) d^2                 v starts at tau^2
    x = x + eta m / (sqrt(v) + tau)

As in the paper there is no correction for the start of m and v. The state (m, v) is a value: `adam_step`
takes one and returns the next, so that a run can be saved and resumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.averaging import Arrays
from flame_strategies.fedavg import FlameFedAvg

Moments = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class AdamTerms:
    """The step's constants.

    Attributes:
        eta: Server's learning rate, above 0.
        beta_1: Share of the old first moment, in [0, 1).
        beta_2: Share of the old second moment, in [0, 1).
        tau: Degree of adaptivity, above 0; large values come near plain averaging scaled by eta / tau.
    """

    eta: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        if not (self.eta > 0 and self.tau > 0 and 0 <= self.beta_1 < 1 and 0 <= self.beta_2 < 1):
            raise ValueError("FedAdam needs eta and tau above 0, and beta_1 and beta_2 in [0, 1).")


@dataclass(frozen=True)
class AdamState:
    """First and second moments of the mean change, by array name, in float64."""

    m: Moments
    v: Moments

    @classmethod
    def start(cls, model: Arrays, terms: AdamTerms) -> "AdamState":
        """The state before the first round."""
        return cls(
            m={name: np.zeros(array.shape) for name, array in model.items()},
            v={name: np.full(array.shape, terms.tau**2) for name, array in model.items()},
        )

    def as_arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Both moments in one mapping, as ``m/NAME`` and ``v/NAME``."""
        return {f"{kind}/{name}": a for kind, moment in (("m", self.m), ("v", self.v)) for name, a in moment.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "AdamState":
        """What `as_arrays` joined.

        Raises:
            ValueError: It is none.
        """
        m, v = (
            {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}
            for kind in ("m/", "v/")
        )
        if not m or m.keys() != v.keys() or len(m) + len(v) != len(arrays):
            raise ValueError("these are no first and second moments")
        if any(m[name].shape != v[name].shape for name in m):
            raise ValueError("the first and second moments have different shapes")
        return cls(m, v)


def adam_step(
    model: Arrays, mean: Arrays, state: AdamState, terms: AdamTerms
) -> tuple[dict[str, npt.NDArray[np.float64]], AdamState]:
    """The next model and the next state; arguments are left as they are."""
    moved, m, v = {}, {}, {}
    for name, array in model.items():
        x = array.astype(np.float64)
        change = mean[name] - x
        m[name] = terms.beta_1 * state.m[name] + (1 - terms.beta_1) * change
        v[name] = terms.beta_2 * state.v[name] + (1 - terms.beta_2) * change**2
        moved[name] = x + terms.eta * m[name] / (np.sqrt(v[name]) + terms.tau)
    return moved, AdamState(m, v)


class FlameFedAdam(FlameFedAvg):
    """Federated averaging with an Adam step at the server.

    Attributes:
        state: The moments; None before the first round.
        step: From the model, the mean and the state to the next model and the next state.
    """

    step = staticmethod(adam_step)

    def __init__(self, *, adam: AdamTerms | None = None, **terms: Any) -> None:
        """Set the step's constants and the terms of `FlameFedAvg`."""
        super().__init__(**terms)
        self.adam = adam or AdamTerms()
        self.state: AdamState | None = None

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """One Adam step from the model that was sent."""
        state = self.state or AdamState.start(model, self.adam)
        moved, self.state = self.step(model, mean, state, self.adam)
        return moved

    def save_state(self) -> dict[str, npt.NDArray[Any]]:
        """The moments, as ``m/NAME`` and ``v/NAME``."""
        return {} if self.state is None else self.state.as_arrays()

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take back the moments."""
        self.state = AdamState.from_arrays(state) if state else None
