"""Several smooth convex problems minimised together, each evaluation of all of them being one exchange with the sites.

L-BFGS (Nocedal, Math. Comp. 35, 1980; Liu and Nocedal, Math. Program. 45, 1989) in coordinates in which a bound on the
Hessian is the identity: whoever states the problems chooses them. A unit step then never goes too far where the bound
holds, and the curvature seen on the way replaces the bound where it is loose. Problems at different penalties and folds
are independent, but their points travel in one message; one that is done is no longer asked about.

Near a minimum the decrease of a sum over many rows drowns in rounding while its gradient does not: there a step is
judged by its slope (Hager and Zhang, SIAM J. Optim. 16, 2005).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError

__all__ = ["Minimum", "minimise_together"]

Vector = npt.NDArray[np.float64]

Evaluate = Callable[[Sequence[int], Sequence[Vector]], Sequence[tuple[float, Vector]]]
"""Given the problems' numbers and a point for each, their values and gradients."""

TOLERANCE = 3e-10
"""Of the next step's largest coordinate, in the units of the caller's `size`."""

_MEMORY = 300
_DECREASE = 1e-4
_ROUNDING = 1e-11
"""Share of a value that rounding can hide."""

_PATIENCE = 8
"""Steps without a smaller gradient after which rounding is all that is left."""

_SMALL = 1e-5
"""Only below this step is that believed."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where one problem ended.

    Attributes:
        at: The point.
        value: There.
        evaluations: Exchanges that asked about it.
        step: Size of the step that would have come next.
        pairs: Steps and changes of gradient on the way, to go on from here.
    """

    at: Vector
    value: float
    evaluations: int
    step: float
    pairs: tuple[tuple[Vector, Vector], ...] = ()


@dataclass(eq=False)
class _Problem:
    at: Vector
    value: float
    gradient: Vector
    pairs: list[tuple[Vector, Vector]] = field(default_factory=list)
    direction: Vector = field(default_factory=lambda: np.empty(0))
    stride: float = 1.0
    evaluations: int = 1
    least: float = np.inf
    since: int = 0
    done: bool = False

    def aim(self) -> None:
        """The next direction, by the two-loop recursion."""
        q, weights = -self.gradient, []
        for s, y in reversed(self.pairs):
            weights.append(float(s @ q) / float(s @ y))
            q = q - weights[-1] * y
        if self.pairs:
            s, y = self.pairs[-1]
            q = q * (float(s @ y) / float(y @ y))
        for (s, y), weight in zip(self.pairs, reversed(weights), strict=True):
            q = q + s * (weight - float(y @ q) / float(s @ y))
        self.direction, self.stride = q, 1.0

    @property
    def promise(self) -> float:
        """How much the next step is to bring."""
        return -float(self.gradient @ self.direction) / 2

    def take(self, value: float, gradient: Vector) -> bool:
        """Go to the point tried, or shorten the step; whether it went."""
        self.evaluations += 1
        slope, new = float(self.gradient @ self.direction), float(gradient @ self.direction)
        decreased = value <= self.value + _DECREASE * self.stride * slope
        flat = value <= self.value + _ROUNDING * (1 + abs(self.value)) and new <= (2 * _DECREASE - 1) * slope
        if not (decreased or flat):
            fall = value - self.value - self.stride * slope
            best = -slope * self.stride**2 / (2 * fall) if fall > 0 else 0.0
            self.stride = float(np.clip(best, 0.1 * self.stride, 0.5 * self.stride))
            return False
        s, y = self.stride * self.direction, gradient - self.gradient
        if float(s @ y) > 1e-14 * float(y @ y):
            self.pairs = [*self.pairs[1 - _MEMORY :], (s, y)]
        self.at, self.value, self.gradient = self.at + s, value, gradient
        length = float(np.linalg.norm(gradient))
        self.least, self.since = (length, 0) if length < self.least else (self.least, self.since + 1)
        self.aim()
        return True


def minimise_together(
    evaluate: Evaluate,
    starts: Sequence[Vector],
    size: Callable[[int, Vector], float],
    *,
    known: Sequence[Minimum] = (),
    tolerance: float = TOLERANCE,
    enough: float = 0.0,
    max_exchanges: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> list[Minimum]:
    """Minimise each problem from its start.

    Args:
        evaluate: One exchange for all problems that are not done.
        starts: A point for each problem, in coordinates in which the Hessian is at most about the identity.
        known: Of each problem, a coarser minimum that was found before: it goes on from there, whatever its start.
        size: Of a step of one problem, in the units of `tolerance`.
        tolerance: A problem is done when the next step is at most this.
        enough: Or when the next step promises at most this of its value: where a rough answer does.
        max_exchanges: Give up after so many.
        progress: Called after each exchange with exchanges so far and problems that are not done.

    Raises:
        StrategyError: A problem did not converge.
    """
    starts = [coarse.at for coarse in known] if known else starts
    first = evaluate(range(len(starts)), starts)
    problems = [_Problem(at.copy(), value, gradient) for at, (value, gradient) in zip(starts, first, strict=True)]
    for problem, coarse in zip(problems, known, strict=False):
        problem.pairs = list(coarse.pairs)
    for number, problem in enumerate(problems):
        problem.aim()
        problem.done = size(number, problem.direction) <= tolerance or problem.promise <= enough
    exchanges = 1
    while open_ones := [number for number, problem in enumerate(problems) if not problem.done]:
        if exchanges >= max_exchanges:
            raise StrategyError(
                f"{len(open_ones)} of {len(problems)} fits did not converge in {exchanges} exchanges; the penalty may "
                "be too small for columns that depend on each other."
            )
        tried = [problems[number].at + problems[number].stride * problems[number].direction for number in open_ones]
        answers = evaluate(open_ones, tried)
        exchanges += 1
        for number, (value, gradient) in zip(open_ones, answers, strict=True):
            problem = problems[number]
            went = problem.take(value, gradient)
            step = size(number, problem.direction)
            stuck = step <= _SMALL and (problem.since >= _PATIENCE or (not went and problem.stride < 1e-6))
            problem.done = (went and (step <= tolerance or problem.promise <= enough)) or stuck
        if progress is not None:
            progress(exchanges, sum(not problem.done for problem in problems))
    return [
        Minimum(problem.at, problem.value, problem.evaluations, size(number, problem.direction), tuple(problem.pairs))
        for number, problem in enumerate(problems)
    ]
