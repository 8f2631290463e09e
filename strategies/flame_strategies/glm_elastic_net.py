"""The elastic net for logistic and Poisson regression: a whole path from sums over sites, equal to the pooled one.

minimise over b0, b:   -loglik(b0, b) / n + lambda sum_j f_j (r |b_j| + (1 - r)/2 b_j^2)

with columns standardised by the pooled mean and population standard deviation, r the `l1_ratio` and f the penalty
factors: glmnet's objective (Friedman, Hastie and Tibshirani, J. Stat. Softw. 33, 2010). Proximal Newton (Lee, Sun and
Saunders, SIAM J. Optim. 24, 2014): around a point the log-likelihood is replaced by its second-order expansion, and
that elastic net is solved exactly at the hub (`elastic_net_solver`). The next point is where its solution lies.

An exchange costs far more than numbers do, so all penalties, and all training sets of the cross-validation, are points
that move at the same time, and one exchange evaluates those that have not settled: a path takes about as many exchanges
as its slowest penalty, where one after the other takes that many times their number. The queries, in array record
``sums``, for p columns and q coefficients:

1. ``query.glm_moments`` and 2. ``query.glm_step`` as in `glm`, until the unpenalised columns are fitted: one step if
   that is the intercept alone.
3. ``query.glm_path``, input as in 2 with ``coefficients`` (m, q), ``fold`` (m,) int64, and ``folds`` = K in ``design``
   (0 without cross-validation). A patient's fold is sha256(id) mod K; point i leaves out the rows of fold[i], none if
   it is -1. Reply: ``n`` (1 + K,) int64, rows in all and by fold; ``fit`` (m, 2) = log-likelihood, and deviance of the
   rows left out; ``gradient`` (m, q); ``hessian`` (m, q (q + 1) / 2), packed.

An answer has m (q + 2) (q + 3) / 2 numbers at most; `points_per_request` limits m. Bounds are those of `glm`. Columns
are expected in the tens or hundreds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flame_strategies.elastic_net import _cross_validation, _penalties
from flame_strategies.glm_design import CONSTANT, Design
from flame_strategies.glm_families import Family
from flame_strategies.glm_newton import Evaluation, maximise
from flame_strategies.glm_path_points import NO_FOLD, Effort, Expansion, Point, settle
from flame_strategies.glm_query import GlmMessages, Query
from flame_strategies.penalty import Penalty
from flame_strategies.sums import Exchange

__all__ = ["GlmPath", "fit_glm_path"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GlmPath:
    """A path of penalised fits.

    Attributes:
        family: Which.
        terms: Names of the q coefficients.
        lambdas: Penalties, falling, shape (L,).
        coefficients: In own units, shape (L, q).
        standardised: The same for standardised columns, shape (L, q); exactly 0 outside the support.
        loglik: Log-likelihoods, shape (L,).
        support: How many penalised columns have a coefficient, shape (L,).
        n: Complete rows.
        excluded: Rows left out because a value was missing.
        cv_deviance: Mean deviance over all held-out rows, shape (L,); None without cross-validation.
        cv_se: Its standard error over folds, weighted by rows, shape (L,).
        best: Index of the least `cv_deviance`, or without cross-validation of the least BIC.
        best_one_se: Index of the largest penalty within one `cv_se` of it; `best` without cross-validation.
        exchanges: How many messages each site answered.
        kkt_gap: Largest violation of the optimality conditions in any problem, as a share of its lambda.
    """

    family: Family
    terms: tuple[str, ...]
    lambdas: Vector
    coefficients: Matrix
    standardised: Matrix
    loglik: Vector
    support: npt.NDArray[np.int64]
    n: int
    excluded: int
    cv_deviance: Vector | None
    cv_se: Vector | None
    best: int
    best_one_se: int
    exchanges: int
    kkt_gap: float


def fit_glm_path(
    exchange: Exchange,
    design: Design,
    family: Family,
    *,
    l1_ratio: float = 0.5,
    num_lambdas: int = 20,
    lambda_min_ratio: float = 0.01,
    lambdas: Sequence[float] | None = None,
    folds: int = 0,
    penalty_factors: npt.ArrayLike | None = None,
    points_per_request: int = 1000,
    tolerance: float = 1e-9,
    max_exchanges: int = 100,
    messages: GlmMessages = GlmMessages(),  # noqa: B008 -- frozen
    progress: Callable[[int, int], None] | None = None,
) -> GlmPath:
    """Fit a penalised logistic or Poisson regression at many penalties over all sites.

    Args:
        exchange: Asks all sites and returns sums.
        design: Outcome and columns, with an intercept, which is never penalised.
        family: ``logistic`` or ``poisson``; `fit_elastic_net` is for linear regression.
        l1_ratio: Share of the absolute penalty, from 0 (ridge, with `lambdas` given) to 1 (lasso).
        num_lambdas: Length of the path, from the penalty at which all coefficients are 0 on a logarithmic scale.
        lambda_min_ratio: Last penalty as a share of the first.
        lambdas: Penalties of one's own, instead of those two; falling.
        folds: K of the cross-validation; 0 for none.
        penalty_factors: Shape (p,), at least 0: 0 leaves a column unpenalised, infinity leaves it out. Not rescaled.
        points_per_request: At most so many points in one query.
        tolerance: Of the optimality conditions, as a share of lambda; steps below 1e-11 end a point as well.
        max_exchanges: Give up after so many.
        messages: Names of the queries.
        progress: Called after each exchange with the exchanges so far and the points that have not settled.

    Raises:
        ValueError: An argument is out of range.
        StrategyError: The data do not allow this fit, it did not converge, or too few sites contribute.
    """
    if family not in ("logistic", "poisson") or not design.intercept or not design.columns:
        raise ValueError("family must be logistic or poisson, and the design needs an intercept and a column.")
    if folds < 0 or folds == 1 or points_per_request < 1:
        raise ValueError("folds must be 0 or at least 2, and points_per_request at least 1.")
    query = Query(exchange, design, family, messages, penalised=True)
    null = query.evaluate(query.null())
    penalty = _penalty(l1_ratio, penalty_factors, null.information)
    null = _fit_free(query, penalty, null, max_exchanges)
    largest = 0.0 if l1_ratio == 0 else float(penalty.largest(null.gradient / query.totals.n))
    path = _penalties(lambdas, largest, num_lambdas, lambda_min_ratio)
    expansion = Expansion(null.at, null.gradient / query.totals.n, null.information / query.totals.n)
    points = [Point(penalty, value, fold, expansion) for fold in range(NO_FOLD, folds) for value in path.tolist()]
    rows = settle(query, points, Effort(folds, points_per_request, tolerance, max_exchanges), progress)
    whole = points[: len(path)]
    standardised, loglik = np.array([point.at.b for point in whole]), np.array([point.loglik for point in whole])
    deviance = error = None
    if folds:
        held_out = np.array([point.held_out for point in points[len(path) :]]).reshape(folds, len(path)).T
        deviance, error = _cross_validation(held_out, rows[1:].astype(np.float64))
        best = int(np.argmin(deviance))
        best_one_se = int(np.flatnonzero(deviance <= deviance[best] + error[best])[0])
    else:
        bic = -2 * loglik + math.log(rows[0]) * np.count_nonzero(standardised, axis=1)
        best = best_one_se = int(np.argmin(bic))
    return GlmPath(
        family=family,
        terms=design.terms,
        lambdas=path,
        coefficients=standardised @ query.scaling.own_units().T,
        standardised=standardised,
        loglik=loglik,
        support=np.count_nonzero(standardised[:, 1:], axis=1),
        n=int(rows[0]),
        excluded=query.excluded,
        cv_deviance=deviance,
        cv_se=error,
        best=best,
        best_one_se=best_one_se,
        exchanges=query.exchanges,
        kkt_gap=max(point.gap for point in points),
    )


def _penalty(l1_ratio: float, factors: npt.ArrayLike | None, information: Matrix) -> Penalty:
    """The penalty of the intercept, which is free, and of the columns; those that do not vary are not eligible."""
    p = len(information) - 1
    f = np.ones(p) if factors is None else np.asarray(factors, dtype=np.float64)
    if not 0 <= l1_ratio <= 1:
        raise ValueError(f"l1_ratio is {l1_ratio}; it must be from 0 to 1.")
    if f.shape != (p,) or not (f >= 0).all():
        raise ValueError(f"penalty_factors must be {p} numbers of at least 0, one for each column.")
    varies = information.diagonal()[1:] / information[0, 0] >= CONSTANT
    eligible = np.concatenate([[True], varies & np.isfinite(f)])
    f = np.where(eligible, np.concatenate([[0.0], f]), 0.0)
    if not f.any():
        raise ValueError("No penalised column varies between rows; there is nothing to choose from.")
    return Penalty(f * l1_ratio, f * (1 - l1_ratio), eligible, float(f.max()) * (l1_ratio or 1.0))


def _fit_free(query: Query, penalty: Penalty, null: Evaluation, max_exchanges: int) -> Evaluation:
    """An evaluation at the fit without the penalised columns; no exchange if `null` is it already."""
    free = np.flatnonzero(penalty.eligible & (penalty.l1 == 0) & (penalty.l2 == 0))
    latest = null

    def evaluate(part: Vector) -> Evaluation:
        nonlocal latest
        if not np.array_equal(part, null.at[free]):
            whole = np.zeros_like(null.at)
            whole[free] = part
            latest = query.evaluate(whole)
        information = latest.information[np.ix_(free, free)]
        return replace(latest, at=part, gradient=latest.gradient[free], information=information)

    names = tuple(query.design.terms[place] for place in free)
    maximise(evaluate, null.at[free], names, max_evaluations=max_exchanges)
    return latest
