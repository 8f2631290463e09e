"""Paths of ridge-penalised models of which the sites send losses and gradients, cross-validated over folds.

For `multinomial` and `block_cox`. The penalties are tried from the largest down, each from the coefficients of the one
before, on all rows and without each fold in one message. Models that only help to choose are fitted until the next step
promises less than `ENOUGH` of the loss per row; the one that is chosen, to the end. Once the cross-validated loss
rises, weaker penalties are left out: they cost most exchanges, and the loss as a rule has one low.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError
from flame_strategies.quasi_newton import Minimum, minimise_together

__all__ = ["Curvature", "Path", "Problem", "fit_path"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

Ask = Callable[[Sequence[Matrix], Sequence[int]], tuple[Vector, Sequence[Matrix], Vector]]
"""Given coefficients (1 + p, q) and a fold that each leaves out: losses and gradients inside, losses of the fold."""

ENOUGH = 1e-4
"""Loss per row to which models are known that only help to choose a penalty."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What the sites' sums are of.

    Attributes:
        ask: One exchange.
        moments: Centred second moments of the columns (p, p).
        mean: (p,) of the columns.
        rows: Rows by fold that is left out; of -1, all.
        bound: The loss's second derivative is at most about this, per row and in the direction of a column.
        outputs: q.
    """

    ask: Ask
    moments: Matrix
    mean: Vector
    rows: dict[int, float]
    bound: float
    outputs: int


@dataclass(frozen=True, eq=False)
class Path:
    """Models at L penalties.

    Attributes:
        penalties: (L,), as they were given.
        coefficients: (L, 1 + p, q), intercept first; with folds, those at `best` to the end, those of larger penalties
            roughly, and NaN where a penalty was left out.
        fold_coefficients: (K, L, 1 + p, q) without each fold, likewise; K = 0 without folds.
        losses: (K, L) of each fold's rows; infinite where a penalty was left out.
        loss: Of all rows at `best`.
        best: Which penalty; without folds the first, which means nothing.
        step: The largest step that would have come next in the models that are kept.
    """

    penalties: Vector
    coefficients: Matrix
    fold_coefficients: Matrix
    losses: Matrix
    loss: float
    best: int
    step: float


@dataclass(frozen=True, eq=False)
class Curvature:
    """A bound on the Hessian, and the coordinates in which it is the identity.

    Attributes:
        vectors: (p, p) of the centred second moments.
        rate: (p,) lengths of a unit step along them.
        intercept: Length of a unit step of the intercept.
        mean: (p,) of the columns.
        penalty: Rows times the penalty.
    """

    vectors: Matrix
    rate: Vector
    intercept: float
    mean: Vector
    penalty: float

    @classmethod
    def of(cls, eigen: tuple[Vector, Matrix], n: float, mean: Vector, penalty: float, bound: float) -> "Curvature":
        """Of bound times the second moments, given their eigenvalues and vectors, plus n times the penalty."""
        values, vectors = eigen
        rate = 1 / np.sqrt(bound * np.maximum(values, 0.0) + n * penalty)
        return cls(vectors, rate, 1 / float(np.sqrt(bound * n)), mean, n * penalty)

    def coefficients(self, w: Matrix) -> Matrix:
        """From these coordinates (1 + p, q) to intercept and coefficients (1 + p, q)."""
        b = self.vectors @ (w[1:] * self.rate[:, None])
        return np.concatenate([w[:1] * self.intercept - self.mean @ b, b])

    def coordinates(self, b: Matrix) -> Matrix:
        """The way back."""
        return np.concatenate(
            [(b[:1] + self.mean @ b[1:]) / self.intercept, (self.vectors.T @ b[1:]) / self.rate[:, None]]
        )

    def penalised(self, loss: float, gradient: Matrix, b: Matrix) -> tuple[float, Matrix]:
        """Loss and gradient (1 + p, q) by coefficients at b, to those of the penalised loss by these coordinates."""
        by_b = gradient[1:] - np.outer(self.mean, gradient[0]) + self.penalty * b[1:]
        turned = (self.vectors.T @ by_b) * self.rate[:, None]
        value = loss + self.penalty / 2 * float((b[1:] ** 2).sum())
        return value, np.concatenate([gradient[:1] * self.intercept, turned])


def fit_path(
    problem: Problem,
    penalties: Sequence[float],
    folds: Sequence[int],
    *,
    tolerance: float,
    max_exchanges: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fit at each penalty, on all rows and without each fold.

    Args:
        problem: What is fitted.
        penalties: Per row, above 0.
        folds: To cross-validate over; none for fits of all rows alone, to the end at each penalty.
        tolerance: Of the last step, in coefficients.
        max_exchanges: Give up after so many for one penalty.
        progress: See `minimise_together`.

    Raises:
        ValueError: A penalty is not above 0.
        StrategyError: It did not converge.
    """
    rates = np.asarray(penalties, dtype=np.float64)
    if rates.ndim != 1 or not rates.size or not (rates > 0).all():
        raise ValueError("penalties must be numbers above 0.")
    search = _Search(problem, (-1, *folds), tolerance, max_exchanges, progress)
    shape = (1 + len(problem.mean), problem.outputs)
    found = np.full((1 + len(folds), len(rates), *shape), np.nan)
    losses = np.full((len(folds), len(rates)), np.inf)
    starts = [np.zeros(shape) for _ in search.folds]
    ends: dict[int, list[Minimum]] = {}
    best = -1
    for place in np.argsort(-rates, kind="stable").tolist():
        ends[place] = search.run(float(rates[place]), starts, exactly=not folds)
        starts = search.coefficients(float(rates[place]), ends[place])
        found[:, place] = starts
        losses[:, place] = search.outside[1:]
        if folds and best >= 0 and losses[:, place].sum() >= losses[:, best].sum():
            break
        best = place
    best = best if folds else 0
    minima = ends[best]
    if folds:
        minima = search.run(float(rates[best]), [], exactly=True, known=minima)
        found[:, best] = search.coefficients(float(rates[best]), minima)
    if not np.isfinite(found[:, best]).all():
        raise StrategyError("The fit ran away; the penalty may be too small for columns that depend on each other.")
    whole = found[0, best, 1:]
    loss = minima[0].value - problem.rows[-1] * float(rates[best]) / 2 * float((whole**2).sum())
    return Path(rates, found[0], found[1:], losses, loss, best, max(minimum.step for minimum in minima))


class _Search:
    """Fits of all rows and without each fold at one penalty at a time."""

    def __init__(
        self,
        problem: Problem,
        folds: tuple[int, ...],
        tolerance: float,
        max_exchanges: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._problem, self._progress = problem, progress
        self._eigen = np.linalg.eigh(problem.moments)
        self._tolerance, self._max = tolerance, max_exchanges
        self._shape = (1 + len(problem.mean), problem.outputs)
        self.folds = folds
        self.outside = np.zeros(len(folds))

    def run(
        self, rate: float, starts: Sequence[Matrix], *, exactly: bool, known: Sequence[Minimum] = ()
    ) -> list[Minimum]:
        """Fits at one penalty, from coefficients or from where they were before."""
        curves = [self._curve(rate, fold) for fold in self.folds]

        def evaluate(which: Sequence[int], points: Sequence[Vector]) -> list[tuple[float, Vector]]:
            b = [curves[number].coefficients(w.reshape(self._shape)) for number, w in zip(which, points, strict=True)]
            losses, gradients, outside = self._problem.ask(b, [self.folds[number] for number in which])
            self.outside[list(which)] = outside
            answers = []
            for number, at, loss, gradient in zip(which, b, losses.tolist(), gradients, strict=True):
                value, turned = curves[number].penalised(loss, gradient, at)
                answers.append((value, turned.ravel()))
            return answers

        def size(number: int, step: Vector) -> float:
            return float(np.abs(curves[number].coefficients(step.reshape(self._shape))[1:]).max(initial=0.0))

        return minimise_together(
            evaluate,
            [curve.coordinates(b).ravel() for curve, b in zip(curves, starts, strict=False)],
            size,
            known=known,
            tolerance=self._tolerance,
            enough=0.0 if exactly else ENOUGH * self._problem.rows[-1],
            max_exchanges=self._max,
            progress=self._progress,
        )

    def coefficients(self, rate: float, minima: Sequence[Minimum]) -> list[Matrix]:
        """Of each fold's fit (1 + p, q)."""
        return [
            self._curve(rate, fold).coefficients(minimum.at.reshape(self._shape))
            for fold, minimum in zip(self.folds, minima, strict=True)
        ]

    def _curve(self, rate: float, fold: int) -> Curvature:
        problem = self._problem
        return Curvature.of(self._eigen, problem.rows[fold], problem.mean, rate, problem.bound)
