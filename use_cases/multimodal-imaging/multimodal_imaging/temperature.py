"""Calibrated outputs from sums: a temperature for classes, and a width that holds so many of the errors for numbers.

Both are found on patients that no network was trained on, and checked on others.

* Classes (Guo et al., ICML 2017): one number T, by which outputs are divided, makes a network as sure as it is right.
  It changes no order, so accuracy and ROC stay. The sites add up -log p(class) for a grid of T; the best lies between
  two points of it, where a parabola through the three lowest has its lowest point.
* Numbers: the interval is the prediction -+ w, w the smallest with at least (n + 1) share patients' errors below (split
  conformal prediction: Lei et al., JASA 113, 2018). For patients who are alike it then holds the truth with at least
  that share. Errors come counted in bins; w is a bin's upper bound, so what the bins hide makes it wider, never
  narrower.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Temperature:
    """T, and the mean of -log p(class) of n patients with and without it; T = 1 without patients."""

    value: float
    before: float
    after: float
    patients: int


def best_temperature(grid: Float, sums: Float, patients: int) -> Temperature:
    """The temperature with the smallest loss.

    Args:
        grid: (K,) temperatures, in equal steps of the logarithm.
        sums: (K,) of -log p(class).
        patients: n.
    """
    if patients < 1:
        return Temperature(1.0, float("nan"), float("nan"), 0)
    at, logs = int(np.argmin(sums)), np.log(grid)
    value, after = float(grid[at]), float(sums[at])
    if 0 < at < len(grid) - 1:
        low, middle, high = sums[at - 1 : at + 2]
        curve, step = low - 2 * middle + high, logs[at] - logs[at - 1]
        if curve > 0:
            move = 0.5 * (low - high) / curve
            value = float(np.exp(logs[at] + move * step))
            after = float(middle - 0.25 * (low - high) * move)
    one = float(np.interp(0.0, logs, sums))
    return Temperature(value, one / patients, after / patients, patients)


def width_for(counts: npt.NDArray[np.int64], step: float, share: float) -> float:
    """w: half the width of an interval that holds `share` of patients.

    Args:
        counts: (B,) of absolute errors in bins of width `step`, the last without an end.
        step: In the outcome's unit.
        share: Between 0 and 1.

    Returns:
        Infinite where too few patients, or errors beyond the bins, leave no bound.
    """
    needed = int(np.ceil((counts.sum() + 1) * share - 1e-9))
    below = np.cumsum(counts)
    at = int(np.searchsorted(below, needed))
    return float("inf") if at >= len(counts) - 1 else (at + 1) * step


def share_within(counts: npt.NDArray[np.int64], step: float, width: float) -> float:
    """The share of patients whose error is at most `width`, a multiple of `step`; NaN without patients."""
    if not counts.sum():
        return float("nan")
    bins = len(counts) if not np.isfinite(width) else round(width / step)
    return float(counts[:bins].sum() / counts.sum())
