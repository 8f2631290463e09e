"""Volumes on a coarse grid of 12 x 14 x 12 places, intensities from 0 to 1: synthetic, or NIfTI files of one's own.

Of a file: axes to right, anterior, superior (as nibabel's `as_closest_canonical`); the box of what is brighter than a
tenth of the brightest; means over 12 x 14 x 12 blocks of it; divided by twice the mean of what is not dark. All of this
is done to one image by itself, so that a volume depends on its own patient alone. No step aligns two heads with each
other: give images that are in one space, and without skull and face.

**Synthetic volumes** are drawings, not anatomy: a bright ball with a dark core that grows by a tenth of the ball's
radius per 35 years and a rim that fades, each with a spread of its own; a gain for each DIZ and each image, and noise.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from multimodal_imaging_private.errors import InputError

Float = npt.NDArray[np.float64]
SHAPE = (12, 14, 12)
VOXELS = 12 * 14 * 12
_DARK = 0.1
_FEWEST = 24  # places along each axis of a file


def names() -> list[str]:
    """Columns of a store, in the order of a volume's places: their alphabetical order is that of the numbers."""
    return [f"v{place:04d}" for place in range(VOXELS)]


def synthetic(age: Float, gain: Float, rng: np.random.Generator) -> Float:
    """(n, voxels) volumes.

    Args:
        age: (n,) years.
        gain: (n,) relative brightness of the image's DIZ, about 0.
        rng: Draws everything else.
    """
    n = len(age)
    at = np.stack(np.meshgrid(*[np.linspace(-1, 1, size) for size in SHAPE], indexing="ij"))
    radius = np.sqrt((at**2).sum(axis=0))
    ball, rim = _below(radius, 0.95, 20.0), np.exp(-(((radius - 0.8) / 0.12) ** 2))
    decades = (age - 55.0) / 35.0
    size = 0.30 + 0.10 * decades + 0.03 * rng.normal(size=n)
    core = _below(np.sqrt((at[0] / 0.8) ** 2 + (at[1] / 1.4) ** 2 + (at[2] / 0.7) ** 2)[None], _wide(size), 12.0)
    faded = _wide(0.10 * decades + 0.03 * rng.normal(size=n))
    volume = ball * (0.6 - 0.45 * core - faded * rim)
    volume = volume * _wide(1.0 + gain + 0.05 * rng.normal(size=n)) + 0.05 * rng.normal(size=volume.shape)
    clipped: Float = np.clip(volume, 0.0, 1.0).reshape(n, VOXELS)
    return clipped


def read_volume(file: Path) -> Float:
    """(voxels,) of a NIfTI file.

    Raises:
        InputError: It cannot be used. The text names neither file nor patient: names of files often are patients'.
    """
    import nibabel  # noqa: PLC0415 -- needed for own files alone

    try:
        image = nibabel.as_closest_canonical(nibabel.load(file))
        values = np.asanyarray(image.dataobj, dtype=np.float64)
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(f"an image cannot be read as NIfTI ({type(error).__name__}).") from None
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3 or min(values.shape) < _FEWEST:
        raise InputError(f"an image is no volume of at least {_FEWEST} places along each axis.")
    if not np.isfinite(values).all() or not values.max() > values.min():
        raise InputError("an image is constant, or holds what is no number.")
    return coarse(values)


def coarse(values: Float) -> Float:
    """(voxels,) of a volume of any size."""
    bright = values - values.min() > _DARK * (values.max() - values.min())
    for axis in range(3):
        seen = np.flatnonzero(bright.any(axis=tuple(a for a in range(3) if a != axis)))
        values = np.take(values, np.arange(seen[0], seen[-1] + 1), axis=axis)
        bright = np.take(bright, np.arange(seen[0], seen[-1] + 1), axis=axis)
    if any(have < want for have, want in zip(values.shape, SHAPE, strict=True)):
        raise InputError("an image shows next to nothing: what is bright in it is smaller than the grid.")
    values = values - values.min()
    for axis, size in enumerate(SHAPE):
        edges = np.linspace(0, values.shape[axis], size + 1).round().astype(int)
        parts = [np.take(values, range(a, b), axis=axis).mean(axis=axis) for a, b in pairwise(edges)]
        values = np.stack(parts, axis=axis)
    lit = values[values > _DARK * values.max()]
    scaled: Float = np.clip(values / (2.0 * lit.mean()), 0.0, 1.0).reshape(VOXELS)
    return scaled


def _below(value: Float, edge: Float | float, steepness: float) -> Float:
    soft: Float = 1.0 / (1.0 + np.exp((value - edge) * steepness))
    return soft


def _wide(one_each: Float) -> Float:
    return one_each[:, None, None, None]
