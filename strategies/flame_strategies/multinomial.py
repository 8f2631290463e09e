"""Logistic and multinomial regression with a ridge penalty, equal to the pooled fit, on the design of `block_fusion`.

A second-derivative matrix of a multinomial model with p columns and q classes has (p q)^2 entries, too many to sum over
sites for blocks of hundreds of columns. Here the sites send loss and gradient only, and what is known of the curvature
comes from the moments that were summed anyway: for logistic regression the Hessian is at most 1/4 Z'Z, for multinomial
at most 1/2 (I - 11'/q) x Z'Z (Boehning, Ann. Inst. Stat. Math. 44, 1992), plus n penalty. In coordinates in which this
bound is the identity `quasi_newton` needs a few dozen exchanges; see `ridge_paths` for the choice of the penalty.

Query ``gradient``, input: array record ``scaling``; array record ``points`` with ``coefficients`` (m, 1 + p, q), the
intercept first, and ``fold`` (m,) int64, the fold that a point leaves out, -1 for none. Reply, in ``sums``: ``n``
(K,) int64 rows by fold; ``outcomes`` (q',) int64 rows by class (2 for q = 1); ``loss`` (m, 2) negative log-likelihoods
of the rows inside and of the fold that is left out; ``gradient`` (m, 1 + p, q) of the former. With q = 1 the outcome is
0 or 1 and the model logistic; with q > 2 every class has coefficients, and the penalty makes them unique (they sum to 0
over the classes; so do the intercepts, which are not penalised).

Penalties are per row: mean loss + penalty / 2 |b|^2 (scikit-learn: C = 1 / (n penalty)).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.block_fusion import BlockMoments, BlockScaling
from flame_strategies.errors import UnusableReply
from flame_strategies.quasi_newton import TOLERANCE
from flame_strategies.ridge_paths import Path, Problem, fit_path
from flame_strategies.sums import Content, Exchange

__all__ = ["ClassPath", "fit_class_path"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

POINTS = 64
"""In one message at most; sites need not answer about more."""

_NUMBERS = 1_000_000
"""In one answer's gradients, about."""


@dataclass(frozen=True, eq=False)
class ClassPath(Path):
    """Models at L penalties.

    Attributes:
        n: Rows.
        exchanges: How many messages each site answered.
    """

    n: int
    exchanges: int


def fit_class_path(
    exchange: Exchange,
    content: Content,
    scaling: BlockScaling,
    moments: BlockMoments,
    penalties: Sequence[float],
    *,
    outputs: int,
    folds: Sequence[int] = (),
    query: str = "query.block_gradient",
    tolerance: float = TOLERANCE,
    max_exchanges: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> ClassPath:
    """Fit at each penalty, on all rows and without each fold.

    Args:
        exchange: Asks all sites and returns sums.
        content: Records that say of which rows; without ``scaling`` and ``points``.
        scaling: How columns are standardised.
        moments: Of the standardised design; their outcome is not used.
        penalties: Per row, above 0.
        outputs: q: 1 for logistic, else the number of classes.
        folds: To cross-validate over; none for a fit of all rows alone.
        query: The message type.
        tolerance: Of the last step.
        max_exchanges: Give up after so many.
        progress: See `minimise_together`.

    Raises:
        ValueError: An argument is out of range.
        StrategyError: It did not converge, or the sites' answers do not fit together.
    """
    if outputs < 1 or outputs == 2:
        raise ValueError("outputs must be 1, for two classes, or the number of classes.")
    n, mean, _, sxx, _ = moments.centred()
    asked = _Query(exchange, content, scaling, query, (1 + len(mean), outputs))
    rows = {-1: n, **{fold: n - float(count) for fold, count in zip(folds, _rows(moments, asked, folds), strict=True)}}
    problem = Problem(asked.ask, sxx, mean, rows, 0.25 if outputs == 1 else 0.5, outputs)
    path = fit_path(problem, penalties, folds, tolerance=tolerance, max_exchanges=max_exchanges, progress=progress)
    return ClassPath(**vars(path), n=int(n), exchanges=asked.exchanges)


def _rows(moments: BlockMoments, asked: "_Query", folds: Sequence[int]) -> list[int]:
    """Of each fold."""
    counts = moments.n if len(moments.n) > 1 or not folds else asked.counts()
    return [int(counts[fold]) for fold in folds]


class _Query:
    """Asks about points of many problems."""

    def __init__(
        self, exchange: Exchange, content: Content, scaling: BlockScaling, query: str, shape: tuple[int, int]
    ) -> None:
        self._exchange, self._query, self._shape = exchange, query, shape
        self._content = {**content, "scaling": scaling.content()}
        self.exchanges = 0
        self._n: Int | None = None

    def counts(self) -> Int:
        """(K,) rows of each fold."""
        if self._n is None:
            self._ask(np.zeros((1, *self._shape)), np.array([-1]))
        assert self._n is not None  # noqa: S101 -- _ask sets it
        return self._n

    def ask(self, points: Sequence[Matrix], folds: Sequence[int]) -> tuple[Vector, Sequence[Matrix], Vector]:
        """Losses (m,) and gradients m times (1 + p, q) of the rows inside, and losses (m,) of the folds left out."""
        chunk = max(1, min(POINTS, _NUMBERS // (self._shape[0] * self._shape[1])))
        losses: list[Matrix] = []
        gradients: list[Matrix] = []
        for first in range(0, len(points), chunk):
            some = slice(first, first + chunk)
            loss, gradient = self._ask(np.stack(points[some]), np.array(folds[some], dtype=np.int64))
            losses.append(loss)
            gradients.extend(gradient)
        both = np.concatenate(losses)
        return both[:, 0], gradients, both[:, 1]

    def _ask(self, points: Matrix, folds: Int) -> tuple[Matrix, Matrix]:
        sums = self._exchange(self._query, {**self._content, "points": {"coefficients": points, "fold": folds}})
        self.exchanges += 1
        loss, gradient = np.asarray(sums["loss"]), np.asarray(sums["gradient"])
        if loss.shape != (len(points), 2) or gradient.shape != points.shape:
            raise UnusableReply("The sites' losses and gradients are not those of the points that they were sent.")
        n = np.asarray(sums["n"], dtype=np.int64)
        if self._n is not None and not np.array_equal(n, self._n):
            raise UnusableReply("The sites' rows changed between two exchanges; their data stores changed.")
        self._n = n
        return loss, gradient
