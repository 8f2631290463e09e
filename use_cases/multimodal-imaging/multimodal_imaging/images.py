"""An image file to a `Volume` or picture, and both to a grid that is the same for all patients and DIZ.

Everything is deterministic and in NumPy: the same file gives the same numbers everywhere, up to the last bits of a sum.

Volumes are turned to RAS+ (first axis towards the patient's right, second to the front, third to the head) by what
their headers say. Where the grid is coarser than the volume by a whole factor, blocks of voxels are averaged first, so
that nothing falls between the grid's points; then values are interpolated linearly. Outside of the volume there is 0,
or its smallest value where that is below 0. Pictures are averaged and interpolated likewise, in proportion.
"""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from multimodal_imaging.image_checks import Refused
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Float, Float32

MOST_BYTES = (1 << 30) + (1 << 16)
"""Of one unpacked file: a small compressed one may swell without end."""

MOST_VOXELS, MOST_PIXELS = 1 << 27, 1 << 26
"""Of a volume (512 x 512 x 512) and of a picture, by what the header says and before any is read: memory is bounded."""

_HEADER = 540
"""Bytes of the longer of NIfTI's two headers."""

_LEAST_WITHIN = 0.1
"""Of the grid's points, that lie within a volume."""

_PERCENTILE = 98.0
_FOREGROUND = 0.1
"""Of the high percentile: what is darker is background."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume and where it lies.

    Attributes:
        data: (x, y, z) float32.
        affine: (4, 4) voxel indices to RAS+ world coordinates in mm.
        levels: Whether grey values are whole numbers, and how many bits the file keeps of each; 0 if not whole.
    """

    data: Float32
    affine: Float
    levels: int = 0

    @property
    def spacing(self) -> Float:
        """(3,) mm between voxels along each axis."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))


def suffix(file: Path) -> str:
    """The ending that says the format, in lower case; "" for none."""
    name = file.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else file.suffix.lower()


def read_nifti(file: Path) -> Volume:
    """A NIfTI-1 or -2 file, as it lies in the file.

    Raises:
        Refused: It cannot be read, is no volume, or does not say where it lies.
    """
    import nibabel  # noqa: PLC0415 -- paid only where images are read

    try:
        head = unpacked(file, _HEADER)
        size = int.from_bytes(head[:4], "little")
        of: Any = nibabel.Nifti2Image if size in {540, 0x1C020000} else nibabel.Nifti1Image
        if not of.header_class.may_contain_header(head):
            raise Refused("unreadable")
        said = of.header_class(head[: of.header_class.sizeof_hdr], check=False)
        require_room(said.get_data_shape(), MOST_VOXELS)
        raw = unpacked(file)
        image = of.from_bytes(raw)
        kind = image.header.get_data_dtype()
        data = np.asarray(image.dataobj) if kind.names is None else None
    except Refused:
        raise
    except Exception:  # nibabel raises many kinds; their texts may name the file
        raise Refused("unreadable") from None
    if data is None or data.dtype.kind == "c":
        raise Refused("colour")
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise Refused("dimensions")
    header = image.header
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        raise Refused("orientation")
    if int(header["sform_code"]) and int(header["qform_code"]):
        signs = [np.sign(np.linalg.det(form[:3, :3])) for form in (image.get_sform(), image.get_qform())]
        if signs[0] != signs[1]:
            raise Refused("flip")
    whole = kind.itemsize * 8 if kind.kind in "iu" else 0
    return Volume(data.astype(np.float32), np.asarray(image.affine, dtype=np.float64), whole)


def require_room(sides: Sequence[int], most: int) -> None:
    """Refuse an image that says of itself that it is too large to be looked at.

    Raises:
        Refused: It has more points than `most`.
    """
    if prod(int(side) for side in sides) > most:
        raise Refused("dimensions")


def unpacked(file: Path, count: int | None = None) -> bytes:
    """A file's bytes, through gzip if it is packed, with its checksum checked; or only the first `count` of them.

    Raises:
        Refused: It cannot be read, is cut short, or is too large.
    """
    most = MOST_BYTES + 1 if count is None else count
    try:
        with file.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            raw = gzip.GzipFile(fileobj=plain).read(most) if packed else plain.read(most)
    except (OSError, EOFError, zlib.error):
        raise Refused("unreadable") from None
    if len(raw) > MOST_BYTES:
        raise Refused("unreadable")
    return raw


def read_png(file: Path) -> tuple[Float32, int]:
    """(rows, columns) grey values of a PNG, and their bits.

    Raises:
        Refused: It cannot be read or is in colour.
    """
    from PIL import Image  # noqa: PLC0415 -- as above

    try:
        with Image.open(file, formats=["PNG"]) as image:
            require_room(image.size, MOST_PIXELS)
            image.load()
            mode, array = image.mode, np.asarray(image)
    except Refused:
        raise
    except Exception:  # as above
        raise Refused("unreadable") from None
    if mode in {"RGB", "RGBA", "LA"}:
        colours = array[..., : {"RGB": 3, "RGBA": 3, "LA": 1}[mode]]
        if (colours != colours[..., :1]).any():
            raise Refused("colour")
        array = colours[..., 0]
    elif mode == "P":
        raise Refused("colour")
    return array.astype(np.float32), 16 if mode.startswith("I") else 1 if mode == "1" else 8


def canonical(volume: Volume) -> Volume:
    """The same with axes turned and flipped to lie as near to RAS+ as can be; no value changes.

    Raises:
        Refused: The affine does not say where the volume lies.
    """
    if not np.isfinite(volume.affine).all() or abs(np.linalg.det(volume.affine[:3, :3])) < 1e-9:
        raise Refused("orientation")
    steps = volume.affine[:3, :3] / volume.spacing
    axes = _assignment(np.abs(steps))  # axes[i]: the voxel axis that runs along world axis i
    data, affine = volume.data.transpose(axes), volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, list(axes)]
    for axis in range(3):
        if affine[axis, axis] < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(data), affine, volume.levels)


def to_grid(volume: Volume, settings: Settings) -> Float32:
    """(D, H, W) a volume on the run config's grid, first axis left to right.

    Raises:
        Refused: It does not say where it lies, or hardly overlaps the grid.
    """
    volume = canonical(volume)
    world = settings.align == "world"
    if (
        world
        and volume.data.shape == settings.grid
        and np.allclose(volume.affine, grid_affine(settings), rtol=0, atol=1e-6)
    ):
        return volume.data  # it lies on the grid already
    data, affine = _averaged(volume, settings.voxel)
    shape = np.array(settings.grid)
    middle = np.array(settings.centre)
    if settings.align == "centre":
        middle = affine[:3, :3] @ ((np.array(data.shape) - 1) / 2) + affine[:3, 3]
    inverse = np.linalg.inv(affine)
    step = inverse[:3, :3] * settings.voxel
    start = inverse[:3, :3] @ (middle - settings.voxel * (shape - 1) / 2) + inverse[:3, 3]
    index = [np.arange(side, dtype=np.float64) for side in settings.grid]
    where = [
        start[axis]
        + step[axis, 0] * index[0][:, None, None]
        + step[axis, 1] * index[1][None, :, None]
        + step[axis, 2] * index[2][None, None, :]
        for axis in range(3)
    ]
    within = np.logical_and.reduce([(at >= 0) & (at <= side - 1) for at, side in zip(where, data.shape, strict=True)])
    if within.mean() < _LEAST_WITHIN:
        raise Refused("misplaced")
    return interpolated(data, where)


def grid_affine(settings: Settings) -> Float:
    """(4, 4) grid indices to world coordinates in mm, where volumes share them."""
    found = np.diag([settings.voxel, settings.voxel, settings.voxel, 1.0])
    found[:3, 3] = np.array(settings.centre) - settings.voxel * (np.array(settings.grid) - 1) / 2
    return found


def picture_to_grid(picture: Float32, settings: Settings) -> Float32:
    """(H, W) a picture on the run config's 2D grid, in proportion."""
    rows, columns = settings.grid_2d
    factor = max(picture.shape[0] / rows, picture.shape[1] / columns)  # pixels per grid point
    flat = Volume(picture[:, :, None], np.eye(4))
    data, affine = _averaged(flat, factor, axes=2)
    where = []
    for axis, side in enumerate((rows, columns)):
        middle = (picture.shape[axis] - 1) / 2
        points = middle + factor * (np.arange(side) - (side - 1) / 2)
        where.append((points - affine[axis, 3]) / affine[axis, axis])
    grid = [where[0][:, None, None], where[1][None, :, None], np.zeros((1, 1, 1))]
    return interpolated(data, [np.broadcast_to(part, (rows, columns, 1)) for part in grid])[..., 0]


def normalised(values: Float32, how: str) -> Float32:
    """Grey values made comparable between images: see ``intensity`` in `Settings`.

    "percentile" divides by the 98th percentile of what is above 0; "zscore" takes mean and standard deviation of the
    foreground (above a tenth of it), with 0 in the background.
    """
    if how == "none":
        return values
    above = values[values > 0]
    high = float(np.percentile(above, _PERCENTILE)) if above.size else 0.0
    if high <= 0:
        return np.zeros_like(values)
    if how == "percentile":
        return np.asarray(np.clip(values / np.float32(high), -4, 4), dtype=np.float32)
    inside = values > _FOREGROUND * high
    known = values[inside].astype(np.float64)
    spread = float(known.std())
    if spread <= 0:
        return np.zeros_like(values)
    return np.where(inside, np.clip((values - known.mean()) / spread, -10, 10), 0).astype(np.float32)


def _assignment(steps: Float) -> tuple[int, int, int]:
    """For each world axis its voxel axis: of all six orders the one that fits best."""
    orders: list[tuple[int, int, int]] = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    return max(orders, key=lambda order: float(sum(steps[i, axis] for i, axis in enumerate(order))))


def _averaged(volume: Volume, voxel: float, axes: int = 3) -> tuple[Float32, Float]:
    """Blocks of voxels averaged along the first `axes` axes, by the whole factors that `voxel` mm leave room for."""
    data, affine, spacing = volume.data, volume.affine.copy(), volume.spacing
    for axis in range(axes):
        factor = min(int(voxel / spacing[axis] + 1e-6), data.shape[axis])
        if factor < 2:
            continue
        kept = data.shape[axis] // factor * factor
        moved = np.moveaxis(data, axis, -1)[..., :kept]
        moved = moved.reshape(*moved.shape[:-1], kept // factor, factor).mean(axis=-1, dtype=np.float64)
        data = np.moveaxis(moved.astype(np.float32), -1, axis)
        affine[:3, 3] += affine[:3, axis] * (factor - 1) / 2
        affine[:3, axis] *= factor
    return data, affine


def interpolated(data: Float32, where: list[Float]) -> Float32:
    """Values at fractional voxel indices, linear in each axis; outside 0, or the smallest value where that is below."""
    low, share = [], []
    inside = np.ones(where[0].shape, dtype=np.bool_)
    for axis, side in enumerate(data.shape):
        at = np.round(where[axis], 6)  # so that points on a voxel give its value, whatever the affine's last bits
        inside &= (at >= 0) & (at <= side - 1)
        floor = np.clip(np.floor(at), 0, max(side - 2, 0)).astype(np.intp)
        low.append(floor)
        share.append(np.clip(at - floor, 0, 1))
    found: npt.NDArray[np.float64] = np.zeros(inside.shape)
    for corner in range(8):
        weight, place = np.ones(inside.shape), []
        for axis, side in enumerate(data.shape):
            upper = corner >> axis & 1
            weight *= share[axis] if upper else 1 - share[axis]
            place.append(np.minimum(low[axis] + upper, side - 1))
        found += weight * data[tuple(place)]
    return np.where(inside, found, min(0.0, float(data.min()))).astype(np.float32)
