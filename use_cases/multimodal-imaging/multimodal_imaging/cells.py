"""Rare absences: nobody stands out by what is lacking or there.

Sums over those who lack a modality, over those who have it, and over everybody tell each other apart: where they
differ by one patient, they are that patient's values. A DIZ therefore counts in *cells* of its own patients, the folds
of its training patients and its test patients (those without a known outcome in cells of their own), and follows one
rule wherever presence is read: in marks, views, imputation and harmonisation, and in the pooled analysis that a run
equals.

* **Modalities.** A patient whose pattern of present modalities fewer than ``min-cell`` of the cell share, is taken for
  one with the nearest pattern that so many have (of several as near, the most frequent). Where there is none,
  everybody counts as having all. Any two sets that patterns define then differ by nobody or by ``min-cell`` patients
  of a cell. What such a patient has and the pattern has not is not read; what the pattern has and the patient has not
  is at the mean.
* **Features.** A feature that fewer than ``min-cell`` of those with the modality lack in a cell, is for these the DIZ's
  own mean of its training patients (before any centring, so that it follows the hub's centre and scale as all values
  do); one that more lack and fewer have, is missing for all of them.
"""

import numpy as np

from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Bool, Float, Int, Site


def cells(site: Site, settings: Settings) -> Int:
    """(n,) the cell of each patient: its fold, or for test patients the number of folds; more without an outcome."""
    own = np.where(site.train, site.fold(settings.folds, settings.seed), settings.folds)
    without = np.where(site.train, settings.folds + 1, settings.folds + 2)
    return np.where(known(site, settings), own, without).astype(np.int64)


def known(site: Site, settings: Settings) -> Bool:
    """(n,) whose outcome is known; of survival, whose time and event are possible."""
    if settings.classes:
        return np.asarray(site.code(settings.outcome) >= 0)
    value = site.number(settings.outcome)
    if not settings.event:
        return np.isfinite(value)
    event = site.number(settings.event)
    return np.asarray(np.isfinite(value) & (value >= 0) & ((event == 0) | (event == 1)))


def presence(site: Site, settings: Settings) -> Bool:
    """(n, M) who counts as having which modality."""
    has = np.array([block.there for block in site.blocks.values()], dtype=np.bool_).reshape(-1, site.rows).T
    found, of = has.copy(), cells(site, settings)
    for cell in np.unique(of):
        rows = np.flatnonzero(of == cell)
        patterns, which, counts = np.unique(has[rows], axis=0, return_inverse=True, return_counts=True)
        common = counts >= settings.min_cell
        if not common.any():
            found[rows] = True
            continue
        apart = (patterns[:, None] != patterns[common]).sum(axis=2)
        nearest = (apart * (len(rows) + 1) - counts[common]).argmin(axis=1)
        found[rows] = patterns[common][nearest][which.reshape(-1)]
    return found


def filled(values: Float, there: Bool, site: Site, settings: Settings) -> Float:
    """(n, f) what is read of a block's values: NaN where missing, after the rule of features.

    Args:
        values: (n, f), NaN where missing.
        there: (n,) who counts as having the block.
        site: Whose they are.
        settings: What the approved run config says.
    """
    found, of, least = np.where(there[:, None], values, np.nan), cells(site, settings), settings.min_cell
    groups = [np.flatnonzero(there & (of == cell)) for cell in np.unique(of)]
    for rows in groups:
        seen = np.isfinite(found[rows]).sum(axis=0)
        found[np.ix_(rows, (seen < least) & (len(rows) - seen >= least))] = np.nan
    mean = _mean(found[site.train])
    for rows in groups:
        inside = found[rows]
        lacking = ~np.isfinite(inside)
        few = (lacking.sum(axis=0) < least) & ~lacking.all(axis=0)
        instead = np.where(np.isfinite(mean), mean, _mean(inside))
        found[rows] = np.where(lacking & few, instead, inside)
    return found


def _mean(values: Float) -> Float:
    """(f,) of what is not missing; NaN where all is."""
    seen = np.isfinite(values)
    count = seen.sum(axis=0)
    total = np.where(seen, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
