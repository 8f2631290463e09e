"""Numbers of an image that need no training: the same formula for everyone, on the declared grid.

The grid is cut into boxes. Of each box there are the mean and the standard deviation of the normalised values; of the
whole image the shares of dark, middle and bright foreground, which in a T1 head are roughly fluid, grey and white
matter. A box that shows nothing but background in all patients gives constants, which a model leaves out.
"""

from itertools import product

import numpy as np
import numpy.typing as npt

from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Float, Float32

FOREGROUND, DARK, MIDDLE = 0.1, 0.45, 0.75
"""Bounds of the shares, in units of the 98th percentile; meant for ``intensity = "percentile"``."""

_SHARES = ("dark", "middle", "bright")


def names(settings: Settings, modality: str) -> tuple[str, ...]:
    """The features of an image modality."""
    boxes = [",".join(map(str, box)) for box in product(*(range(count) for count in _counts(settings, modality)))]
    return (
        *(f"mean[{box}]" for box in boxes),
        *(f"sd[{box}]" for box in boxes),
        *(f"share[{name}]" for name in _SHARES),
    )


def features(values: Float32, settings: Settings, modality: str) -> Float:
    """(f,) of one normalised image on its grid."""
    counts, wide = _counts(settings, modality), values.astype(np.float64)
    sizes, sums, squares = np.ones(values.shape), wide, wide**2
    for axis, count in enumerate(counts):
        edges = _edges(values.shape[axis], count)
        sizes, sums, squares = (np.add.reduceat(part, edges[:-1], axis=axis) for part in (sizes, sums, squares))
    means = sums / sizes
    spreads = np.sqrt(np.maximum(squares / sizes - means**2, 0))
    inside = wide[wide > FOREGROUND]
    parts = np.histogram(inside, bins=[FOREGROUND, DARK, MIDDLE, np.inf])[0] / max(len(inside), 1)
    return np.concatenate([means.ravel(), spreads.ravel(), parts])


def _counts(settings: Settings, modality: str) -> tuple[int, ...]:
    return settings.regions[:2] if modality in settings.pictures else settings.regions


def _edges(side: int, count: int) -> npt.NDArray[np.intp]:
    return np.round(np.linspace(0, side, count + 1)).astype(np.intp)
