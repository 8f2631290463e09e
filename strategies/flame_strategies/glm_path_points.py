"""The problems of a penalised path, each a point on its way to the minimum, all moved by the same exchanges."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.elastic_net_solver import solve_restricted
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.glm_design import unpack
from flame_strategies.glm_query import Query
from flame_strategies.penalty import Penalty
from flame_strategies.sums import Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

NO_FOLD = -1

_SMALL_STEP = 1e-11
"""Of a coefficient of standardised columns, as a share of the largest."""

_SMALL_GAP = 1e-4
"""A fit with a larger violation of the optimality conditions, as a share of lambda, is not accepted."""


@dataclass(frozen=True)
class Effort:
    """Number of folds (0: none), points in one exchange, violation that is small enough, and when to give up."""

    folds: int
    points_per_request: int
    tolerance: float
    max_exchanges: int


@dataclass(frozen=True)
class Expansion:
    """A mean log-likelihood near b: its gradient (q,) and negative Hessian (q, q) there."""

    b: Vector
    gradient: Vector
    curvature: Matrix


class Point:
    """One problem: a penalty, and all rows or those not in one fold.

    Attributes:
        candidate: Where the sites are asked next.
        fold: Which rows are left out.
        at: Expansion at the best point so far; at first that of all rows without the penalised columns.
        loglik: Log-likelihood there.
        held_out: Deviance there of the rows left out.
        gap: Violation of the optimality conditions there.
        settled: Whether that is small enough.
    """

    def __init__(self, penalty: Penalty, value: float, fold: int, at: Expansion) -> None:
        self._penalty, self._value, self.fold, self.at = penalty, value, fold, at
        self._objective = self.gap = math.inf
        self.loglik = self.held_out = math.nan
        self.settled = False
        self.candidate = self._minimum()

    def start_again(self) -> None:
        """Forget how good the point was: the rows are others now."""
        self._objective, self.settled = math.inf, False

    def receive(self, there: Expansion, loglik: float, held_out: float, rows: int, tolerance: float) -> None:
        """Take in what the sites say about the candidate, and choose the next one."""
        b, before = there.b, self.gap
        shape = self._penalty.l1 @ np.abs(b) + self._penalty.l2 @ b**2 / 2
        objective = -loglik / rows + self._value * float(shape)
        if objective > self._objective + 1e-13 * (1 + abs(self._objective)) and not np.array_equal(b, self.at.b):
            self.candidate = (self.at.b + b) / 2
            return
        self.at, self.loglik, self.held_out, self._objective = there, loglik, held_out, objective
        self.gap = float(self._penalty.violation(there.gradient, b, self._value).max())
        # where the sums have no more digits (rounded, fixed-point masks), small gaps no longer shrink
        self.settled = self.gap <= tolerance or (self.gap < _SMALL_GAP and self.gap > before / 2)
        following = b if self.settled else self._minimum()
        if np.abs(following - b).max() <= _SMALL_STEP * max(1.0, float(np.abs(b).max())):
            self.settled, following = True, b  # a tiny penalty's share is below the gradient's rounding
        self.candidate = following

    def _minimum(self) -> Vector:
        """Of the expansion with the penalty, exactly."""
        use = np.flatnonzero(self._penalty.eligible)
        H = self.at.curvature[np.ix_(use, use)]
        c = H @ self.at.b[use] + self.at.gradient[use]
        l1, l2 = self._value * self._penalty.l1[use], self._value * self._penalty.l2[use]
        b = np.zeros_like(self.at.b)
        b[use] = solve_restricted(H + np.diag(l2), c, l1, self.at.b[use])
        return b


def settle(
    query: Query, points: list[Point], effort: Effort, progress: Callable[[int, int], None] | None
) -> npt.NDArray[np.int64]:
    """Exchange until all points are optimal; rows in all and by fold, shape (1 + K,)."""
    rows: npt.NDArray[np.int64] | None = None
    while moving := [point for point in points if not point.settled][: effort.points_per_request]:
        if query.exchanges >= effort.max_exchanges:
            raise StrategyError(
                f"{len(moving)} fits did not settle in {effort.max_exchanges} exchanges; raise the least penalty."
            )
        arrays = {
            "coefficients": np.array([point.candidate for point in moving]),
            "fold": np.array([point.fold for point in moving], dtype=np.int64),
        }
        sums = query.ask(query.messages.path, {"folds": effort.folds}, arrays)
        _check(sums, len(moving), len(points[0].candidate), effort.folds, query.messages.path)
        now = np.asarray(sums["n"], dtype=np.int64)
        if rows is not None and not np.array_equal(rows, now):  # a site was lost: all fits are to be those of the rest
            for point in points:
                point.start_again()
        rows = now
        H = unpack(np.asarray(sums["hessian"], dtype=np.float64), len(points[0].candidate))
        for place, point in enumerate(moving):
            train = int(rows[0]) - (int(rows[1 + point.fold]) if point.fold != NO_FOLD else 0)
            there = Expansion(point.candidate, sums["gradient"][place] / train, H[place] / train)
            loglik, held_out = (float(value) for value in sums["fit"][place])
            point.receive(there, loglik, held_out, train, effort.tolerance)
        if progress is not None:
            progress(query.exchanges, sum(not point.settled for point in points))
    if rows is None:
        raise StrategyError("There is no penalty to fit.")
    return rows


def _check(sums: Sums, m: int, q: int, folds: int, message: str) -> None:
    wanted = {"n": (1 + folds,), "fit": (m, 2), "gradient": (m, q), "hessian": (m, q * (q + 1) // 2)}
    if any(name not in sums or sums[name].shape != shape for name, shape in wanted.items()):
        raise UnusableReply(f"The sites answer {message} without {wanted}; check the ClientApp.")
