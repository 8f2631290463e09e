"""Whether probabilities mean what they say: reliability tables and their summary from counts, and a two-number mend.

Of each bin of probability there are the patients, their probabilities' sum, and how many had the class. The expected
calibration error is the mean over patients of |share with the class - mean probability| of their bin (Naeini et al.,
AAAI 2015); of several classes, that of the predicted class (Guo et al., ICML 2017). It depends on the bins.

The mend is Platt's (shift and slope of the linear predictor, two classes) or a temperature (slope alone, several
classes), of least negative log-likelihood on scores of patients that the scoring model was not fitted to. Newton's
method at the hub; each step asks all DIZ for a loss, two derivatives and three second ones, summed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flame_strategies.errors import StrategyError
from flame_strategies.sums import Content, Exchange

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

TOLERANCE = 1e-10
_MOST_STEPS = 50
_FURTHEST = 3.0
"""A step goes at most so far: beyond, the loss is not like its quadratic any more."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """By bin of probability, B of them.

    Attributes:
        n: (B,) patients.
        mean: (B,) their mean probability, NaN in an empty bin.
        share: (B,) share of them with the class, likewise.
        error: The expected calibration error; NaN without patients.
    """

    n: Int
    mean: Float
    share: Float
    error: float

    @classmethod
    def of(cls, n: npt.ArrayLike, positive: npt.ArrayLike, sum_p: npt.ArrayLike) -> "Reliability":
        """From counts (B,) of patients, of those with the class, and sums (B,) of probabilities."""
        count, hits, sums = np.asarray(n, dtype=np.int64), np.asarray(positive), np.asarray(sum_p, dtype=np.float64)
        some = np.maximum(count, 1)
        mean, share = (np.where(count > 0, part / some, np.nan) for part in (sums, hits))
        total = int(count.sum())
        error = float(np.abs(hits - sums).sum() / total) if total else float("nan")
        return cls(count, mean, share, error)


@dataclass(frozen=True)
class Mend:
    """Shift and slope of linear predictors.

    Attributes:
        shift: 0 with several classes.
        slope: 1 / temperature.
        before: Mean negative log-likelihood without it, on the patients that it was found on.
        after: With it.
        n: These patients.
        exchanges: How many messages each DIZ answered.
    """

    shift: float
    slope: float
    before: float
    after: float
    n: int
    exchanges: int

    def content(self) -> dict[str, Float]:
        """As an array record."""
        return {"calibration": np.array([self.shift, self.slope])}


def fit_mend(exchange: Exchange, content: Content, *, query: str = "query.mm_calibrate") -> Mend:
    """Find shift and slope of least loss.

    Args:
        exchange: Asks all DIZ and returns sums.
        content: Records that say of which patients and of what model.
        query: The message type.

    Raises:
        StrategyError: It does not converge: the scores separate the classes, or say nothing about them.
    """
    at = np.array([0.0, 1.0])
    sums = exchange(query, {**content, "mend": {"calibration": at}})
    before = now = float(sums["loss"][0])
    n = int(sums["n"][0])
    for exchanges in range(1, _MOST_STEPS):
        gradient, hessian = np.asarray(sums["gradient"]), np.asarray(sums["hessian"])
        free = hessian[[0, 2]] > 0
        full = np.array([[hessian[0], hessian[1]], [hessian[1], hessian[2]]])
        step = np.zeros(2)
        if free.any():
            step[free] = -np.linalg.pinv(full[np.ix_(free, free)], rcond=1e-14, hermitian=True) @ gradient[free]
        step *= min(1.0, _FURTHEST / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() <= TOLERANCE * max(1.0, float(np.abs(at).max())):
            return Mend(float(at[0]), float(at[1]), before / max(n, 1), now / max(n, 1), n, exchanges)
        while True:
            sums = exchange(query, {**content, "mend": {"calibration": at + step}})
            new = float(sums["loss"][0])
            if new <= now + 1e-10 * (1 + abs(now)) or np.abs(step).max() < TOLERANCE:
                break
            step = step / 2
        at, now = at + step, new
    raise StrategyError("The calibration did not converge; the scores may part the classes without exception.")
