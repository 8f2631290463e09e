"""SCAFFOLD (Karimireddy et al., ICML 2020, arXiv:1910.06378, algorithm 1, option II): steps corrected for each site.

With many local steps each site walks towards its own optimum, and the mean of the sites is not the pooled optimum.
Here the server sends, beside the model x, a control variate c; each site i keeps its own, c_i, both 0 at first, and
makes K steps with learning rate eta_l and gradient g_i::

    y_i = y_i - eta_l (g_i(y_i) - c_i + c)            y_i starts at x
    c_i = c_i - c + (x - y_i) / (K eta_l)             option II: the site's mean gradient on its way

The site answers with y_i and its new c_i; the server forms, over the sites S that answered, with shares p_i::

    x = x + eta_g (sum_S p_i y_i - x)
    c = sum_S p_i c_i

*Where this is the paper's.* If all sites answer, c = sum p_i c_i before and after, so that the paper's
c + sum p_i (change of c_i) is the same number. The paper's shares are equal; here they are by examples as in `fedavg`,
which makes the fixed point that of the pooled patients. Let all sites state the same ``num-examples`` for the paper's.

*Where it differs, and why.* The paper draws some of many clients in each round, and c goes on holding the c_i of those
that were not drawn. Hospitals all take part, until one withdraws, or loses its session and with it its c_i. Summed
changes would then leave its last gradient in c for good, and with it a bias in the model. A mean of the c_i of those
that are there forgets it in the next round. It also keeps the gates' noise from adding up in c from round to round.

*In messages* c is in the model's own record, as ``control/NAME`` beside each floating-point array NAME, and so is c_i
in the reply: the release contract lists both. c_i itself stays in the site's Context.state. x and c are means: masks
and the gates' noise leave the algorithm as it is, with twice as many coordinates to clip and noise together.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from flame_strategies.averaging import Arrays, cast_back
from flame_strategies.fedavg import FlameFedAvg

CONTROL = "control/"
"""Begins the name of each array of the control variate, in messages and in replies."""


def without_control(arrays: ArrayRecord) -> ArrayRecord:
    """The model alone."""
    return ArrayRecord({name: array for name, array in arrays.items() if not name.startswith(CONTROL)})


class FlameScaffold(FlameFedAvg):
    """Federated averaging with control variates.

    Attributes:
        control: c by the names of the model's arrays; None before the first round. Set it to resume.
    """

    def __init__(self, *, global_rate: float = 1.0, **terms: Any) -> None:
        """Set eta_g (above 0; 1 is the mean of the sites' models) and the terms of `FlameFedAvg`."""
        if not 0 < global_rate < math.inf:
            raise ValueError(f"global_rate is {global_rate}; it must be above 0 and finite.")
        super().__init__(**terms)
        self.global_rate = global_rate
        self.control: dict[str, npt.NDArray[Any]] | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `FlameFedAvg.configure_train`, with the control variate beside the model."""
        model = without_control(arrays)
        try:
            return list(super().configure_train(server_round, self._with_control(model), config, grid))
        finally:
            self.arrays = model

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """As `FlameFedAvg.aggregate_train`; what comes back is the model alone, `control` has moved with it."""
        if self.arrays is not None:
            self.arrays = self._with_control(without_control(self.arrays))
        try:
            arrays, metrics = super().aggregate_train(server_round, replies)
        finally:
            self.arrays = without_control(self.arrays) if self.arrays is not None else None
        return without_control(arrays), metrics

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """The model's step; the control variate becomes the sites' mean, in the dtype it travels in."""
        moved = {name: np.asarray(value) for name, value in mean.items()}
        for name in (name for name in model if CONTROL + name in model):
            x = model[name].astype(np.float64)
            moved[name] = x + self.global_rate * (mean[name] - x)
        controls = {name: array for name, array in moved.items() if name.startswith(CONTROL)}
        self.control = {n.removeprefix(CONTROL): cast_back(a, model[n].dtype) for n, a in controls.items()}
        return moved

    def save_state(self) -> dict[str, npt.NDArray[Any]]:
        """The server's control variate, by the names that it has in messages. The sites' own are not the server's."""
        return {CONTROL + name: array for name, array in (self.control or {}).items()}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take back what `save_state` gave.

        Raises:
            ValueError: It is not a control variate.
        """
        if odd := sorted(name for name in state if not name.startswith(CONTROL)):
            raise ValueError(f"SCAFFOLD's state is arrays {CONTROL}NAME, the checkpoint also holds {', '.join(odd)}.")
        self.control = {name.removeprefix(CONTROL): np.array(array) for name, array in state.items()} or None

    def _with_control(self, model: ArrayRecord) -> ArrayRecord:
        """The model and c, which starts at 0; arrays of whole numbers, such as counters, have none."""
        plain = {name: array.numpy() for name, array in model.items()}
        floats = {name: array for name, array in plain.items() if np.issubdtype(array.dtype, np.floating)}
        if self.control is None:
            self.control = {name: np.zeros_like(array) for name, array in floats.items()}
        if {n: a.shape for n, a in self.control.items()} != {n: a.shape for n, a in floats.items()}:
            raise ValueError("The control variate has other names or shapes than the model; set control to None.")
        return ArrayRecord({**model, **{CONTROL + name: Array(self.control[name]) for name in floats}})
