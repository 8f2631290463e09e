"""A DIZ's part of ComBat: sums within the DIZ, from which the hub finds covariates' effects and variances.

In a linear model with a mean for each DIZ, the effects of the covariates and the variance of the residuals need only
products of values around the DIZ's own means, summed over the DIZ. They, and the plain sums for the overall mean, are
over training patients with a known outcome (as all other sums are), the modality, all of its features, and all
covariates. Answers are described in `flame_strategies.combat`; how a DIZ is then adjusted, in `harmonise`.
"""

import numpy as np

from multimodal_imaging import cells, harmonise, validation, views
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Answer, Arrays, Float, Request, Site
from multimodal_imaging.site_block import around_of, pack


def mm_combat(site: Site, request: Request) -> Arrays:
    """By harmonised modality: patients, and sums of covariates and features, plain and within the DIZ.

    Raises:
        InputError: The run config does not harmonise, or no modality is of a kind that is.
    """
    if request.settings.harmonise != "combat":
        raise InputError("The run config's 'harmonise' is not 'combat'.")
    parts = [part for part in views.raw(site, request) if part.kind in harmonise.KINDS]
    if not parts:
        raise InputError("There is nothing to harmonise: no modality is an image or omics.")
    X, chosen = harmonise.covariates(site, request), validation.fitted(site, request)
    known, c = np.isfinite(X).all(axis=1) & cells.known(site, request.settings), X.shape[1]
    n, sites = np.zeros(len(parts), dtype=np.int64), np.zeros(len(parts), dtype=np.int64)
    sum_x, xx = np.zeros((len(parts), c)), np.zeros((len(parts), c * (c + 1) // 2))
    around, unit = around_of(request, "around", sum(part.values.shape[1] for part in parts))
    first = 0
    sum_y: list[Float] = []
    xy: list[Float] = []
    yy: list[Float] = []
    for number, part in enumerate(parts):
        rows = chosen & known & part.there & np.isfinite(part.values).all(axis=1)
        if rows.sum() < request.settings.min_cell:
            rows[:] = False
        place = slice(first, first + part.values.shape[1])
        x, y, first = X[rows], (part.values[rows] - around[place]) / unit[place], place.stop
        n[number], sites[number] = len(x), bool(len(x))
        dx, dy = _around(x), _around(y)
        sum_x[number], xx[number] = x.sum(axis=0), pack(dx.T @ dx)
        sum_y.append(y.sum(axis=0))
        xy.append(dx.T @ dy)
        yy.append((dy**2).sum(axis=0))
    return {
        "n": n,
        "sites": sites,
        "answers": np.ones(1, dtype=np.int64),
        "widths": np.array([part.values.shape[1] for part in parts], dtype=np.int64),
        "sum_x": sum_x,
        "xx": xx,
        "sum_y": np.concatenate(sum_y),
        "xy": np.concatenate(xy, axis=1),
        "yy": np.concatenate(yy),
    }


def _around(values: Float) -> Float:
    """Values around the DIZ's own means."""
    return np.asarray(values - values.mean(axis=0)) if len(values) else values


ANSWERS: dict[str, Answer] = {"mm_combat": mm_combat}
ASKED: dict[str, tuple[str, ...]] = {"mm_combat": (*validation.ASKED, "around", "unit")}
