"""Firth's penalised logistic regression of many variants at once, by sums over sites.

The likelihood is multiplied by the root of the information's determinant, Jeffreys' prior (Firth, Biometrika 80, 1993).
Its maximum is finite even where the outcome is separated and maximum likelihood has none (Heinze and Schemper,
Statistics in Medicine 21, 2002; Kosmidis and Firth, Biometrika 108, 2021). With rows x_i, probabilities mu_i, weights
w_i = mu_i (1 - mu_i), information I = sum w_i x_i x_i' and hat values h_i = w_i x_i' I^-1 x_i the score is

    sum x_i (y_i - mu_i + h_i (1/2 - mu_i)).

A hat value needs the pooled information, so a step takes two exchanges: the log-likelihood and the information at the
coefficients, which tell whether the step was good; then, with the inverse information in the message, the score, and

    sum w_i (1 + h_i) x_i x_i',

by which it is solved. That is the information of the augmented data in which each row counts 1 + h_i times, and much
closer to the score's derivative than I, with which the steps of a variant with one carrier swing to and fro.

Standard errors are those of I at the maximum, as PLINK 2 and logistf print them.
"""

import numpy as np

from flame_strategies.logistic_scan import (
    CONVERGED,
    TOLERANCE,
    Evaluate,
    Float,
    Modify,
    Scanned,
    climb,
)

MOST_STEPS = 50
"""By default; about ten are needed."""


def fit_firth(
    evaluate: Evaluate,
    modify: Modify,
    start: Float,
    *,
    tolerance: float = TOLERANCE,
    max_evaluations: int = MOST_STEPS,
) -> Scanned:
    """Maximise the penalised likelihoods.

    Args:
        evaluate: One exchange: log-likelihood, gradient and information.
        modify: One exchange: the modified score and the curvature above.
        start: (m, k) coefficients.
        tolerance: Of the step, in units of the standard error; see `logistic_scan`.
        max_evaluations: Of one problem.
    """
    return climb(evaluate, start, modify=modify, tolerance=tolerance, max_evaluations=max_evaluations)


def likelihood_ratios(
    evaluate: Evaluate,
    modify: Modify,
    fits: Scanned,
    start: Float,
    *,
    tolerance: float = TOLERANCE,
    max_evaluations: int = MOST_STEPS,
) -> Float:
    """(m,) twice what holding the last coefficient at 0 costs, chi-square of one degree of freedom.

    The penalty is that of all columns in both (Heinze and Schemper, §2.2). NaN where either fit did not converge.

    Args:
        evaluate: As in `fit_firth`.
        modify: Likewise.
        fits: Of all coefficients.
        start: (m, k); its last column counts as 0.
        tolerance: Of the step.
        max_evaluations: Of one problem.
    """
    held = np.column_stack([start[:, :-1], np.zeros(len(start))])
    null = climb(evaluate, held, modify=modify, fixed=1, tolerance=tolerance, max_evaluations=max_evaluations)
    both = (fits.outcome == CONVERGED) & (null.outcome == CONVERGED)
    found = np.full(len(start), np.nan)
    found[both] = np.maximum(2 * (fits.objective[both] - null.objective[both]), 0.0)
    return found
