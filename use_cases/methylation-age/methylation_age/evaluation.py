"""Accuracy without predictions: what a DIZ returns about a clock on its own test samples, and what the hub makes of it.

A DIZ returns eight sums over its n test samples (error e = predicted - y, both in years) and a coarse table of counts,
age decade by predicted decade, in which cells of one or two samples are set to zero. From the sums follow, for a DIZ
or for several added up,

    MAE = S|e| / n,   RMSE = sqrt(S e^2 / n),   bias = S e / n,
    r = (n S py - S p S y) / sqrt((n S pp - (S p)^2) (n S yy - (S y)^2)).

The hub can form these, and nobody's age or prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[np.generic]]

DECADES = 11
"""Bins of the table: under 10 years (and before birth), 10 to 19, ..., 90 to 99, 100 and over."""

SMALLEST_CELL = 3
"""Counts below this are reported as zero."""

SUMS = ("abs_error", "error", "squared_error", "age", "squared_age", "predicted", "squared_predicted", "product")
"""What the entries of `sums` are, in order."""


@dataclass(frozen=True)
class Accuracy:
    """How well a clock does on n samples; NaN where n is too small to say.

    Attributes:
        n: Test samples.
        mae: Mean absolute error, years.
        rmse: Root of the mean squared error, years.
        bias: Mean of predicted minus chronological age, years.
        r: Pearson's correlation of predicted with chronological age.
    """

    n: int
    mae: float
    rmse: float
    bias: float
    r: float


def evaluate(age: Float, predicted: Float) -> Arrays:
    """Sums and counts for one DIZ.

    Args:
        age: (n,) years.
        predicted: (n,) years.

    Returns:
        ``n`` int64 (1,), ``sums`` float64 (8,) in the order of `SUMS`, ``decades`` int64 (11, 11), chronological by
        predicted.
    """
    error = predicted - age
    sums = [abs(error).sum(), error.sum(), error @ error, age.sum(), age @ age]
    sums += [predicted.sum(), predicted @ predicted, age @ predicted]
    decades = np.zeros((DECADES, DECADES), dtype=np.int64)
    np.add.at(decades, (_decade(age), _decade(predicted)), 1)
    decades[decades < SMALLEST_CELL] = 0
    return {"n": np.array([len(age)], dtype=np.int64), "sums": np.array(sums, dtype=np.float64), "decades": decades}


def accuracy(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Accuracy:
    """Accuracy from the sums of one DIZ, or of several added up."""
    n = int(np.asarray(arrays["n"])[0])
    if n == 0:
        return Accuracy(0, nan, nan, nan, nan)
    total = dict(zip(SUMS, (float(value) for value in np.asarray(arrays["sums"])), strict=True))
    spread_age = n * total["squared_age"] - total["age"] ** 2
    spread_predicted = n * total["squared_predicted"] - total["predicted"] ** 2
    covariance = n * total["product"] - total["age"] * total["predicted"]
    spread = spread_age * spread_predicted
    return Accuracy(
        n=n,
        mae=total["abs_error"] / n,
        rmse=sqrt(total["squared_error"] / n),
        bias=total["error"] / n,
        r=covariance / sqrt(spread) if spread_age > 0 and spread_predicted > 0 else nan,
    )


def _decade(age: Float) -> npt.NDArray[np.intp]:
    return np.clip(np.floor(np.nan_to_num(age) / 10.0), 0, DECADES - 1).astype(np.intp)
