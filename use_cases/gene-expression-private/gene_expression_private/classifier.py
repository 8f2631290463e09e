"""A logistic classifier by a few steps along noised gradients.

Each step asks all DIZ for Σ (y - m)(1, x) at the present coefficients b, x standardised to a spread near 1/2, and goes

    b ← b + (step / n) (g - PENALTY b),

n a public guess of how many patients there are. The likelihood's curvature per patient is at most 1/4 for the
intercept, near 1/16 for a gene of spread 1/2, and a few times that along a module of correlated genes: steps of 4 and 8
are Newton's for the first and half of it for a gene. Clipping shortens the gradients, which keeps such steps from
overshooting; few of them stop early, which shrinks as a penalty does.

The Hessian is not asked for: on synthetic patients Newton steps from noised Hessians lost more to its p^2/2 further
numbers than they gained, and DP-SGD did about as well as these steps.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
INTERCEPT_STEP, GENE_STEP = 4.0, 8.0
PENALTY = 2.0


def descend(ask: Callable[[Float], Float], genes: int, steps: int, patients: float) -> Float:
    """(1 + genes,) coefficients: intercept, and weights of standardised genes.

    Args:
        ask: Gives the gradient, summed over patients, at coefficients.
        genes: How many.
        steps: As many as the terms allow.
        patients: Guess of their number.
    """
    coefficients = np.zeros(1 + genes)
    length = np.array([INTERCEPT_STEP, *[GENE_STEP] * genes]) / patients
    for _ in range(steps):
        coefficients = coefficients + length * (ask(coefficients) - PENALTY * coefficients)
    return coefficients


def area_under_curve(score: Float, case: npt.NDArray[np.bool_]) -> float:
    """Chance that a case scores above a control, ties counted half; NaN without one of them."""
    cases, controls = np.sort(score[case]), np.sort(score[~case])
    if not len(cases) or not len(controls):
        return float("nan")
    below = np.searchsorted(controls, cases, side="left") + np.searchsorted(controls, cases, side="right")
    return float(below.sum() / 2 / (len(cases) * len(controls)))
