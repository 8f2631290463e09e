"""How well a polygenic score predicts, from sums over test rows: no row's score or outcome is needed.

Of every test row there are y, the prediction u by covariates alone, and the score s. The sums of products of
(1, u, s, y) give everything linear: R^2 of u + s as it stands, the correlation of s and y, how much s adds to u in a
regression of y, and the calibration line of y on u + s. For cases and controls, counts by bin of the score give the
area under the ROC curve (Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic
curve", Radiology 143, 1982) up to half of the pairs that share a bin.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """How well a score predicts; NaN where it cannot be told.

    Attributes:
        n: Test rows.
        r2: 1 - squared errors of u + s over squared deviations of y; below 0 for a prediction worse than the mean.
        r2_covariates: The same of u.
        correlation: Of s and y.
        added: R^2 of the regression of y on u and s, less that on u.
        slope: Of y on u + s; 1 for a calibrated prediction.
        intercept: Likewise; 0.
    """

    n: int
    r2: float
    r2_covariates: float
    correlation: float
    added: float
    slope: float
    intercept: float


def evaluate(products: Matrix) -> Prediction:
    """From sums of products (4, 4) of (1, u, s, y).

    Raises:
        UnusableReply: They have another shape.
    """
    if products.shape != (4, 4):
        raise UnusableReply("The sites' sums of a score's products are 4 x 4; check the ClientApp.")
    n = products[0, 0]
    if n < 2:
        return Prediction(int(n), *[math.nan] * 6)
    mean = products[0] / n
    moments = products / n - np.outer(mean, mean)
    moments[np.abs(moments) <= 1e-13 * np.abs(products / n)] = 0.0  # what does not vary but for rounding
    variance = moments[3, 3]
    errors = [_squared(products, weights) / n for weights in ((0.0, 1.0, 1.0, -1.0), (0.0, 1.0, 0.0, -1.0))]
    r2, r2_u = (_ratio(variance - error, variance) for error in errors)
    spread_s = moments[2, 2]
    joined = moments[1, 1] + 2 * moments[1, 2] + spread_s
    slope = _ratio(moments[1, 3] + moments[2, 3], joined)
    return Prediction(
        n=int(n),
        r2=r2,
        r2_covariates=r2_u,
        correlation=_ratio(moments[2, 3], math.sqrt(max(spread_s * variance, 0.0))),
        added=_explained(moments, [1, 2]) - _explained(moments, [1]),
        slope=slope,
        intercept=float(mean[3] - slope * (mean[1] + mean[2])),
    )


def area(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Area under the ROC curve, and how far off it can be.

    Args:
        counts: (2, B) controls and cases by bin of the score, ascending.

    Returns:
        The area with pairs of one bin counted half, and half of those pairs' share; NaN without cases or controls.
    """
    controls, cases = counts.astype(np.float64)
    pairs = controls.sum() * cases.sum()
    if not pairs > 0:
        return math.nan, math.nan
    below = np.cumsum(controls) - controls
    shared = float(controls @ cases) / 2
    return (float(cases @ below) + shared) / pairs, shared / pairs


def _explained(moments: Matrix, columns: list[int]) -> float:
    """R^2 of the regression of y on some columns; constant ones count for nothing."""
    used = [column for column in columns if moments[column, column] > 0]
    right = moments[used, 3]
    fitted = np.linalg.lstsq(moments[np.ix_(used, used)], right, rcond=1e-12)[0] @ right if used else 0.0
    return _ratio(float(fitted), float(moments[3, 3]))


def _squared(products: Matrix, weights: tuple[float, ...]) -> float:
    w = np.array(weights)
    return max(float(w @ products @ w), 0.0)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else math.nan
