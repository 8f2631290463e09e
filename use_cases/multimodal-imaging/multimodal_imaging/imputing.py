"""What a patient lacks, put in from what the patient has: ridge regressions of a block on the others.

A regression is fitted at the hub from sums over the patients who have the block; here it is applied to the others.
The message brings for all blocks together ``impute_columns`` (P, F): column j of block m is foretold from a row
[1, z, u] (P = 1 + F + M: z the standardised columns and u the marks of lacking), in which the columns of block m itself
count nothing. A patient is foretold from what was observed; the marks stay.
"""

from typing import TYPE_CHECKING

import numpy as np

from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Float, Int, Request

if TYPE_CHECKING:
    from multimodal_imaging.views import View

ARRAYS = ("impute_columns",)


def fill(Z: Float, marks: Float, view: "View", rows: Int, request: Request) -> Float:
    """(k, F) the standardised columns of some rows, absent blocks foretold where the message says how.

    Raises:
        InputError: The run config does not impute, or the regressions have another shape.
    """
    if "impute_columns" not in request.arrays:
        return Z
    if request.settings.missing != "impute":
        raise InputError("Absent blocks are not put in: the run config's 'missing' is not 'impute'.")
    P, F = 1 + sum(view.widths) + len(view.parts), sum(view.widths)
    b = request.array("impute_columns", (P, F))
    foretold = b[0] + np.concatenate([Z, marks], axis=1) @ b[1:]
    found, first = Z.copy(), 0
    for part, width in zip(view.parts, view.widths, strict=True):
        place, absent = slice(first, first + width), ~part.there[rows]
        found[absent, place] = foretold[absent, place]
        first += width
    return found
