"""DP-SGD on a torch module of the researcher's own, for use inside the researcher's own ClientApp.

**Ground: reviewed.** The module and the app are code that a person must read: code in this process can look at the data
in any way, and what is returned can be changed. The noise, the clipping and the sampling are the vetted ones, so that
honest code gets what the terms promise, up to float32 rounding: a batch's rounding depends on who else is in it.
Against code that is not honest, state a model (`[tool.flame.vetted]`) instead.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_vetted.claim import Claim
from flame_vetted.cohort import Floats, Indices, people
from flame_vetted.dp_sgd import Descent, GradientsOf, descend

try:
    import torch
    from opacus.grad_sample import GradSampleModule
    from opacus.validators import ModuleValidator
except ImportError:
    raise InputError("torch or opacus is not installed.", mend="pip install 'flame-vetted[torch]'") from None

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def train(
    module: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    patients: Sequence[str],
    *,
    loss: Loss,
    claim: Claim,
    descent: Descent,
    records_per_patient: int = 100,
) -> None:
    """Train `module` in place for `claim.steps` steps. The claim's ground is *reviewed*, never vetted.

    Args:
        module: Without layers that mix records; Opacus's validator looks at it.
        x: Inputs, (records, …).
        y: Targets, (records, …).
        patients: Whose each record is.
        loss: Outputs and targets -> the *sum* of the records' losses.
        claim: Clip norm, noise, sample rate and steps, as in the approved terms.
        descent: How the weights move.
        records_per_patient: A patient's gradient is the mean over its first so many records.

    Raises:
        InputError: The module has a layer that mixes records, or one that Opacus cannot differentiate per record.
    """
    if problems := ModuleValidator.validate(module.train(), strict=False):
        raise InputError(f"The model cannot be trained so: {problems[0]}", mend="Use GroupNorm or LayerNorm.")
    learnt = [p for p in module.parameters() if p.requires_grad]
    start = torch.nn.utils.parameters_to_vector(learnt).detach().numpy().astype(np.float64)
    everybody = people(list(patients), np.ones(len(patients), dtype=np.bool_), records_per_patient)
    weights = descend(start, everybody, gradients(module, x, y, loss), claim, descent)
    _load(weights, learnt)


def gradients(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, loss: Loss) -> GradientsOf:
    """Per-record gradients through Opacus."""
    learnt = [p for p in module.parameters() if p.requires_grad]

    def of(weights: Floats, records: Indices) -> Floats:
        _load(weights, learnt)
        if len(records) == 0:
            return np.zeros((0, len(weights)))
        wrapped: Any = GradSampleModule(module, loss_reduction="sum")
        try:
            chosen = torch.from_numpy(records)
            total: Any = loss(wrapped(x[chosen]), y[chosen])
            total.backward()
            parts = [_grad_sample(p).reshape(len(records), -1) for p in learnt]
            found: npt.NDArray[np.float64] = torch.cat(parts, dim=1).detach().numpy().astype(np.float64)
        finally:
            wrapped.to_standard_module()
            for p in learnt:
                p.grad = None
        return found

    return of


def _grad_sample(parameter: Any) -> torch.Tensor:
    """What Opacus leaves on a parameter: (records, …)."""
    found: torch.Tensor = parameter.grad_sample
    return found


def _load(weights: Floats, learnt: Sequence[torch.nn.Parameter]) -> None:
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.astype(np.float32)), learnt)
