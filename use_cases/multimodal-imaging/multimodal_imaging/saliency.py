"""What a network looks at: |gradient x input|, patient by patient, of which only sums over groups leave a DIZ.

For one patient with input x and output f, voxel (or feature) j counts a_j = |x_j df/dx_j|, to first order how much the
output would change without it (Shrikumar et al., "Not just a black box", 2016). Each patient's numbers of one modality
are divided by their sum, so that every patient weighs the same, and no number is beyond 1. Of images only means over
boxes leave, so that a map shows no single voxel of anybody.

It says what this network reacts to. It does not say what causes a disease, nor that the network is right to look there.
"""

from typing import TYPE_CHECKING

import numpy as np

from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Float

if TYPE_CHECKING:
    from multimodal_imaging.deep_model import Patients
    from multimodal_imaging.fusion_net import FusionNet


SIDE = 4
"""Voxels of a box along each axis."""

WEIGHS = 0.01
"""A modality that the fusion gives no more weight than this is not looked at."""


def allowed(settings: Settings) -> bool:
    """Whether a run config has pictures made. Without GroupNorm a network can be blind to all patients but a few."""
    return settings.saliency and settings.norm == "group"


def coarse(values: Float) -> Float:
    """Of the same shape, each voxel the mean of its box of `SIDE` along each axis; a remainder joins the last box."""
    for axis, side in enumerate(values.shape):
        starts = np.arange(max(side // SIDE, 1)) * SIDE
        sizes = np.diff([*starts, side])
        shape = [-1 if other == axis else 1 for other in range(values.ndim)]
        means = np.add.reduceat(values, starts, axis=axis) / sizes.reshape(shape)
        values = np.repeat(means, sizes, axis=axis)
    return values


def gradient_input(model: "FusionNet", patients: "Patients") -> tuple[dict[str, Float], Float]:
    """Of some patients.

    Args:
        model: The network; its weights get no gradients.
        patients: Who.

    Returns:
        By modality (n, *shape) with rows that add up to 1, or are 0 where the patient lacks it or nothing in it
        matters; a table's indicator of a missing value counts with its feature. And (n, M), how much weight the fusion
        gives to each modality.
    """
    values = {name: tensor.clone().requires_grad_() for name, tensor in patients.values.items()}
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    said, logits = model.embed(values, patients.present)
    out = model.fuse(said, logits)
    # patients do not mix in a network that predicts, so the sum's gradient is each one's own
    of = out[:, 0] if out.shape[1] == 1 else out.max(dim=1).values
    of.sum().backward()
    found = {}
    for of_input in model.inputs:
        if (x := values.get(of_input.name)) is None or x.grad is None:
            found[of_input.name] = np.zeros((len(patients), *of_input.shape))
            continue
        a = (x.detach() * x.grad).abs().double().numpy()
        width = of_input.shape[0]
        a = a[:, 0] if of_input.image else a[:, :width] + a[:, width:]
        total = a.sum(axis=tuple(range(1, a.ndim)), keepdims=True)
        found[of_input.name] = np.divide(a, total, out=np.zeros_like(a), where=total > 0)
    weights: Float = model.weights(logits).detach().double().numpy()
    return found, weights
