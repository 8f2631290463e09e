"""How good a network is, from sums over all DIZ (see `prediction_sums`). Pure.

Areas under curves are of probabilities in bins, ties counted one half. Intervals of shares and of areas are not given
here: what varies most between networks is the seed, so figures over several seeds are what is compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multimodal_imaging.prediction_sums import ERROR_STEP

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Sums = Mapping[str, npt.NDArray[np.generic]]

NUMBER_MEASURES = ("mae", "rmse", "r2", "r")
CLASS_MEASURES = ("accuracy", "balanced accuracy", "auc", "log loss", "brier", "ece")
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network does with some modalities.

    Attributes:
        patients: How many were looked at.
        measures: By name; NaN where there is none.
    """

    patients: int
    measures: Mapping[str, float]


def view_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """What the model may look at, in the order of the sums' first axis."""
    return ("all", *(f"without {name}" for name in modalities), *(f"only {name}" for name in modalities))


def number_scores(sums: Sums) -> tuple[Scores, ...]:
    """Of a numeric outcome, by view."""
    return tuple(
        Scores(int(n), dict(zip(NUMBER_MEASURES, _number(int(n), row), strict=True)))
        for n, row in zip(sums["n"], np.asarray(sums["values"], dtype=np.float64), strict=True)
    )


def class_scores(sums: Sums) -> tuple[Scores, ...]:
    """Of classes, by view."""
    confusion, counts = np.asarray(sums["confusion"], np.int64), np.asarray(sums["scores"], np.int64)
    loss = np.asarray(sums["loss"], np.float64)
    found = []
    for view, n in enumerate(np.asarray(sums["n"], np.int64).tolist()):
        if n == 0:
            found.append(Scores(0, dict.fromkeys(CLASS_MEASURES, NAN)))
            continue
        table = confusion[view]
        size = table.sum(axis=1)
        recall = np.diag(table)[size > 0] / size[size > 0]
        # of two classes the curve of one is that of the other
        areas = [auc(one) for one in (counts[view, 1:] if len(table) == 2 else counts[view])]
        known = [area for area in areas if np.isfinite(area)]
        values = (
            float(np.trace(table) / n),
            float(recall.mean()),
            float(np.mean(known)) if known else NAN,
            float(loss[view, 0] / n),
            float(loss[view, 1] / n),
            calibration_error(counts[view]),
        )
        found.append(Scores(n, dict(zip(CLASS_MEASURES, values, strict=True))))
    return tuple(found)


def auc(counts: Int) -> float:
    """Area under the ROC curve of counts (2, B): the others' and the class's own probabilities; NaN without both."""
    other, own = counts.astype(np.float64)
    if not other.sum() or not own.sum():
        return NAN
    below = np.cumsum(other) - other
    return float((own * (below + other / 2)).sum() / (own.sum() * other.sum()))


def reliability(counts: Int) -> tuple[Float, Float, Int]:
    """Over all classes, by bin of the probability: its middle, how often the class was right, and how many."""
    by_bin = counts.sum(axis=0)
    total, bins = by_bin.sum(axis=0), by_bin.shape[1]
    share = np.divide(by_bin[1], total, out=np.full(bins, np.nan), where=total > 0)
    return (np.arange(bins) + 0.5) / bins, share, total


def calibration_error(counts: Int) -> float:
    """Mean distance between probability and frequency over (patient, class), to half a bin; NaN without patients."""
    middle, share, total = reliability(counts)
    seen = total > 0
    return float((abs(share - middle)[seen] * total[seen]).sum() / total.sum()) if seen.any() else NAN


def error_step(spread: float) -> float:
    """Width of the bins of absolute errors, in the outcome's unit."""
    return ERROR_STEP * spread


def _number(n: int, sums: Float) -> tuple[float, ...]:
    if n == 0:
        return (NAN,) * len(NUMBER_MEASURES)
    y, yy, p, pp, yp, absolute, square = (float(value) for value in sums / n)
    vary_y, vary_p = yy - y * y, pp - p * p
    r = (yp - y * p) / np.sqrt(vary_y * vary_p) if vary_y > 0 and vary_p > 0 else NAN
    return absolute, float(np.sqrt(square)), 1 - square / vary_y if vary_y > 0 else NAN, float(r)
