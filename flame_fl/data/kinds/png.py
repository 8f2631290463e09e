"""PNG: the same pixels in a new file without text, times, profiles and whatever else a PNG can carry.

The image is decoded and encoded again, so that also what hides between and behind the chunks stays behind. Of an image
with `tRNS` the transparency is lost (colours are kept). Kinds that Pillow does not read bit for bit are refused.
"""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.data.kind import require

LARGEST_PIXELS = 89_478_485  # Pillow warns from here on: a quarter of a gigabyte in colours
_MODES = {  # by colour type and bit depth (PNG, Table 11.1): Pillow's mode, samples
    (0, 1): ("1", 1), (0, 8): ("L", 1), (0, 16): ("I;16", 1), (2, 8): ("RGB", 3),
    (3, 1): ("P", 1), (3, 2): ("P", 1), (3, 4): ("P", 1), (3, 8): ("P", 1), (4, 8): ("LA", 2), (6, 8): ("RGBA", 4),
}  # fmt: skip
_MEND = "Take it out of the manifest, or export it again."


def cleaned(source: Path) -> bytes:
    """An image as a PNG file of nothing but pixels (and their palette).

    Raises:
        InputError: It is no image that can be read; the sentence names neither file nor value.
    """
    require("images (PNG)", ("PIL",), "images")
    from PIL import Image  # noqa: PLC0415

    width, height, colour, depth = _header(source)
    try:
        with Image.open(source, formats=["PNG"]) as image:
            if image.size != (width, height) or getattr(image, "n_frames", 1) != 1:
                raise InputError("The PNG image has several frames, or two headers.", mend=_MEND)
            image.load()
            if image.mode != _MODES[colour, depth][0]:
                raise InputError("The PNG image is of a kind that cannot be copied bit for bit.", mend=_MEND)
            image.info.clear()
            file = BytesIO()
            image.save(file, "PNG", compress_level=6)
            return file.getvalue()
    except InputError:
        raise
    except Exception:  # Pillow raises what its decoders raise, and may quote a chunk
        raise InputError("The PNG image cannot be read.", mend=_MEND) from None


def look(source: Path) -> tuple[tuple[int, ...], int]:
    """Rows and columns (and samples, if several) of an image, and the bits of a sample.

    Raises:
        InputError: As `cleaned`.
    """
    width, height, colour, depth = _header(source)
    samples = _MODES[colour, depth][1]
    return (height, width, samples) if samples > 1 else (height, width), max(8, depth)


def made(pixels: npt.NDArray[Any]) -> bytes:
    """A made-up image: rows and columns, or rows, columns and two to four samples.

    Raises:
        InputError: Pixels of this type or shape make no image.
    """
    require("images (PNG)", ("PIL",), "images")
    from PIL import Image  # noqa: PLC0415

    if (pixels.dtype.name, pixels.ndim) not in {("uint8", 2), ("uint8", 3), ("uint16", 2)}:
        raise InputError("A PNG image has 8 bits, or 16 without colours.", mend="Correct the schema's pictures.")
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _header(source: Path) -> tuple[int, int, int, int]:
    """Width, height, colour type and bit depth, before any library sees the file."""
    try:
        with source.open("rb") as file:
            head = file.read(26)
        if head[:16] != b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR":
            raise InputError("The PNG image does not begin as PNG files do.", mend=_MEND)
        width, height, depth, colour = struct.unpack(">IIBB", head[16:])
    except (OSError, struct.error):
        raise InputError("The PNG image cannot be read.", mend=_MEND) from None
    if (colour, depth) not in _MODES:
        raise InputError(
            "The PNG image is of a kind that cannot be copied bit for bit.", mend="Store it with 8 bits, or 16 in grey."
        )
    if not 0 < width * height <= LARGEST_PIXELS:
        raise InputError(f"The PNG image has no pixels, or more than {LARGEST_PIXELS:,}.", mend=_MEND)
    return width, height, colour, depth
