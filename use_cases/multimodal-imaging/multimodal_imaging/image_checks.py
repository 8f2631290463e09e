"""What may be wrong with an image, as reasons that are counted; never as a text that names a file.

The same checks run at the desk (`prepare`, `check`) and at a DIZ, where an image that fails one counts as not there.
What they cannot see: a volume that was mirrored together with its header, and text in the pixels beyond
`text_in_border`, which is a heuristic: look at pictures before you offer them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from multimodal_imaging.images import Volume

REASONS: Mapping[str, str] = {
    "unreadable": "the file cannot be read, is cut short, or its checksum is wrong: export it again",
    "format": "it is neither NIfTI, PNG nor DICOM: convert it",
    "dimensions": "not one volume or picture of at least 8 points along each side, or one of more than 2^27 voxels or "
    "2^26 pixels: take single volumes and frames",
    "colour": "it is in colour, complex or has a palette: convert it to grey",
    "orientation": "the header does not say where it lies (no qform or sform, or a singular one): convert it again",
    "flip": "qform and sform disagree about left and right: correct the header",
    "spacing": "voxels narrower than 0.05 mm or wider than 15 mm, or eight times as long as wide: check the units",
    "not-finite": "it has values that are not finite: set them to 0",
    "constant": "all its values are the same",
    "depth": "it has fewer than 16 grey values: export it with 8 bits or more",
    "empty-slices": "more than a fifth of the slices between the first and the last that show something are empty",
    "series": "slices are missing, repeated, or of different sizes or directions: export the whole series",
    "burnt-in": "it says that text is burnt in, is of a kind that often has it and does not deny it, or text was found "
    "at its border: look at it",
    "repeated": "a second image of this modality for one patient, or a path listed twice: keep one",
    "unknown": "its patient is not in the patients' table",
    "misplaced": 'less than a tenth of the grid lies within it: check the grid\'s centre, or state align = "centre"',
}
"""By reason, what it means."""

SMALLEST_SIDE = 8
_NARROWEST, _WIDEST, _LONGEST = 0.05, 15.0, 8.0
_FEWEST_LEVELS = 16
_MOST_EMPTY = 0.2
_BORDER = 0.15
_BRIGHT, _MANY, _FEW, _TEXT_ROWS, _QUIET = 0.8, 12, 2, 5, 0.2


class Refused(Exception):  # noqa: N818 -- an outcome that is counted, not an error
    """An image is not used; its only argument is one of `REASONS`."""

    @property
    def reason(self) -> str:
        """Which of `REASONS`."""
        return str(self.args[0])


def check_volume(volume: "Volume") -> None:
    """What is wrong with a volume's values and spacing.

    Raises:
        Refused: Something is.
    """
    check_values(volume.data)
    spacing = volume.spacing
    if spacing.min() < _NARROWEST or spacing.max() > _WIDEST or spacing.max() > _LONGEST * spacing.min():
        raise Refused("spacing")
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        shows = np.flatnonzero(volume.data.max(axis=others) != volume.data.min(axis=others))
        between = int(shows[-1] - shows[0]) + 1 if len(shows) else 0
        if not between or between - len(shows) > _MOST_EMPTY * between:
            raise Refused("empty-slices")


def check_values(values: npt.NDArray[np.float32]) -> None:
    """What is wrong with the values of a volume or picture.

    Raises:
        Refused: Something is.
    """
    if min(values.shape) < SMALLEST_SIDE:
        raise Refused("dimensions")
    if not np.isfinite(values).all():
        raise Refused("not-finite")
    if values.max() == values.min():
        raise Refused("constant")
    if len(np.unique(values.ravel()[:: max(1, values.size // 200_000)])) < _FEWEST_LEVELS:
        raise Refused("depth")


def check_picture(picture: npt.NDArray[np.float32]) -> None:
    """What is wrong with a picture; text at its border among it.

    Raises:
        Refused: Something is.
    """
    check_values(picture)
    if text_in_border(picture):
        raise Refused("burnt-in")


def text_in_border(picture: npt.NDArray[np.float32]) -> bool:
    """Whether the upper or lower border looks like it bears burnt-in text. A heuristic, which errs both ways.

    Text that a device writes is bright on what is darker. Rows through it change between the two many times, and
    above or below it are rows that hardly do, which is otherwise in noise and in fine structures. A border has it if at
    least five neighbouring rows change twelve times or more, and a fifth of its rows twice at most. A single letter,
    such as the marker of a side, is not found.
    """
    high = float(picture.max())
    rows = max(_TEXT_ROWS, int(_BORDER * picture.shape[0]))
    for border in (picture[:rows], picture[-rows:]):
        bright = (border > _BRIGHT * high).astype(np.int8)
        changes = (np.diff(bright, axis=1) != 0).sum(axis=1)
        if (changes <= _FEW).mean() < _QUIET:
            continue
        run = longest = 0
        for row in (changes >= _MANY).tolist():
            run = run + 1 if row else 0
            longest = max(longest, run)
        if longest >= _TEXT_ROWS:
            return True
    return False
