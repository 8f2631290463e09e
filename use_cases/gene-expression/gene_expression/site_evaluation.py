"""A DIZ's part of measuring a model on samples that it was not trained on: counts by bin of the score.

No score leaves, only how many samples of each class, or with an event by a time, have a score in each declared bin.
From these the hub draws the ROC curve and the concordance index with the error that binning can make, and Kaplan-Meier
curves. A sample of which something is missing that the model needs is left out and counted.
"""

from dataclasses import dataclass

import numpy as np

from gene_expression.errors import InputError
from gene_expression.site_design import build
from gene_expression.site_rows import classes, values, view
from gene_expression.table import MISSING, Answer, Arrays, Float, Int, Request, Table

_LEAST = 1e-15
"""Probabilities are at least this in a logarithm."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Samples of a population: linear predictors (n, M) of M models, and the table that they are the rows of."""

    linear: Float
    table: Table
    excluded: int


def classify_scores(table: Table, request: Request) -> Arrays:
    """Counts of the probabilities of M logistic models; see `score_counts`."""
    scored = _score(table, request)
    with np.errstate(over="ignore"):  # e^1000 is infinite, and its probability 0
        probability = 1 / (1 + np.exp(-scored.linear))
    return {**score_counts(scored.table, request, probability), "excluded": np.array([scored.excluded])}


def score_counts(table: Table, request: Request, probability: Float) -> Arrays:
    """What leaves of the probabilities (n, M) of the classes ``scored``.

    Returns:
        ``scores`` (M, 2, B): samples without and with the class by bin, ``cuts`` being the B - 1 bounds between bins;
        ``confusion`` (C, C): by class and predicted class (of one model, its class from 1/2 on; of several, the most
        probable one); ``loss`` (M, 2): sums of squared errors (Brier's score) and of negative log-likelihoods.
    """
    wanted, scored, cuts = request.names("classes"), request.names("scored"), request.arrays["cuts"]
    places = classes(table, request)
    known = np.isfinite(places)
    place, p = places[known].astype(np.int64), probability[known]
    columns = np.array([wanted.index(level) for level in scored], dtype=np.int64)
    truth = place[:, None] == columns
    bins = np.searchsorted(cuts, p, side="right").astype(np.int64)
    counts = np.zeros((len(scored), 2, len(cuts) + 1), dtype=np.int64)
    for model in range(len(scored)):
        np.add.at(counts[model], (truth[:, model].astype(np.int64), bins[:, model]), 1)
    confusion = np.zeros((len(wanted), len(wanted)), dtype=np.int64)
    chosen = columns[p.argmax(axis=1)] if len(scored) > 1 else np.where(p[:, 0] >= 0.5, columns[0], 1 - columns[0])
    np.add.at(confusion, (place, chosen), 1)
    likelihood = np.maximum(np.where(truth, p, 1 - p), _LEAST)
    loss = np.stack([((truth - p) ** 2).sum(axis=0), -np.log(likelihood).sum(axis=0)], axis=1)
    return {"scores": counts, "confusion": confusion, "loss": loss}


def survival_scores(table: Table, request: Request) -> Arrays:
    """``counts`` (2, T + 1, B): samples without and with event, by time and by bin of the linear predictor."""
    scored = _score(table, request, str(request.config["time"]), str(request.config["event"]))
    happened, bins, known = _bins(scored.table, request)
    cuts = request.arrays["cuts"]
    counts = np.zeros((2, len(request.arrays["grid"]) + 1, len(cuts) + 1), dtype=np.int64)
    score = np.searchsorted(cuts, scored.linear[:, 0], side="right")
    np.add.at(counts, (happened[known], bins[known], score[known]), 1)
    return {"counts": counts, "excluded": np.array([scored.excluded + (~known).sum()], dtype=np.int64)}


def survival_curve(table: Table, request: Request) -> Arrays:
    """``counts`` (G, 2, T + 1): samples by group, without and with event, and time.

    Groups are the levels of the column ``by``; or where the model's linear predictor lies among ``thresholds``; or one.
    """
    time, event = str(request.config["time"]), str(request.config["event"])
    by, levels = str(request.config.get("by", "")), request.names("group_levels")
    if "coefficients" in request.arrays:
        scored = _score(table, request, time, event)
        thresholds = request.arrays["thresholds"]
        of, groups = np.searchsorted(thresholds, scored.linear[:, 0], side="right"), len(thresholds) + 1
    else:
        rows = view(table, request, time, event)
        of, groups = _levels(rows, by, levels) if by else (np.zeros(rows.rows, dtype=np.int64), 1)
        scored = Scored(np.zeros((rows.rows, 1)), rows, 0)
    happened, bins, known = _bins(scored.table, request)
    known &= of != MISSING
    counts = np.zeros((groups, 2, len(request.arrays["grid"]) + 1), dtype=np.int64)
    np.add.at(counts, (of[known], happened[known], bins[known]), 1)
    return {"counts": counts, "excluded": np.array([scored.excluded + (~known).sum()], dtype=np.int64)}


def _score(table: Table, request: Request, *outcomes: str) -> Scored:
    """Linear predictors at ``coefficients`` (M, 1 + p), in the columns' own units."""
    rows = view(table, request, *outcomes)
    samples, b = build(rows, request), request.arrays["coefficients"]
    if b.ndim != 2 or b.shape[1] != 1 + samples.X.shape[1]:
        raise InputError(f"The model has {b.shape} coefficients, the design {samples.X.shape[1]} columns.")
    of = np.flatnonzero(samples.kept)
    taken = Table(
        genes=rows.genes[of],
        scale=rows.scale,
        numbers={name: column[of] for name, column in rows.numbers.items()},
        codes={name: column[of] for name, column in rows.codes.items()},
        levels=rows.levels,
        patients=tuple(rows.patients[row] for row in of.tolist()),
        panel=rows.panel,
        node=rows.node,
    )
    return Scored(b[:, 0] + samples.X @ b[:, 1:].T, taken, samples.excluded)


def _bins(table: Table, request: Request) -> tuple[Int, Int, "np.typing.NDArray[np.bool_]"]:
    """Whether there was an event within the grid (0 or 1), the bin of the last time, and whether both are known."""
    time, event = (values(table, str(request.config[name])) for name in ("time", "event"))
    grid = request.arrays["grid"]
    known = np.isfinite(time) & np.isfinite(event)
    bins = np.searchsorted(grid, np.where(known, time, np.inf))
    happened = (event == 1) & (bins < len(grid))
    return happened.astype(np.int64), bins, known


def _levels(table: Table, name: str, levels: list[str]) -> tuple[Int, int]:
    """(rows,) places in `levels` of a column, `MISSING` for others; and how many levels."""
    declared = table.levels.get(name, ())
    places = [levels.index(level) if level in levels else MISSING for level in declared]
    return np.array([*places, MISSING], dtype=np.int64)[table.code(name)], len(levels)


ANSWERS: dict[str, Answer] = {
    "classify_scores": classify_scores,
    "survival_scores": survival_scores,
    "survival_curve": survival_curve,
}
