"""A trained network at the desk: ages of volumes, and which places it looks at."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from multimodal_imaging_private import terms
from multimodal_imaging_private.volumes import SHAPE, Float


def predict(arrays: Mapping[str, terms.Float32], volumes: Float) -> Float:
    """(n,) years of volumes (n, voxels)."""
    with torch.no_grad():
        years: Float = _years(arrays, torch.from_numpy(np.asarray(volumes, dtype=np.float64))).numpy()
    return years


def saliency(arrays: Mapping[str, terms.Float32], volumes: Float) -> Float:
    """(12, 14, 12) mean over the volumes of |gradient of the age by a place, times its standardised intensity|."""
    x = torch.from_numpy(np.asarray(volumes, dtype=np.float64)).requires_grad_()
    (slope,) = torch.autograd.grad(_years(arrays, x).sum(), x)
    centred = (x.detach() - terms.CENTRE) / terms.SCALE
    picture: Float = (slope * centred).abs().mean(dim=0).reshape(SHAPE).numpy()
    return picture


def _years(arrays: Mapping[str, terms.Float32], volumes: torch.Tensor) -> torch.Tensor:
    weights = {name: torch.from_numpy(np.asarray(array, dtype=np.float64)) for name, array in arrays.items()}
    x = ((volumes.clamp(0.0, 1.0) - terms.CENTRE) / terms.SCALE).reshape(-1, 1, *SHAPE)
    how = {"stride": terms.STRIDE, "padding": terms.PADDING}
    x = torch.tanh(functional.conv3d(x, weights["0.weight"], weights["0.bias"], **how))
    x = torch.tanh(functional.conv3d(x, weights["2.weight"], weights["2.bias"], **how))
    out = functional.linear(
        x.reshape(-1, terms.CHANNELS * math.prod(terms.SECOND)), weights["4.weight"], weights["4.bias"]
    )
    return out[:, 0] * terms.AGE_SCALE + terms.AGE_CENTRE
