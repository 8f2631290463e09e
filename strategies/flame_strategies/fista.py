"""The federated elastic net by accelerated proximal gradient steps, for more columns than `elastic_net` can hold.

The same problem and the same standardisation as in `elastic_net`, at one penalty. A round moves two vectors of p
numbers and no Gram columns, but there are hundreds to thousands of rounds where that has tens: it pays where the
solution has thousands of non-zero coefficients, or where sites may release gradients only.

1. ``query.moments``: as in `elastic_net`.
2. ``query.gradient``, input: array record ``reference`` with ``centre``, ``scale``, ``coefficients`` (p,) and
   ``y_centre``, ``y_scale`` (1,). Reply, record ``sums``: ``gradient`` (p,) = Z'(Z b - y) over the site's rows.

FISTA (Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", SIAM J.
Imaging Sci. 2, 2009) with the gradient-based restart of O'Donoghue and Candes ("Adaptive Restart for Accelerated
Gradient Schemes", Found. Comput. Math. 15, 2015). The loss is quadratic, so the gradient is affine in b: that at the
extrapolated point follows from those at the last two iterates, and so does the curvature along a step, which the
step size must bound. Hence one round for each step, no round for the line search unless it fails, and the optimality
conditions are known at every iterate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.penalty import Penalty
from flame_strategies.reference import LinearModel, Reference
from flame_strategies.sums import Exchange

Vector = npt.NDArray[np.float64]

_ROUNDING = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class FistaFit:
    """The elastic net at one penalty.

    Attributes:
        penalty: lambda, for standardised columns and outcome.
        coefficients: Shape (p,), for the same.
        reference: Pooled centres and scales.
        rounds: Exchanges that the fit took.
        kkt_gap: Largest violation of the optimality conditions, as a share of lambda times l1_ratio.
        converged: Whether that is within the tolerance.
    """

    penalty: float
    coefficients: Vector
    reference: Reference
    rounds: int
    kkt_gap: float
    converged: bool

    def model(self) -> LinearModel:
        """The model in the data's own units."""
        return self.reference.model(self.coefficients)


def fit_fista(
    exchange: Exchange,
    penalty: float,
    *,
    l1_ratio: float = 0.5,
    penalty_factors: npt.ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_rounds: int = 2000,
    start: Vector | None = None,
    moments_message: str = "query.moments",
    gradient_message: str = "query.gradient",
    progress: Callable[[int, float], None] | None = None,
) -> FistaFit:
    """Fit the elastic net at one penalty from sums of gradients.

    Args:
        exchange: Asks all sites and returns sums.
        penalty: lambda above 0, for standardised columns and outcome.
        l1_ratio: As in `fit_elastic_net`.
        penalty_factors: As in `fit_elastic_net`.
        tolerance: Stop once `FistaFit.kkt_gap` is at most this.
        max_rounds: Stop after so many exchanges; `FistaFit.converged` then says that it was not enough.
        start: Coefficients to start from, shape (p,), for instance those at a larger penalty.
        moments_message: Name of the first query.
        gradient_message: Name of the second.
        progress: Called after each round with the rounds so far and the gap.

    Raises:
        ValueError: An argument is out of range.
        StrategyError: The sites' replies cannot be used, a site was lost, or too few contribute.
    """
    if not penalty > 0 or not tolerance > 0:
        raise ValueError("penalty and tolerance must be above 0.")
    reference = Reference.from_moments(exchange(moments_message, {}))
    terms = Penalty.of(reference, l1_ratio, penalty_factors)
    rounds = 1

    def gradient(at: Vector) -> Vector:
        nonlocal rounds
        rounds += 1
        sums = exchange(gradient_message, {"reference": {**reference.content(), "coefficients": at}})
        if "gradient" not in sums or sums["gradient"].shape != at.shape:
            raise UnusableReply(
                f"The sites answer {gradient_message} without gradient ({at.size},); check the ClientApp."
            )
        return np.asarray(sums["gradient"] / reference.n)

    x = np.zeros(len(reference.centre)) if start is None else np.where(terms.eligible, start, 0.0)
    g = gradient(x)
    gap = float(terms.violation(-g, x, penalty).max())
    y, g_y = x, g  # where the next step starts, and the gradient there
    momentum = 1.0
    lipschitz = 1.0  # the mean eigenvalue of the correlation matrix, so never too large to begin with
    while gap > tolerance and rounds < max_rounds:
        x_new = terms.proximal(y - g_y / lipschitz, penalty / lipschitz)
        g_new = gradient(x_new)
        step, bend = x_new - y, g_new - g_y
        length = float(step @ step)
        noise = _ROUNDING * math.sqrt(length) * float(np.linalg.norm(g_new) + np.linalg.norm(g_y))
        if (curvature := float(step @ bend)) > lipschitz * length + noise:
            lipschitz = max(1.5 * lipschitz, 1.01 * curvature / length)
            continue
        gap = float(terms.violation(-g_new, x_new, penalty).max())
        if progress is not None:
            progress(rounds, gap)
        if float((y - x_new) @ (x_new - x)) > 0:  # momentum points uphill: forget it
            momentum = 1.0
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        weight = (momentum - 1.0) / following
        y, g_y = x_new + weight * (x_new - x), g_new + weight * (g_new - g)
        x, g, momentum = x_new, g_new, following
    return FistaFit(penalty, x, reference, rounds, gap, gap <= tolerance)
