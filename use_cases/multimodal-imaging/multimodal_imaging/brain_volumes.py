"""Made-up T1 volumes: one template, changed by a stated model. They show how programs work, nothing of a brain.

The template is the MNI152 2009a average that nilearn's wheel carries (T1 and the share of grey matter, 1 mm), smoothed
and taken at 2 mm. With points p of the output grid in mm, the volume of a patient of scanner s is

    T(q) [1 - b G(q) o(q)]                 what the tissue shows: T the template, G its grey matter, both in [0, 1]
    q = A (p - a F(p)) + t                                 where it is looked up
    gain_s (1 + j) [.]^gamma_s exp(f_s(p))                 what the scanner makes of it
    Rician noise of sigma_s, 0 outside of the brain        and what comes on top

where ``a`` widens the ventricles by so many mm: F(p) is the direction away from them, times exp(-d / 12 mm) at the
distance d; ``b`` darkens the cortex, o growing from 0 in the middle of the head to 1 at its border; A and t are the
patient's own size and position, f_s is a polynomial of second degree, and j differs from image to image.
"""

import gzip
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from multimodal_imaging.errors import InputError
from multimodal_imaging.images import Volume, interpolated, read_nifti
from multimodal_imaging.site import Float, Float32

SHAPE, VOXEL, CENTRE = (48, 58, 48), 4.0, (0.0, -18.0, 18.0)
"""Of the app's default grid, on which volumes are written unless they are asked for finer."""

_FILES = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_DEEP, _DEEP_HALF = np.array([0.0, -15.0, 10.0]), np.array([38.0, 48.0, 26.0])
_FLUID, _REACH, _DEPTH = 0.58, 12.0, 3.0
"""What is darker and deep is a ventricle; mm over which its widening fades; mm into it that are surely fluid."""

_MIDDLE, _HALF = np.array([0.0, -18.0, 8.0]), np.array([70.0, 88.0, 70.0])
_BRIGHT = 1000.0


@dataclass(frozen=True, eq=False)
class Template:
    """What volumes are made from.

    Attributes:
        t1: (x, y, z) in [0, 1], 2 mm.
        grey: Likewise, share of grey matter.
        start: (3,) mm, of the first voxel.
    """

    t1: Float32
    grey: Float32
    start: Float


@dataclass(frozen=True)
class Scanner:
    """What a DIZ's scanner does to intensities.

    Attributes:
        gain: Factor.
        gamma: Exponent, so that contrast differs.
        bias: Ten coefficients of the polynomial in the log of the field.
        noise: Standard deviation in units of the brightest tissue.
        flipped: Whether it stores its volumes from right to left, as the header then says.
    """

    gain: float
    gamma: float
    bias: tuple[float, ...]
    noise: float
    flipped: bool = False


@cache
def template() -> Template:
    """Out of nilearn's wheel, which is not imported.

    Raises:
        InputError: nilearn is not installed.
    """
    try:
        installed = metadata.distribution("nilearn")
    except metadata.PackageNotFoundError:
        raise InputError("The set brain is made from a template in nilearn: pip install --no-deps nilearn") from None
    t1, grey = (read_nifti(Path(str(installed.locate_file(_FILES.format(kind))))) for kind in ("t1", "gm"))
    return Template(_halved(t1.data), _halved(grey.data), t1.affine[:3, 3] + 0.5)


def scanner(number: int, generator: np.random.Generator) -> Scanner:
    """The scanner of the DIZ with this number, from 0."""
    gamma = (1.0, 0.93, 1.08, 0.96, 1.05)[number % 5]
    bias = generator.normal(0, 0.04, 10)
    return Scanner(
        gain=float(np.exp(generator.normal(0, 0.4))),
        gamma=float(gamma * np.exp(generator.normal(0, 0.01))),
        bias=tuple(bias.tolist()),
        noise=(0.02, 0.03, 0.025, 0.04, 0.02)[number % 5],
        flipped=number % 5 == 2,
    )


def volume(of: Scanner, ventricles: float, cortex: float, generator: np.random.Generator, voxel: float) -> Volume:
    """One patient's volume.

    Args:
        of: The scanner.
        ventricles: a of the model, from 0 to 8 mm.
        cortex: b of the model, from 0 to 0.6.
        generator: Of the patient's own size and position, and of noise.
        voxel: Width of voxels in mm.
    """
    points, affine = _grid(voxel)
    base = template()
    size = 1 + generator.normal(0, 0.025, 3)
    turn, shift = _rotation(generator.normal(0, 0.02, 3)), generator.normal(0, 1.0, 3)
    distance, away = _ventricles(voxel)
    pushed = np.minimum(ventricles * np.exp(-np.maximum(distance, 0) / _REACH), np.maximum(distance + _DEPTH, 0))
    source = (points - away * pushed[..., None] - _MIDDLE) @ (turn * size).T + _MIDDLE + shift
    index = (source - base.start) / 2.0
    where = [index[..., axis] for axis in range(3)]
    tissue, grey = interpolated(base.t1, where), interpolated(base.grey, where)
    outer = np.clip(np.sqrt((((source - _MIDDLE) / _HALF) ** 2).sum(axis=-1)) * 2 - 1, 0, 1)
    shown = np.clip(tissue * (1 - cortex * grey * outer), 0, None)
    seen = of.gain * (1 + generator.normal(0, 0.05)) * shown**of.gamma * np.exp(_monomials(points) @ np.array(of.bias))
    noise = generator.normal(0, of.noise * of.gain, (2, *seen.shape))
    magnitude = np.sqrt((seen + noise[0]) ** 2 + noise[1] ** 2)
    data = np.where(tissue > 0.05, np.minimum(np.round(_BRIGHT * magnitude), 32767), 0).astype(np.float32)
    if of.flipped:
        affine = affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] += (np.array(data.shape) - 1)[0] * voxel * np.array([1.0, 0.0, 0.0])
        data = data[::-1]
    return Volume(data, affine, 16)


def write(of: Volume, file: Path) -> None:
    """As .nii.gz of 16 bits, the same bytes for the same values."""
    import nibabel  # noqa: PLC0415 -- only for this

    make: Any = nibabel.Nifti1Image
    image = make(of.data.astype(np.int16), of.affine)
    image.header.set_xyzt_units("mm")
    file.write_bytes(gzip.compress(image.to_bytes(), 4, mtime=0))


@cache
def _ventricles(voxel: float) -> tuple[Float, Float]:
    """(x, y, z) mm to the ventricles' border, below 0 inside; (x, y, z, 3) the direction away from it."""
    from scipy import ndimage  # noqa: PLC0415 -- only for this

    base = template()
    axes = [base.start[axis] + 2.0 * np.arange(side) for axis, side in enumerate(base.t1.shape)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    deep = (((places - _DEEP) / _DEEP_HALF) ** 2).sum(axis=-1) < 1
    cistern = (np.abs(places[..., 0]) < 12) & (places[..., 1] < -38)
    fluid = (base.t1 < _FLUID) & (base.t1 > 0.02) & deep & ~cistern
    border = ndimage.distance_transform_edt(~fluid) - ndimage.distance_transform_edt(fluid)
    border = ndimage.gaussian_filter(2.0 * border, 1.0)
    slopes = np.moveaxis(np.array(np.gradient(border, 2.0)), 0, -1)
    slopes /= np.maximum(np.sqrt((slopes**2).sum(axis=-1, keepdims=True)), 1e-6)
    index = (_grid(voxel)[0] - base.start) / 2.0
    where = [index[..., axis] for axis in range(3)]
    distance = interpolated(border.astype(np.float32), where)
    away = np.stack([interpolated(slopes[..., axis].astype(np.float32), where) for axis in range(3)], axis=-1)
    return distance.astype(np.float64), away.astype(np.float64)


@cache
def _grid(voxel: float) -> tuple[Float, Float]:
    """(x, y, z, 3) points in mm, and the affine."""
    shape = [round(side * VOXEL / voxel) for side in SHAPE]
    start = np.array(CENTRE) - voxel * (np.array(shape) - 1) / 2
    axes = [start[axis] + voxel * np.arange(side) for axis, side in enumerate(shape)]
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = start
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1), affine


@cache
def _monomials_of(voxel: float) -> Float:
    points = (_grid(voxel)[0] - _MIDDLE) / _HALF
    x, y, z = (points[..., axis] for axis in range(3))
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x**2, y**2, z**2], axis=-1)


def _monomials(points: Float) -> Float:
    """(x, y, z, 10) of second degree, without the constant's effect, which is the gain's."""
    voxel = float(points[1, 0, 0, 0] - points[0, 0, 0, 0])
    found = _monomials_of(round(voxel, 9)).copy()
    found[..., 0] = 0
    return found


def _rotation(angles: Float) -> Float:
    """(3, 3) of small angles about the three axes, in radians."""
    found = np.eye(3)
    for axis, angle in enumerate(angles.tolist()):
        i, j = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        found = found @ turn
    return found


def _halved(data: Float32) -> Float32:
    """At 2 mm, smoothed by (1, 2, 1) / 4 along each axis after averaging pairs; in [0, 1]."""
    kept = [side // 2 * 2 for side in data.shape]
    found = data[: kept[0], : kept[1], : kept[2]].astype(np.float64)
    found = found.reshape(kept[0] // 2, 2, kept[1] // 2, 2, kept[2] // 2, 2).mean(axis=(1, 3, 5))
    for axis in range(3):
        wide = np.pad(found, [(1, 1) if other == axis else (0, 0) for other in range(3)], mode="edge")
        ends = (np.take(wide, range(first, first + found.shape[axis]), axis=axis) for first in (0, 2))
        found = (sum(ends) + 2 * found) / 4
    return np.asarray(found / 255.0, dtype=np.float32)
