"""A DIZ's part of Cox fusion: sums by bin of the declared grid of times, and of concordance.

A time t is counted in the first bin of the grid with t <= e_k, as if it were e_k, and beyond the last one as under
observation to the end without an event. ``kept`` are the bins with events in any DIZ; a patient leaves in the last of
them that is not later than the patient's own bin, and is at risk in it and all before. Bins in which fewer than
``min-cell`` of a DIZ's training patients leave are one with later ones there (`merged`), because a sum of z over who
leaves in a bin would else be of a few. With z a row of the design,
r = e^(z'b), the partial likelihood needs sums of r and r z by the bin in which patients leave. Answers are described in
`flame_strategies.block_cox`.
"""

import numpy as np

from multimodal_imaging import cells, validation
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Answer, Arrays, Bool, Float, Int, Request, Site
from multimodal_imaging.site_block import DESIGN, MEASURED, Design, design
from multimodal_imaging.site_gradient import points_of

_MOST = 300.0
"""Linear predictors are cut here, far beyond any that fits, so that sums stay finite."""


def mm_times(site: Site, request: Request) -> Arrays:
    """By fold of patients, events and last times by bin; and how many patients have no possible time or event."""
    found, bins, happened, invalid = _fitted(site, request)
    grid, folds = times(request), request.settings.folds
    fold = validation.folds(site, request)[found.rows]
    events, leaving = (np.zeros((folds, len(grid) + more), dtype=np.int64) for more in (0, 1))
    np.add.at(events, (fold[happened], bins[happened]), 1)
    np.add.at(leaving, (fold, bins), 1)
    return {"events": events, "leaving": leaving, "invalid": np.array([invalid], dtype=np.int64)}


def mm_cox(site: Site, request: Request) -> Arrays:
    """At m points, without the patients of one fold and with all: sums by bin of r, and inside of r z; over events."""
    found, bins, happened, _ = _fitted(site, request)
    fold, p = validation.folds(site, request)[found.rows], found.Z.shape[1]
    points, left_out = points_of(request, p, 1)
    kept = _kept(request)
    own = np.searchsorted(kept, bins)
    if not np.isin(bins[happened], kept).all():
        raise InputError("There are events in time bins that had none before; the data store changed.")
    leaving = np.searchsorted(kept, bins, side="right") - 1  # -1: before all events, at risk in none
    at_risk = leaving >= 0
    by_bin = np.zeros((len(kept), len(bins)))
    by_bin[leaving[at_risk], np.flatnonzero(at_risk)] = 1.0
    m = len(points)
    risk, risk_z = np.zeros((m, 2, len(kept))), np.zeros((m, len(kept), p))
    event_eta, event_z = np.zeros((m, 2)), np.zeros((m, p))
    for number, (b, without) in enumerate(zip(points, left_out.tolist(), strict=True)):
        eta = found.Z @ b[1:, 0]
        r, inside = np.exp(np.clip(eta, -_MOST, _MOST)), fold != without
        risk[number] = by_bin @ (r * inside), by_bin @ r
        risk_z[number] = by_bin @ (found.Z * (r * inside)[:, None])
        event_eta[number] = eta[happened & inside].sum(), eta[happened].sum()
        event_z[number] = found.Z[happened & inside].sum(axis=0)
    events = np.bincount(own[happened], minlength=len(kept)).astype(np.int64)
    return {"events": events, "risk": risk, "risk_z": risk_z, "event_eta": event_eta, "event_z": event_z}


def mm_concordance(site: Site, request: Request) -> Arrays:
    """``n`` (1,) patients, ``pairs`` (3,) of them within this DIZ: in order, tied, and comparable.

    A pair is comparable if the earlier bin of time is that of an event; in order, if the linear predictor of who had it
    is larger; tied, if both are the same. No pair is of two DIZ: counts by time and predictor do not leave.
    """
    chosen = validation.measured(site, request)
    found, bins, happened, _ = _rows(site, request, chosen)
    eta = found.Z @ request.array("coefficients", (1 + found.Z.shape[1], 1))[1:, 0]
    pairs = np.zeros(3, dtype=np.int64)
    for one in np.flatnonzero(happened):
        later = (bins > bins[one]) | ((bins == bins[one]) & ~happened)
        pairs += (eta[one] > eta[later]).sum(), (eta[one] == eta[later]).sum(), later.sum()
    excluded = chosen.sum() - len(bins)
    return {
        "n": np.array([len(bins)], dtype=np.int64),
        "pairs": pairs,
        "excluded": np.array([excluded], dtype=np.int64),
    }


def times(request: Request) -> Float:
    """(T,) the declared grid, first:last:step."""
    first, last, step = request.settings.times
    return np.arange(first, last + step / 2, step)


def merged(leaving: Int, least: int) -> Int:
    """(T + 1,) the bin that stands for each: the last of those that are one with it.

    Args:
        leaving: (T + 1,) patients by bin, the last being beyond the grid.
        least: Fewer in a bin are one with the next bins, the last few with those before them. What is one with the bin
            beyond the grid is in the last one of the grid, so that no event is lost.
    """
    last = len(leaving) - 1
    ends: list[int] = []
    inside = 0
    for place, count in enumerate(leaving.tolist()):
        inside += count
        if inside >= least:
            ends.append(place)
            inside = 0
    ends = [*ends[: None if inside == 0 else -1], last] if inside or not ends else ends
    if ends[-1] != last:
        ends.append(last)
    own = np.array(ends, dtype=np.int64)[np.searchsorted(ends, np.arange(last + 1))]
    alone = len(ends) > 1 and ends[-2] == last - 1
    return own if alone else np.where(own == last, last - 1, own)


def _fitted(site: Site, request: Request) -> tuple[Design, Int, Bool, int]:
    """`_rows` of a training set, with bins merged by all training patients."""
    found, bins, happened, invalid = _rows(site, request, validation.fitted(site, request))
    return found, merged_bins(site, request)[bins], happened, invalid


def merged_bins(site: Site, request: Request) -> Int:
    """(T + 1,) `merged` of this DIZ's training patients."""
    settings = request.settings
    own = np.searchsorted(times(request), site.number(settings.outcome)[site.train & cells.known(site, settings)])
    return merged(np.bincount(own, minlength=len(times(request)) + 1), settings.min_cell)


def _rows(site: Site, request: Request, among: Bool) -> tuple[Design, Int, Bool, int]:
    """The design, the bin of each row's last time, whether an event happened within the grid, and rows not valid."""
    settings = request.settings
    if not settings.event:
        raise InputError("The approved run config has no event, so there are no survival times.")
    time, event = site.number(settings.outcome), site.number(settings.event)
    known = np.isfinite(time) & np.isfinite(event)
    valid = known & (time >= 0) & ((event == 0) | (event == 1))
    found = design(site, request, among & valid)
    bins = np.searchsorted(times(request), time[found.rows]).astype(np.int64)
    happened = (event[found.rows] == 1) & (bins < len(times(request)))
    return found, bins, happened, int((among & known & ~valid).sum())


def _kept(request: Request) -> Int:
    kept = request.arrays.get("kept")
    if (
        kept is None
        or kept.ndim != 1
        or kept.dtype.kind != "i"
        or not len(kept)
        or not ((np.diff(kept, prepend=-1) > 0).all() and kept[-1] < len(times(request)))
    ):
        raise InputError("The message's bins of times are none of the grid's, or out of order.")
    return kept.astype(np.int64)


ANSWERS: dict[str, Answer] = {"mm_times": mm_times, "mm_cox": mm_cox, "mm_concordance": mm_concordance}
ASKED: dict[str, tuple[str, ...]] = {
    "mm_times": DESIGN,
    "mm_cox": (*DESIGN, "coefficients", "fold", "kept"),
    "mm_concordance": (*MEASURED, "coefficients"),
}
