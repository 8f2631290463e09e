"""The federated elastic net: the whole cross-validated path from sums, equal to the pooled solution.

minimise over b0, b:   1/(2n) |y - b0 - Zb|^2 + lambda sum_j f_j (r |b_j| + (1 - r)/2 b_j^2)

with columns Z and outcome y standardised by pooled mean and population standard deviation, a missing value at
the mean, r the `l1_ratio` and f the penalty factors (Zou and Hastie, "Regularization and variable selection
via the elastic net", JRSS B 67, 2005; as in glmnet and scikit-learn). Least squares sees the data only
through sums, so nothing is approximated (covariance updates: Friedman, Hastie and Tibshirani, "Regularization
paths for generalized linear models via coordinate descent", J. Stat. Softw. 33, 2010). The sites answer three
queries, each in the array record ``sums`` of their reply:

1. ``query.moments``, no input. Reply: ``n`` (1,) and ``count`` (p,) int64, the values that are present;
   ``sum_x``, ``sum_xx`` (p,); ``sum_y`` (2,) = [sum y, sum y^2].
2. ``query.target``, input: array record ``reference`` with ``centre``, ``scale`` (p,) and ``y_centre``,
   ``y_scale`` (1,), and config record ``folds`` with ``folds`` = K. A site standardises its rows (missing is
   0) and puts each patient into fold sha256(patient id) mod K. Reply, by fold: ``n`` (K,) int64; ``sum_z``,
   ``xty`` (K, p); ``sum_y``, ``yy`` (K,).
3. ``query.columns``, input as in 2 with ``columns`` (m,) int64 in ``reference`` as well. Reply: ``gram``
   (K, p, m), gram[k] = Z_k' Z_k[:, columns].

One request for columns serves the fit and its K training problems, and the optimality conditions over all p
columns say when enough are known (`elastic_net_rounds`): a path takes fewer rounds than it has penalties.
Cross-validation errors come from the held-out folds' sums and cost no round.

A fit runs on any `Exchange`: over Flower it is ``fit_elastic_net(GridExchange(grid, roster.require(3)))``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.elastic_net_rounds import MessageTypes, PathSolver
from flame_strategies.reference import LinearModel, Reference
from flame_strategies.sums import Exchange

__all__ = ["ElasticNetPath", "MessageTypes", "PathStep", "fit_elastic_net"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PathStep:
    """Where a fit stands, after each penalty.

    Attributes:
        index: Which penalty, from 0.
        count: How many there are.
        penalty: The penalty lambda.
        support: Non-zero coefficients at it.
        rounds: Exchanges so far.
        columns: Gram columns known so far.
    """

    index: int
    count: int
    penalty: float
    support: int
    rounds: int
    columns: int


@dataclass(frozen=True)
class ElasticNetPath:
    """A path of solutions with its cross-validation.

    Attributes:
        lambdas: Penalties, falling, shape (L,), for standardised columns and outcome.
        coefficients: Shape (L, p), for standardised columns and outcome.
        intercepts: Shape (L,), for the same; zero but for rounding.
        cv_mse: Mean squared error over all held-out rows, shape (L,), in the outcome's unit squared.
        cv_se: Standard error of it: spread of the folds' errors weighted by rows, over root (folds - 1),
            shape (L,).
        best: Index of the least `cv_mse`.
        best_one_se: Index of the largest penalty within one `cv_se` of it.
        reference: Pooled centres and scales.
        rounds: Exchanges that the fit took.
        columns_requested: Columns whose Gram column was asked for, in that order.
        kkt_gap: Largest violation of the optimality conditions in any problem and at any penalty, as a share
            of lambda times l1_ratio.
    """

    lambdas: Vector
    coefficients: Matrix
    intercepts: Vector
    cv_mse: Vector
    cv_se: Vector
    best: int
    best_one_se: int
    reference: Reference
    rounds: int
    columns_requested: npt.NDArray[np.int64]
    kkt_gap: float

    def model(self, index: int | None = None) -> LinearModel:
        """The model at one penalty, by default the `best`, in the data's own units."""
        at = self.best if index is None else index
        return self.reference.model(self.coefficients[at], float(self.intercepts[at]))


def fit_elastic_net(
    exchange: Exchange,
    *,
    l1_ratio: float = 0.5,
    num_lambdas: int = 40,
    lambda_min_ratio: float = 0.01,
    lambdas: Sequence[float] | None = None,
    folds: int = 5,
    fold_content: Mapping[str, Any] | None = None,
    penalty_factors: npt.ArrayLike | None = None,
    columns_per_request: int = 64,
    messages: MessageTypes = MessageTypes(),  # noqa: B008 -- frozen
    progress: Callable[[PathStep], None] | None = None,
) -> ElasticNetPath:
    """Fit the elastic net over all sites, with cross-validation.

    Args:
        exchange: Asks all sites and returns sums, for instance a `GridExchange`.
        l1_ratio: Share of the absolute penalty, above 0 and at most 1 (1 is the lasso).
        num_lambdas: Length of the path, from the penalty at which all coefficients are 0 on a logarithmic
            scale.
        lambda_min_ratio: Last penalty as a share of the first.
        lambdas: Penalties of one's own, instead of those two; falling.
        folds: K, at least 2.
        fold_content: Further entries of the config record ``folds``, for sites that can form folds in another way than
            by patient (for instance by groups of sites).
        penalty_factors: Shape (p,), at least 0: 0 leaves a column unpenalised, infinity leaves it out. Not
            rescaled.
        columns_per_request: At most so many columns in one query; a reply has K p m numbers of 8 bytes.
        messages: Names of the three queries.
        progress: Called after each penalty.

    Raises:
        ValueError: An argument is out of range, or the data have nothing to learn from.
        StrategyError: The sites' sums fit no data set, a site was lost, or too few contribute.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; cross-validation needs at least 2.")
    if columns_per_request < 1:
        raise ValueError(f"columns_per_request is {columns_per_request}; ask for at least 1.")
    solver = PathSolver(
        exchange,
        messages,
        folds={**(fold_content or {}), "folds": folds},
        columns_per_request=columns_per_request,
        l1_ratio=l1_ratio,
        penalty_factors=penalty_factors,
    )
    path = _penalties(lambdas, float(solver.max_penalties()[0]), num_lambdas, lambda_min_ratio)
    coefficients = np.zeros((len(path), len(solver.reference.centre)))
    intercepts, squares, gaps = np.zeros(len(path)), np.zeros((len(path), folds)), np.zeros(len(path))
    for index, penalty in enumerate(path.tolist()):
        gaps[index] = solver.solve(penalty, float(path[-1]))
        known = solver.problems.known
        coefficients[index, known] = solver.b[:, 0]
        intercepts[index] = solver.problems.intercepts(solver.b)[0]
        squares[index] = solver.problems.held_out_squares(solver.b)
        if progress is not None:
            support = int(np.count_nonzero(solver.b[:, 0]))
            progress(PathStep(index, len(path), penalty, support, solver.rounds, len(known)))
    mse, se = _cross_validation(squares * solver.reference.y_scale**2, solver.problems.folds.n)
    best = int(np.argmin(mse))
    return ElasticNetPath(
        lambdas=path,
        coefficients=coefficients,
        intercepts=intercepts,
        cv_mse=mse,
        cv_se=se,
        best=best,
        best_one_se=int(np.flatnonzero(mse <= mse[best] + se[best])[0]),
        reference=solver.reference,
        rounds=solver.rounds,
        columns_requested=solver.problems.known,
        kkt_gap=float(gaps.max()),
    )


def _penalties(own: Sequence[float] | None, largest: float, count: int, least_share: float) -> Vector:
    """The path's penalties, falling."""
    if own is not None:
        path = np.asarray(own, dtype=np.float64)
        if path.ndim != 1 or path.size == 0 or not (path > 0).all() or not (np.diff(path) < 0).all():
            raise ValueError("lambdas must be penalties above 0, each less than the one before.")
        return path
    if count < 1 or not 0 < least_share < 1:
        raise ValueError("num_lambdas must be at least 1, and lambda_min_ratio between 0 and 1.")
    if not largest > 0:
        raise ValueError("No penalised column goes with the outcome; give lambdas of your own.")
    return np.geomspace(largest, largest * least_share, count)


def _cross_validation(squares: Matrix, rows: Vector) -> tuple[Vector, Vector]:
    """Mean squared error and its standard error at each penalty, from squared errors (L, K) and rows (K,)."""
    used = rows > 0
    by_fold = squares[:, used] / rows[used]
    weights = rows[used] / rows.sum()
    mse = by_fold @ weights
    spread = ((by_fold - mse[:, None]) ** 2) @ weights
    return mse, np.sqrt(spread / max(int(used.sum()) - 1, 1))
