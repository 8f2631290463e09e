"""Logistic regressions of many variants at once, by Newton's method on sums over sites.

Each of m problems has k coefficients: those of the covariates and, last, that of the variant's genotype. One exchange
evaluates all problems that are still open, each at coefficients of its own, so the number of exchanges is that of the
slowest problem while the numbers exchanged shrink with those left.

A problem ends by itself:

* when Newton's decrement, the length of the step in units of the estimate's own standard error,
  lambda = sqrt(step' I step), is at most the tolerance. The weights mu (1 - mu) change by at most a share of about
  lambda on the way, so the standard errors of the last evaluation are off by no more than that, and the coefficients by
  its square (Nesterov and Nemirovskii, "Interior-point polynomial algorithms in convex programming", 1994, §2.2). The
  last step is taken without another exchange;
* when sums of a finite number of digits give steps that no longer shrink, which is near the maximum as well;
* when there is no maximum: the outcome is separated (Albert and Anderson, Biometrika 71, 1984), and the steps go on,
  each bringing about 1/e of what the one before brought.

Steps that lower the objective are halved, in the exchange that would be needed anyway. Firth's method (`firth`) is the
same ascent with another objective and score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

TOLERANCE = 1e-10
"""Of Newton's decrement."""

MOST_EVALUATIONS = 25
"""Of one problem, by default. Newton's method needs five to eight where there is a maximum."""

CONVERGED, HIDDEN, SINGULAR, UNBOUNDED = range(4)
"""How a problem ended: at its maximum; not at all, because its sums are withheld; not at all, because its columns
depend on each other; not within the evaluations, as where the outcome is separated."""

_DEPENDENT = 1e-10
"""A column of which less than this share is new depends on those before it."""

_STRIDE = 5.0
"""The largest change of a coefficient in one step. From the null model the first step of a rare variant would go far
beyond the maximum, to where no weight is left."""

_NEAR = 1e-6
"""A decrement below this that does not shrink is all that rounding leaves."""

_SLOW, _SLOW_STEPS = 0.5, 3
"""Near a maximum the decrement becomes its square with each step. So many steps in a row from below 0.5 that leave more
than that share of it, and there is none."""

_NOISE = 1e-11
"""Of 10 plus the objective, what rounding can hide; sums behind masks are rounded to 1e-10 or so."""

"""Where the continued fraction of the error function takes over, and its terms there."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """r of the problems, each at one point.

    Attributes:
        loglik: (r,) log-likelihoods.
        gradient: (r, k).
        information: (r, k, k) negative Hessians.
        seen: (r,) whether the sites gave these sums. At the first evaluation a problem that is not seen ends; later,
            the step there was too long.
        separated: (r,) whether the sums tell that there is no maximum.
    """

    loglik: Float
    gradient: Float
    information: Float
    seen: Bool
    separated: Bool


Evaluate = Callable[[Int, Float], Evaluation]
"""One exchange: (r,) which problems, (r, k) coefficients."""

Modify = Callable[[Int, Float, Float], tuple[Float, Float]]
"""One more exchange: (r,) problems, (r, k) coefficients, (r, k, k) inverse informations there; gives (r, k) the score
of a penalised likelihood and (r, k, k) a positive definite matrix near its negative derivative."""


@dataclass(frozen=True, eq=False)
class Scanned:
    """m fits.

    Attributes:
        coefficients: (m, k), where `outcome` is `CONVERGED`.
        variances: (m, k) of the coefficients, from the inverse information.
        objective: (m,) log-likelihoods at the last evaluation, penalised if the fit was.
        outcome: (m,) int8, `CONVERGED` or why not.
        evaluations: How many there were of the slowest problem.
    """

    coefficients: Float
    variances: Float
    objective: Float
    outcome: npt.NDArray[np.int8]
    evaluations: int


def fit_logistic(
    evaluate: Evaluate, start: Float, *, tolerance: float = TOLERANCE, max_evaluations: int = MOST_EVALUATIONS
) -> Scanned:
    """Maximise the likelihoods.

    Args:
        evaluate: One exchange.
        start: (m, k) coefficients, as a rule those of the model without genotypes, and 0.
        tolerance: Of the decrement.
        max_evaluations: Of one problem; those still open then are `UNBOUNDED`.
    """
    return climb(evaluate, start, tolerance=tolerance, max_evaluations=max_evaluations)


def climb(
    evaluate: Evaluate,
    start: Float,
    *,
    modify: Modify | None = None,
    fixed: int = 0,
    tolerance: float = TOLERANCE,
    max_evaluations: int = MOST_EVALUATIONS,
) -> Scanned:
    """Maximise likelihoods, or likelihoods times the root of the information's determinant.

    Args:
        evaluate: One exchange.
        start: (m, k) coefficients.
        modify: Where the objective is the penalised one, its score; asked wherever a step was good.
        fixed: So many of the last coefficients stay as they are.
        tolerance: Of the decrement.
        max_evaluations: Of one problem.
    """
    ascent = _Ascent(start, start.shape[1] - fixed, tolerance, impatient=modify is None)
    number = 0
    while ascent.open.size and number < max_evaluations:
        rows, trial = ascent.open, ascent.trial()
        found = evaluate(rows, trial)
        inverse, logdet, regular = invert(found.information)
        value = found.loglik + (logdet / 2 if modify else 0.0)
        usable = found.seen & regular & ~found.separated
        if number == 0:
            ascent.end(rows[~regular], SINGULAR)
            ascent.end(rows[found.separated], UNBOUNDED)
            ascent.end(rows[~found.seen], HIDDEN)
        good = usable & ascent.rises(rows, value)
        ascent.shorten(rows[~good])
        if good.any():
            there = rows[good], trial[good], inverse[good]
            score, curvature = modify(*there) if modify else (found.gradient[good], found.information[good])
            ascent.arrive(*there, value[good])
            ascent.turn(rows[good], score, curvature, found.information[good])
        number += 1
    ascent.end(ascent.open, UNBOUNDED)
    return Scanned(ascent.at, ascent.variances, ascent.value, ascent.outcome, number)


class _Ascent:
    """Where each of m problems is, and where it goes."""

    def __init__(self, start: Float, free: int, tolerance: float, *, impatient: bool) -> None:
        m, self._free, self._tolerance, self._impatient = len(start), free, tolerance, impatient
        self.at, self.variances = start.astype(np.float64), np.full(start.shape, np.nan)
        self.value, self.outcome = np.full(m, -np.inf), np.full(m, CONVERGED, dtype=np.int8)
        self.open: Int = np.arange(m, dtype=np.int64)
        self._step, self._reach, self._decrement = np.zeros(start.shape), np.ones(m), np.full(m, np.inf)
        self._slow = np.zeros(m, dtype=np.int64)

    def trial(self) -> Float:
        """(r, k) where the open problems are evaluated next."""
        return np.asarray(self.at[self.open] + self._reach[self.open, None] * self._step[self.open])

    def rises(self, rows: Int, value: Float) -> Bool:
        """(r,) whether the objective is no worse than before, as far as can be told."""
        before = self.value[rows]
        noise = _NOISE * (10 + np.abs(value))
        beyond_telling = self._decrement[rows] ** 2 < 10 * noise
        return np.asarray((value >= before - noise) | beyond_telling)

    def end(self, rows: Int, outcome: int) -> None:
        """These are over."""
        self.outcome[rows] = outcome
        self.open = np.setdiff1d(self.open, rows, assume_unique=True)

    def shorten(self, rows: Int) -> None:
        """The step of these was too long."""
        self._reach[rows] /= 2

    def arrive(self, rows: Int, at: Float, inverse: Float, value: Float) -> None:
        """These are at new points (r, k)."""
        self.at[rows], self.value[rows], self._reach[rows] = at, value, 1.0
        self.variances[rows] = np.diagonal(inverse, axis1=1, axis2=2)

    def turn(self, rows: Int, score: Float, curvature: Float, information: Float) -> None:
        """The next steps of these; those that are too short to matter are taken, and end a problem."""
        free = slice(0, self._free)
        step = np.linalg.solve(curvature[:, free, free], score[:, free, None])[:, :, 0]
        decrement = np.sqrt(np.maximum(np.einsum("ri,rij,rj->r", step, information[:, free, free], step), 0.0))
        largest = np.abs(step).max(axis=1, initial=0.0)
        step *= np.minimum(1.0, _STRIDE / np.maximum(largest, _STRIDE))[:, None]
        before, self._decrement[rows] = self._decrement[rows], decrement
        done = (decrement <= self._tolerance) | ((decrement < _NEAR) & (decrement > before / 2))
        self._step[rows, free] = step
        self.at[rows[done], free] += step[done]
        self.end(rows[done], CONVERGED)
        slow = (before < _SLOW) & (decrement > _SLOW * before) & ~done
        self._slow[rows] = np.where(slow, self._slow[rows] + 1, 0)
        if self._impatient:
            self.end(rows[self._slow[rows] >= _SLOW_STEPS], UNBOUNDED)


def invert(matrices: Float) -> tuple[Float, Float, Bool]:
    """Inverses of symmetric positive definite matrices.

    Args:
        matrices: (r, k, k).

    Returns:
        (r, k, k) inverses, (r,) logarithms of the determinants, and (r,) whether these can be had: otherwise a column
        is empty or depends on those before it, and the inverse is that of a unit matrix.
    """
    k = matrices.shape[-1]
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    regular = np.asarray(np.isfinite(matrices).all(axis=(1, 2)) & (diagonal > 0).all(axis=1))
    unit = 1 / np.sqrt(np.where(regular[:, None], diagonal, 1.0))
    scaled = np.where(regular[:, None, None], matrices * unit[:, :, None] * unit[:, None, :], np.eye(k))
    pivots = _pivots(scaled)
    regular = np.asarray(regular & (pivots > _DEPENDENT).all(axis=1))
    scaled[~regular] = np.eye(k)
    inverse = np.linalg.inv(scaled)
    inverse = (inverse + inverse.transpose(0, 2, 1)) / 2 * unit[:, :, None] * unit[:, None, :]
    logdet = np.log(np.where(regular[:, None], pivots, 1.0)).sum(axis=1) - 2 * np.log(unit).sum(axis=1)
    return inverse, np.asarray(logdet), regular


def _pivots(matrices: Float) -> Float:
    """(r, k) of an elimination without exchanges: of a column, what those before it leave."""
    rest, pivots = matrices.copy(), np.empty(matrices.shape[:2])
    for place in range(matrices.shape[-1]):
        pivots[:, place] = rest[:, place, place]
        held = np.where(pivots[:, place] > _DEPENDENT, pivots[:, place], 1.0)
        below = rest[:, place + 1 :, place]
        rest[:, place + 1 :, place + 1 :] -= below[:, :, None] * (below / held[:, None])[:, None, :]
    return pivots


def unpack(triangles: Float, k: int) -> Float:
    """(r, k, k) symmetric matrices from (r, k (k + 1) / 2) upper triangles, row by row."""
    rows, columns = np.triu_indices(k)
    found = np.empty((len(triangles), k, k))
    found[:, rows, columns] = triangles
    found[:, columns, rows] = triangles
    return found


def pack(matrices: Float) -> Float:
    """(r, k (k + 1) / 2) upper triangles of (r, k, k)."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return np.ascontiguousarray(matrices[:, rows, columns])
