"""Newton's method where each evaluation of the likelihood is an exchange with all sites.

One exchange brings log-likelihood, gradient and information at a point together, so that

* a step that goes too far is known from the exchange that would be needed anyway, and costs one more only if it did;
* the last step is taken without another exchange once it is below the tolerance, because Newton's error is its square;
* where the likelihood rises for ever (separated outcomes), steps neither shrink nor bring anything; they are doubled,
  so that this is told apart soon from a maximum that is far away (a column with one huge value);
* the information that standard errors come from is that of the last evaluation, off by a share of the order of the
  last step.

If a site is lost on the way, later evaluations are sums over fewer sites, and the likelihood jumps for that reason
alone. The jump is accepted and the method goes on: it ends at the maximum for the sites that are left.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError
from flame_strategies.glm_design import INTERCEPT, Collinear, Separated
from flame_strategies.sums import Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

TOLERANCE = 1e-9
"""Of the last step, as a share of max(1, |coefficient|), for columns of unit spread."""

_DEPENDENT = 1e-10
"""A column of which less than this share is new depends on those before it."""

_SMALL = 1e-3
"""Below this a step may be all that rounding leaves."""

_NOISE = 1e-9
"""Share of the log-likelihood that rounding can hide."""

_ABSURD = 30.0
"""Coefficients of columns of unit spread beyond this, when the method gives up, were on their way to infinity."""

_LITTLE = 1e-3
"""Steps that bring less and do not shrink are lengthened."""

_NOTHING = 1e-12
"""Log-likelihood that is nothing: a row that contradicts such a step would lose far more."""


@dataclass(frozen=True)
class Evaluation:
    """The log-likelihood near one point.

    Attributes:
        at: Coefficients, shape (q,).
        loglik: Log-likelihood there.
        gradient: Shape (q,).
        information: The negative Hessian, shape (q, q).
        sums: What the sites sent.
        sites: How many there were; 0 if nobody says.
    """

    at: Vector
    loglik: float
    gradient: Vector
    information: Matrix
    sums: Sums
    sites: int


@dataclass(frozen=True)
class Maximum:
    """Where the method ended.

    Attributes:
        coefficients: Shape (q,).
        loglik: Log-likelihood there.
        last: The last evaluation, one step before.
        first: The first one of the sites that were left at the end, if that was at the start; else None.
        evaluations: How many exchanges there were.
        step: Size of the last step, as `TOLERANCE` measures it.
    """

    coefficients: Vector
    loglik: float
    last: Evaluation
    first: Evaluation | None
    evaluations: int
    step: float


def maximise(
    evaluate: Callable[[Vector], Evaluation],
    start: Vector,
    names: tuple[str, ...],
    *,
    tolerance: float = TOLERANCE,
    max_evaluations: int = 50,
    good_enough: Callable[[Evaluation, Vector], bool] = lambda _evaluation, _step: False,
) -> Maximum:
    """Maximise a concave log-likelihood.

    Args:
        evaluate: One exchange.
        start: Coefficients, shape (q,).
        names: q names, for errors.
        tolerance: Of the last step.
        max_evaluations: Give up after so many.
        good_enough: Whether this evaluation and the step from it end the method whatever the step's size; says so
            where the log-likelihood is quadratic.

    Raises:
        Collinear: The information at the start is singular.
        Separated: The coefficients grow without bound.
        StrategyError: It did not converge.
    """
    first = now = evaluate(start)
    step, before = newton_step(now, names), np.full(len(start), np.inf)
    used = slow = 0
    while True:
        used += 1
        size, gain = _size(step, now.at), float(step @ now.gradient) / 2  # how much the step is to bring
        # Without digits left (rounded sums, fixed-point masks), steps are small and go to and fro.
        stalled = size < _SMALL and gain < _NOISE * (1 + abs(now.loglik)) and not _marches(step, before, shrink=0.5)
        if size <= tolerance or (stalled and size > _size(before, now.at) / 2) or good_enough(now, step):
            at_start = first if first.sites == now.sites and not start.any() else None
            return Maximum(now.at + step, now.loglik + gain, now, at_start, used, size)
        # Steps that go on and on for next to nothing: some rows' predictors go to infinity, or far away at least.
        slow = slow + 1 if gain < _LITTLE and _marches(step, before, shrink=0.7) else 0
        if slow >= 2 and gain < _NOTHING:
            raise _separated(step, names)
        before, stride = step, step * 2.0 ** min(max(slow - 1, 0), 10)
        now, step, halvings = _advance(evaluate, now, stride, names, max_evaluations - used, boosted=slow > 1)
        used += halvings


def _marches(step: Vector, before: Vector, *, shrink: float) -> bool:
    """Whether a step goes where the one before went, and nearly as far."""
    length, length_before = float(np.linalg.norm(step)), float(np.linalg.norm(before))
    if not math.isfinite(length_before) or length <= shrink * length_before:
        return False
    return float(step @ before) > 0.9 * length * length_before


def _advance(
    evaluate: Callable[[Vector], Evaluation],
    now: Evaluation,
    step: Vector,
    names: tuple[str, ...],
    left: int,
    *,
    boosted: bool,
) -> tuple[Evaluation, Vector, int]:
    """The next point that is no worse, the step from it, and how often the way there was halved."""
    noise = 1e-12 * (1.0 + abs(now.loglik))
    for halvings in range(left):
        new = evaluate(now.at + step)
        beyond_telling = not boosted and step @ now.gradient < 10 * noise
        if new.sites != now.sites or new.loglik >= now.loglik - noise or beyond_telling:
            try:
                return new, newton_step(new, names), halvings
            except Collinear:
                raise _separated(new.at, names) from None
        step = step / 2
    if np.abs(now.at).max() > _ABSURD:
        raise _separated(now.at, names)
    raise StrategyError(
        "The fit did not converge. Its columns may be nearly dependent, or so skewed that few rows decide it; "
        "transform or leave out the most extreme one."
    )


def newton_step(evaluation: Evaluation, names: tuple[str, ...]) -> Vector:
    """The way to the maximum of the quadratic with this gradient and information; raises `Collinear`."""
    unit, factor = _factor(evaluation.information, names)
    half = np.linalg.solve(factor, evaluation.gradient * unit)
    return np.asarray(unit * np.linalg.solve(factor.T, half))


def inverse(information: Matrix, names: tuple[str, ...]) -> Matrix:
    """Inverse of an information matrix; raises `Collinear`."""
    unit, factor = _factor(information, names)
    half = np.linalg.solve(factor, np.diag(unit))
    return np.asarray(half.T @ half)


def _factor(information: Matrix, names: tuple[str, ...]) -> tuple[Vector, Matrix]:
    """Cholesky factor of the matrix scaled to a diagonal of ones, and the scaling."""
    diagonal = information.diagonal()
    if not (diagonal > 0).all():
        nothing = [name for name, value in zip(names, diagonal.tolist(), strict=True) if not value > 0]
        raise Collinear(f"The data say nothing about {', '.join(nothing)}. Leave it out.")
    unit = 1.0 / np.sqrt(diagonal)
    scaled = information * np.outer(unit, unit)
    try:
        factor = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        raise _collinear(scaled, names) from None
    if (factor.diagonal() ** 2 < _DEPENDENT).any():
        raise _collinear(scaled, names)
    return unit, np.asarray(factor)


def _collinear(scaled: Matrix, names: tuple[str, ...]) -> Collinear:
    """Names the columns of the most nearly singular combination."""
    vector = np.linalg.eigh(scaled)[1][:, 0]
    together = [name for name, part in zip(names, np.abs(vector).tolist(), strict=True) if part > 1e-3]
    return Collinear(f"These columns depend on each other: {', '.join(together)}. Leave one of them out.")


def _separated(direction: Vector, names: tuple[str, ...]) -> Separated:
    """Names the columns that grow fastest, the fastest first; the intercept only follows them."""
    parts = {name: part for name, part in zip(names, np.abs(direction).tolist(), strict=True) if name != INTERCEPT}
    parts = parts or {INTERCEPT: 1.0}
    leading = sorted((name for name in parts if parts[name] >= 0.1 * max(parts.values())), key=lambda n: -parts[n])
    return Separated(
        "There are no finite coefficients that fit best: the outcome can be foretold without exception, and these grow "
        f"without end: {', '.join(leading)}. Leave out or coarsen the first, or fit with a penalty; look also for "
        "single values that are out by orders of magnitude."
    )


def _size(step: Vector, at: Vector) -> float:
    return float((np.abs(step) / np.maximum(1.0, np.abs(at))).max(initial=0.0))
