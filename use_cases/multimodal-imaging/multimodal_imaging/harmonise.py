"""ComBat at a DIZ: its shift and spread of each feature are taken off, and covariates' effects kept.

Johnson, Li and Rabinovic (Biostatistics 8, 2007). The hub found from sums over all DIZ (`site_combat`) each feature's
mean a, the covariates' effects b, and the variance s^2 within DIZ. What is this DIZ's own never leaves it:

* (y - a - x'b) / s of its training patients has mean g and variance d per feature;
* over the features of a block, g is normal about its mean and d inverse gamma (moments of g and d themselves), and the
  posterior means g*, d* given both are found by turns, each given the other;
* of all its patients, y becomes s (z - g*) / sqrt(d*) + a + x'b.

What is foretold is no covariate: its effect would be put back into test patients from their own outcome. A DIZ that is
left out of a training set is adjusted the same way, by its own images; no outcome is read for that.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from multimodal_imaging import cells
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import MISSING, Float, Request, Site

if TYPE_CHECKING:
    from multimodal_imaging.views import Part

ARRAYS = ("combat_mean", "combat_effects", "combat_scale", "combat_covariates")
KINDS = ("image", "omics")
"""Modalities that instruments make, and that DIZ therefore shift."""

CONSTANT = 1e-12
"""Variance, in units of that within DIZ, below which a feature does not vary at a DIZ."""

TOLERANCE = 1e-12
_MOST = 10_000


def adjust(parts: "tuple[Part, ...]", site: Site, request: Request) -> "tuple[Part, ...]":
    """The blocks, harmonised where the run config says so.

    Raises:
        InputError: The message lacks the pooled means, effects and scales, or brings them uncalled for.
    """
    brought = [name for name in ARRAYS if name in request.arrays]
    if request.settings.harmonise != "combat":
        if brought:
            raise InputError("The run config's 'harmonise' is not 'combat'.")
        return parts
    X = covariates(site, request)
    columns = sum(part.values.shape[1] for part in parts if part.kind in KINDS)
    mean, scale = request.array("combat_mean", (columns,)), request.array("combat_scale", (columns,))
    effects = request.array("combat_effects", (X.shape[1], columns))
    known = request.array("combat_covariates", (X.shape[1],))
    X = np.where(np.isfinite(X), X, known)
    found, first = [], 0
    for part in parts:
        if part.kind in KINDS:
            place = slice(first, first + part.values.shape[1])
            expected, used = mean[place] + X @ effects[:, place], scale[place] > 0
            unit = np.where(used, scale[place], 1.0)
            Z, values = (part.values - expected) / unit, part.values.copy()
            adjusted = expected[:, used] + unit[used] * own(Z[:, used], site.train & part.there)
            values[:, used] = adjusted  # the others say nothing, nor to those about spreads
            part = replace(part, values=values)  # noqa: PLW2901 -- what is kept
            first = place.stop
        found.append(part)
    return tuple(found)


def own(Z: Float, train: "np.typing.NDArray[np.bool_]", *, tolerance: float = TOLERANCE) -> Float:
    """(n, f) standardised features of one DIZ without its shift and spread, which its training rows say.

    Args:
        Z: (n, f), NaN where missing.
        train: (n,) the rows that say it; with fewer than two, nothing is changed.
        tolerance: Of the relative change of g* and d*.
    """
    if train.sum() < 2 or not Z.shape[1]:
        return Z
    n = np.isfinite(Z[train]).sum(axis=0)
    filled = np.where(np.isfinite(Z[train]), Z[train], 0.0)
    shift = filled.sum(axis=0) / np.maximum(n, 1)
    around = np.where(np.isfinite(Z[train]), Z[train] - shift, 0.0)
    spread = (around**2).sum(axis=0) / np.maximum(n - 1, 1)
    usable = (n >= 2) & (spread > CONSTANT)
    found = Z.copy()
    if usable.any():
        g, d = posterior(shift[usable], spread[usable], n[usable].astype(np.float64), tolerance=tolerance)
        found[:, usable] = (Z[:, usable] - g) / np.sqrt(d)
    return found


def posterior(shift: Float, spread: Float, n: Float, *, tolerance: float = TOLERANCE) -> tuple[Float, Float]:
    """Empirical Bayes estimates (f,) of a DIZ's shifts and spreads.

    Args:
        shift: (f,) means.
        spread: (f,) variances, with n - 1 as divisor.
        n: (f,) rows.
        tolerance: Of the relative change.

    Returns:
        g* and d*; `shift` and `spread` themselves where the features do not differ enough to learn from each other.
    """
    if len(shift) < 2:
        return shift, spread
    centre, between = shift.mean(), shift.var(ddof=1)
    mean, variance = spread.mean(), spread.var(ddof=1)
    if not between > 0 or not variance > 1e-14 * mean**2:
        return shift, spread
    a, b = 2 + mean**2 / variance, mean + mean**3 / variance
    g, d = shift, spread
    for _ in range(_MOST):
        g_next = (n * between * shift + d * centre) / (n * between + d)
        d_next = (b + ((n - 1) * spread + n * (shift - g_next) ** 2) / 2) / (n / 2 + a - 1)
        change = max(float(np.abs(g_next - g).max()) / float(np.sqrt(between)), float(np.abs(d_next / d - 1).max()))
        g, d = g_next, d_next
        if change <= tolerance:
            break
    return g, d


def covariates(site: Site, request: Request) -> Float:
    """(n, c) columns whose effect is kept: numbers, and each level but the reference; NaN where many lack it (`cells`).

    Raises:
        InputError: The outcome is among them.
    """
    settings = request.settings
    if {settings.outcome, settings.event} & set(settings.covariates):
        raise InputError("What is foretold cannot be a covariate of the harmonisation; leave it out of 'covariates'.")
    columns: list[Float] = []
    for name in settings.covariates:
        if name in site.codes:
            code = site.code(name)
            levels = range(1, len(site.levels[name]))
            columns += [np.where(code == MISSING, np.nan, (code == level).astype(np.float64)) for level in levels]
        else:
            columns.append(site.number(name))
    everybody = np.ones(site.rows, dtype=np.bool_)
    return cells.filled(_stack(columns, site.rows), everybody, site, settings)


def _stack(columns: Sequence[Float], rows: int) -> Float:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))
