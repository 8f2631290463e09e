"""Fixed point: real numbers as integers modulo 2^32 or 2^64, with a range in which no sum wraps around.

A number x with |x| ≤ B becomes q = round(x · s), where s = 2^k is the largest power of two for which n sites fit:

    n · (B · s + 1) ≤ 2^(bits - 1) - 1

so that |Σq| < 2^(bits - 1) whoever takes part: the range holds by construction. The sum is off by n / (2s) at most, and
with 64 bits by 512 / s more, since what is read is a float64 of 53 bits; it is exact for whole numbers where s ≥ 1. A
weighted mean adds up w · x and w: B is then the bound times the largest weight, and the mean's numbers are off by that
over Σw.

The layout travels beside the vector, as text: every DIZ derives the same from the same terms, and the hub compares.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import Strict
from flame_fl.secagg.streams import Words

Floats = npt.NDArray[np.float64]
_MOST_POWER = 900

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Part(Strict):
    """One array or one metric in the vector.

    The numbers that it stands for are `offset + factor · (their mean)`, or `factor · (their sum)` for `how = "sum"`.
    """

    record: str
    name: str
    where: Literal["array", "metric", "below-clip"]
    dtype: Literal[
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    ]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    how: Literal["sum", "mean", "weighted"]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """s: this is added up for the number 1."""
    factor: Finite = 1.0
    offset: Finite = 0.0

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


class Layout(Strict):
    """How a masked vector is to be read."""

    bits: Literal[32, 64]
    update: Literal["value", "delta"]
    """Whether the arrays are the difference to those that were sent."""
    parts: tuple[Part, ...]
    weight: str | None = None
    """The count, in the same record as the metrics, that the weighted parts are weighted by."""

    @property
    def size(self) -> int:
        """How many numbers."""
        return sum(part.size for part in self.parts)


def scale_of(bound: float, sites: int, bits: int, *, whole: bool = False) -> float:
    """S for numbers of at most `bound` in absolute value, added over `sites`; 1 for whole numbers.

    Raises:
        MaskError: The range is too small: a number would be off by more than the bound itself.
    """
    limit = (1 << (bits - 1)) - 1
    room = limit // sites - 1
    unfit = MaskError(f"sums of {sites} numbers of up to {bound:g} do not fit {bits} bits")
    if not 0 < bound < math.inf or room < 1 or (whole and bound > room):
        raise unfit
    if whole:
        return 1.0
    power = math.frexp(room)[1] - math.frexp(bound)[1]  # one too large at most
    while math.ldexp(bound, power) > room:
        power -= 1
    if not -_MOST_POWER <= power <= _MOST_POWER or math.ldexp(bound, power) < 1:
        raise unfit
    return math.ldexp(1.0, power)


def encode(layout: Layout, values: Sequence[npt.NDArray[Any]]) -> Words:
    """The vector of one site.

    Args:
        layout: How.
        values: For each part its numbers, flat: already weighted, and within the bounds that the scales were made for.

    Returns:
        Shape (layout.size,), uint32 or uint64: the numbers modulo 2^bits.
    """
    vector: npt.NDArray[np.int32] | npt.NDArray[np.int64]
    vector = np.empty(layout.size, np.int32) if layout.bits == 32 else np.empty(layout.size, np.int64)
    offset = 0
    for part, value in zip(layout.parts, values, strict=True):
        whole = np.issubdtype(value.dtype, np.integer) and part.scale == 1
        vector[offset : offset + part.size] = value if whole else np.rint(value.astype(np.float64) * part.scale)
        offset += part.size
    return vector.view(np.uint32) if layout.bits == 32 else vector.view(np.uint64)


def decode(layout: Layout, total: Words) -> dict[tuple[str, str], npt.NDArray[Any]]:
    """The sums by (record, name): int64 where whole numbers were added up, else float64, in the parts' shapes."""
    signed = total.view(np.int32 if layout.bits == 32 else np.int64)
    found: dict[tuple[str, str], npt.NDArray[Any]] = {}
    offset = 0
    for part in layout.parts:
        numbers = signed[offset : offset + part.size].reshape(part.shape)
        offset += part.size
        if part.scale == 1 and np.issubdtype(np.dtype(part.dtype), np.integer):
            found[part.record, part.name] = numbers.astype(np.int64)
        else:
            found[part.record, part.name] = numbers.astype(np.float64) / part.scale
    return found


def error_of(layout: Layout, sites: int) -> Mapping[tuple[str, str], float]:
    """How far each number of a sum may be off by rounding."""
    return {
        (p.record, p.name): 0.0
        if p.scale == 1 and p.dtype.startswith(("int", "uint", "bool"))
        else (sites / 2 + (512 if layout.bits == 64 else 0)) / p.scale  # half a unit of float64 at 2^62
        for p in layout.parts
    }
