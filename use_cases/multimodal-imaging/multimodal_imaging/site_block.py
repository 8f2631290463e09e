"""A DIZ's part of exact fusion: sums of the columns, and of the products of the standardised design.

The design of a view (`views`): the columns of all its blocks, standardised as the hub says with 0 where a value is
missing, and behind them for each block 1 where a patient lacks it. Patients without a known outcome are left out.
Answers are described in `flame_strategies.block_fusion`.
"""

from dataclasses import dataclass

import numpy as np

from multimodal_imaging import cells, imputing, validation, views
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import MISSING, Answer, Arrays, Bool, Float, Int, Request, Site

DESIGN = (*validation.ASKED, *views.ASKED, *imputing.ARRAYS, "centre", "scale")
"""Config keys and arrays of a message that names a design."""

MEASURED = (*DESIGN, views.DROP)
"""And of one by which a model is measured."""


SMALLEST_UNIT = 1e-6


@dataclass(frozen=True, eq=False)
class Design:
    """Standardised rows.

    Attributes:
        Z: (n, p).
        y: (n, q) outcome: a number; 0 or 1; or one column per class.
        rows: (n,) which of the DIZ's patients they are.
    """

    Z: Float
    y: Float
    rows: Int


def mm_moments(site: Site, request: Request) -> Arrays:
    """Counts, and sums of the columns around the centre and in the units that the hub sends."""
    view = views.view(site, request)
    chosen = validation.fitted(site, request) & view.rows & np.isfinite(outcome(site, request)).all(axis=1)
    values = view.values[chosen]
    centre, unit = around_of(request, "centre", values.shape[1])
    seen = np.isfinite(values)
    around = np.where(seen, (values - centre) / unit, 0.0)
    return {
        "n": np.array([chosen.sum()], dtype=np.int64),
        "sites": np.ones(1, dtype=np.int64),
        "there": np.array([(part.there & chosen).sum() for part in view.parts], dtype=np.int64),
        "widths": np.array(view.widths, dtype=np.int64),
        "classes": _classes(site, request, chosen),
        "count": seen.sum(axis=0).astype(np.int64),
        "sum_x": around.sum(axis=0),
        "sum_xx": (around**2).sum(axis=0),
    }


def mm_block(site: Site, request: Request) -> Arrays:
    """By fold of patients: rows, and sums of the design's columns, of their products, and of those with the outcome."""
    found = design(site, request, validation.fitted(site, request))
    fold = validation.folds(site, request)[found.rows]
    inside = fold[None, :] == np.arange(request.settings.folds)[:, None]
    parts = [(found.Z[of], found.y[of]) for of in inside]
    return {
        "n": inside.sum(axis=1).astype(np.int64),
        "sum_z": np.stack([Z.sum(axis=0) for Z, _ in parts]),
        "xx": np.stack([pack(Z.T @ Z) for Z, _ in parts]),
        "xy": np.stack([Z.T @ y for Z, y in parts]),
        "sum_y": np.stack([y.sum(axis=0) for _, y in parts]),
        "yy": np.stack([(y**2).sum(axis=0) for _, y in parts]),
    }


def around_of(request: Request, name: str, columns: int) -> tuple[Float, Float]:
    """A centre called `name` and the ``unit`` of columns, (F,); 0 and 1 where the message brings them empty.

    Raises:
        InputError: They are of another shape, or a unit is not one.
    """
    if not request.arrays.get(name, np.zeros(0)).size and not request.arrays.get("unit", np.zeros(0)).size:
        return np.zeros(columns), np.ones(columns)
    unit = request.array("unit", (columns,))
    if not (unit >= SMALLEST_UNIT).all():
        raise InputError(f"A column's unit is from {SMALLEST_UNIT:g} on.")
    return request.array(name, (columns,)), unit


def design(site: Site, request: Request, among: Bool) -> Design:
    """The design's rows among some patients.

    Raises:
        InputError: The message's centre and scale are not of the view's columns.
    """
    view = views.view(site, request)
    y = outcome(site, request)
    rows = np.flatnonzero(among & view.rows & np.isfinite(y).all(axis=1))
    columns = (sum(view.widths),)
    values, marks = view.values[rows], view.marks[rows]
    Z = views.standardise(values, request.array("centre", columns), request.array("scale", columns))
    Z = imputing.fill(Z, marks, view, rows, request)
    return Design(np.concatenate([Z, marks], axis=1), y[rows], rows)


def outcome(site: Site, request: Request) -> Float:
    """(n, q), NaN where it is not known; of survival, whether there was an event, of those whose time is possible."""
    settings = request.settings
    if not settings.classes:
        number = site.number(settings.event or settings.outcome)
        return np.where(cells.known(site, settings), number, np.nan)[:, None]
    code = site.code(settings.outcome)
    if len(settings.classes) == 2:
        return np.where(code == MISSING, np.nan, code.astype(np.float64))[:, None]
    places = np.equal(code[:, None], np.arange(len(settings.classes))).astype(np.float64)
    return np.where((code == MISSING)[:, None], np.nan, places)


def pack(matrix: Float) -> Float:
    """(q (q + 1) / 2,) the upper triangle of a symmetric matrix (q, q), row by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def _classes(site: Site, request: Request, chosen: Bool) -> Int:
    """(C,) patients of each class; (1,) a 0 where there are none."""
    classes = request.settings.classes
    if not classes:
        return np.zeros(1, dtype=np.int64)
    return np.bincount(site.code(request.settings.outcome)[chosen], minlength=len(classes)).astype(np.int64)


ANSWERS: dict[str, Answer] = {"mm_moments": mm_moments, "mm_block": mm_block}
ASKED: dict[str, tuple[str, ...]] = {
    "mm_moments": (*validation.ASKED, *views.ASKED, "centre", "unit"),
    "mm_block": DESIGN,
}
