"""DICOM files: a single picture, or the slices of a series stacked to a volume by what their headers say.

Only the elements in `_WANTED` are ever parsed: who the patient is stays in the file. Coordinates are turned from
DICOM's (left, back, head) to RAS+.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multimodal_imaging.image_checks import Refused
from multimodal_imaging.images import MOST_PIXELS, Volume, require_room
from multimodal_imaging.site import Float, Float32

_WANTED = (
    *("SOPClassUID", "SeriesInstanceUID", "BurnedInAnnotation", "Modality", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope"),
    *("RescaleIntercept", "PixelData"),
)
_OFTEN_WRITTEN_ON = ("Secondary Capture", "Ultrasound", "Hardcopy")
_UNEVEN = 0.05
"""Of the distance between slices: series that vary more lack a slice."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One file.

    Attributes:
        pixels: (rows, columns) float32, rescaled, bright is high.
        bits: Stored of each.
        series: Its series' UID.
        spacing: (2,) mm between rows and between columns; None where the header does not say.
        position: (3,) of the first pixel, in DICOM's coordinates; None likewise.
        directions: (2, 3) of a row and of a column; None likewise.
    """

    pixels: Float32
    bits: int
    series: str
    spacing: Float | None
    position: Float | None
    directions: Float | None


def is_dicom(file: Path) -> bool:
    """Whether a file says of itself that it is DICOM."""
    try:
        with file.open("rb") as content:
            return content.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_slice(file: Path) -> Slice:
    """One file.

    Raises:
        Refused: It cannot be read, is in colour, has several frames, or may show text.
    """
    from pydicom import dcmread  # noqa: PLC0415 -- paid only where images are read
    from pydicom.filereader import read_file_meta_info  # noqa: PLC0415 -- as above
    from pydicom.uid import DeflatedExplicitVRLittleEndian  # noqa: PLC0415 -- as above

    with _silence():
        tags: list[Any] = list(_WANTED)
        if read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise Refused("format")  # a small file may swell without end
        found = dcmread(file, specific_tags=tags, stop_before_pixels=True)
        _require_no_text(found)
        if int(found.get("NumberOfFrames") or 1) != 1:
            raise Refused("dimensions")
        kind = str(found.get("PhotometricInterpretation") or "")
        if int(found.get("SamplesPerPixel") or 1) != 1 or kind not in {"MONOCHROME1", "MONOCHROME2"}:
            raise Refused("colour")
        require_room((int(found.Rows), int(found.Columns)), MOST_PIXELS)
        found = dcmread(file, specific_tags=tags)
        pixels = found.pixel_array.astype(np.float64)
        pixels = pixels * float(found.get("RescaleSlope") or 1) + float(found.get("RescaleIntercept") or 0)
        if kind == "MONOCHROME1":
            pixels = pixels.max() + pixels.min() - pixels
        return Slice(
            pixels.astype(np.float32),
            int(found.BitsStored),
            str(found.get("SeriesInstanceUID") or ""),
            _numbers(found, "PixelSpacing", (2,)),
            _numbers(found, "ImagePositionPatient", (3,)),
            _numbers(found, "ImageOrientationPatient", (2, 3)),
        )
    raise AssertionError  # pragma: no cover -- the block above returns or raises


def series_of(file: Path) -> str:
    """The UID of a file's series, "" where it has none.

    Raises:
        Refused: It cannot be read.
    """
    from pydicom import dcmread  # noqa: PLC0415 -- as above

    with _silence():
        tags: list[Any] = ["SeriesInstanceUID"]
        return str(dcmread(file, specific_tags=tags, stop_before_pixels=True).get("SeriesInstanceUID") or "")
    raise AssertionError  # pragma: no cover -- as above


def stack(slices: Sequence[Slice]) -> Volume:
    """The volume of a series, whatever the order of its slices.

    Raises:
        Refused: Slices differ in size or direction, one is missing or twice there, or they do not say where they lie.
    """
    first = slices[0]
    if len(slices) < 2 or any(
        part.series != first.series or part.pixels.shape != first.pixels.shape for part in slices
    ):
        raise Refused("series")
    if any(part.spacing is None or part.position is None or part.directions is None for part in slices):
        raise Refused("orientation")
    directions, spacing = np.asarray(first.directions), np.asarray(first.spacing)
    if any(not np.allclose(np.asarray(part.directions), directions, atol=1e-3) for part in slices):
        raise Refused("series")
    if any(not np.allclose(np.asarray(part.spacing), spacing, rtol=1e-3) for part in slices):
        raise Refused("series")
    normal = np.cross(directions[0], directions[1])
    if not np.isclose(np.linalg.norm(normal), 1, atol=1e-2):
        raise Refused("orientation")
    positions = np.array([part.position for part in slices])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    if steps.min() <= 0 or steps.max() - steps.min() > _UNEVEN * float(np.median(steps)):
        raise Refused("series")
    affine = np.eye(4)  # first voxel axis: along a row, that is from column to column
    affine[:3, 0] = directions[0] * spacing[1]
    affine[:3, 1] = directions[1] * spacing[0]
    affine[:3, 2] = (positions[order[-1]] - positions[order[0]]) / (len(slices) - 1)
    affine[:3, 3] = positions[order[0]]
    affine[:2] *= -1
    data = np.stack([slices[place].pixels.T for place in order.tolist()], axis=2)
    return Volume(np.ascontiguousarray(data), affine, first.bits)


def _require_no_text(found: Any) -> None:
    said, kind = str(found.get("BurnedInAnnotation") or "").strip().upper(), found.get("SOPClassUID")
    name = getattr(kind, "name", "")
    if "Image Storage" not in name:
        raise Refused("format")
    if said not in {"", "NO"} or (not said and any(word in name for word in _OFTEN_WRITTEN_ON)):
        raise Refused("burnt-in")


def _numbers(found: Any, name: str, shape: tuple[int, ...]) -> Float | None:
    value = found.get(name)
    if value is None or len(value) != int(np.prod(shape)):
        return None
    numbers = np.array([float(part) for part in value]).reshape(shape)
    return numbers if np.isfinite(numbers).all() else None


@contextmanager
def _silence() -> Iterator[None]:
    """Keep in what pydicom says: its errors, warnings and log lines quote values."""
    log = logging.getLogger("pydicom")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Refused:
        raise
    except Exception:
        raise Refused("unreadable") from None
    finally:
        log.disabled = before
