"""FedNova (Wang et al., NeurIPS 2020, arXiv:2007.07481): normalised averaging.

Sites that make different numbers of local steps count by their patients all the same. Site i's local optimiser changes
the model by -eta G_i a_i: G_i holds its gradients as columns, a_i how much each of them counts in the end (for plain
gradient steps all 1). The mean of these changes favours sites with many steps, and ends at the optimum of another loss.
With shares p_i by examples the paper normalises first::

    d_i = G_i a_i / |a_i|_1
    x   = x - tau_eff eta sum p_i d_i                 tau_eff = sum p_i |a_i|_1

|a_i|_1 is the number of steps tau_i for plain steps; for momentum rho it is
(tau_i - rho (1 - rho^tau_i) / (1 - rho)) / (1 - rho), and for a proximal term with weight mu, alpha = eta mu,
(1 - (1 - alpha)^tau_i) / alpha.

*What a site sends*, with y_i its model after its steps: the normalised model z_i = x + (y_i - x) / |a_i|_1, and
|a_i|_1 as the metric ``local-steps`` of kind mean. The server's step is then::

    x = x + (sum p_i |a_i|_1) (sum p_i z_i - x)

It is the paper's: y_i - x = -eta G_i a_i, so z_i - x = -eta d_i, and as the p_i sum to 1, sum p_i z_i - x is
-eta sum p_i d_i. Both factors are weighted means of what the sites sent, so masks leave the result as it is: a product
of means needs no single site's value.

Arrays of whole numbers, such as counters, are averaged as they are.
"""

import math
from typing import Any

import numpy as np
from flwr.app import RecordDict

from flame_strategies.averaging import Arrays
from flame_strategies.errors import UnusableReply
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.noise_aware import is_claimed

STEPS_KEY = "local-steps"
"""The metric in which a site says |a_i|_1."""


class FlameFedNova(FlameFedAvg):
    """Federated averaging of normalised changes.

    Attributes:
        round_steps: tau_eff of the last round, None before the first.
    """

    def __init__(self, *, effective_steps: float | None = None, steps_key: str = STEPS_KEY, **terms: Any) -> None:
        """Set how far the server goes along the mean direction, and the terms of `FlameFedAvg`.

        Args:
            effective_steps: tau_eff, above 0. None is the paper's mean over the sites; a number is for noised metrics,
                whose mean may be far off.
            steps_key: The metric's name.
            terms: Those of `FlameFedAvg`.
        """
        if effective_steps is not None and not 0 < effective_steps < math.inf:
            raise ValueError(f"effective_steps is {effective_steps}; it must be above 0 and finite.")
        super().__init__(**terms)
        self.effective_steps = effective_steps
        self.steps_key = steps_key
        self.round_steps: float | None = None

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """tau_eff times the mean normalised change from the model that was sent."""
        moved = {name: np.asarray(value) for name, value in mean.items()}
        for name, array in model.items():
            if np.issubdtype(array.dtype, np.floating):
                x = array.astype(np.float64)
                moved[name] = x + (self.round_steps or 0.0) * (mean[name] - x)
        return moved

    def _weights(self, contents: list[RecordDict]) -> list[float]:
        """Those of the arrays: the steps are averaged with the same."""
        weights = super()._weights(contents)
        steps = math.fsum(w * self._steps(c) for w, c in zip(weights, contents, strict=True)) / math.fsum(weights)
        self.round_steps = self.effective_steps or steps
        if not self.round_steps > 0:
            raise UnusableReply(
                f"The sites' mean {self.steps_key} is {steps:g}, which noise can do; set effective_steps to a number."
            )
        return weights

    def _flaw(self, content: RecordDict, before: list[RecordDict], model: Arrays | None) -> str | None:
        flaw = super()._flaw(content, before, model)
        if flaw is None and model is not None:
            steps = self._steps(content)
            if not (math.isfinite(steps) and (steps > 0 or is_claimed(content))):  # under a claim it is noised
                return f"it needs one number above 0 as {self.steps_key}"
        return flaw

    def _steps(self, content: RecordDict) -> float:
        """What a reply says, NaN if that is no number."""
        (metrics,) = content.metric_records.values()
        value = metrics.get(self.steps_key)
        return float(value) if isinstance(value, int | float) else math.nan
