"""Cox regression with a ridge penalty on the design of `block_fusion`, equal to the pooled fit with Breslow's ties.

Times are those of a declared grid: where all are on it, the fit is the exact one, elsewhere that of times rounded up to
it. Where `cox` asks for second moments by time, here the sites send none: with hundreds of columns these would be too
many. Loss and gradient come from sums of r and r z by time (r = e^(z'b)), the curvature at the start is taken as
events / n times the centred second moments, and `quasi_newton` learns the rest.

Queries, answered in ``sums``, for K folds of rows, T times, and p columns:

1. ``times``: ``events`` (K, T), ``leaving`` (K, T + 1) int64, rows whose event or last time is in each bin, the last
   being beyond the grid; ``invalid`` (1,) int64.
2. ``cox``, input: array record ``points`` with ``coefficients`` (m, 1 + p, 1), whose first row counts nothing, ``fold``
   (m,) int64, and ``kept`` (T',) the bins with events. Reply: ``events`` (T',) int64; by the bin in which rows leave,
   ``risk`` (m, 2, T') sums of r of rows inside (not of the fold) and of all, and ``risk_z`` (m, T', p) of r z inside;
   ``event_eta`` (m, 2) sums of z'b over events inside and of all, ``event_z`` (m, p) of z over those inside.

A bin in which one row leaves would show that row's z. Fewer than `fewest` rows in a bin with events are refused:
declare a coarser grid, or one that ends earlier.

The penalty is chosen by the cross-validated partial likelihood (Verweij and van Houwelingen, Stat. Med. 12, 1993): of a
fold, the log-likelihood of all rows less that of the rows inside, at the fit to those. Penalties are per row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.block_fusion import BlockMoments, BlockScaling
from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import DesignError
from flame_strategies.quasi_newton import TOLERANCE
from flame_strategies.ridge_paths import Path, Problem, fit_path
from flame_strategies.sums import Content, Exchange, Sums

__all__ = ["CoxPath", "fit_cox_path"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

POINTS = 64
"""In one message at most; sites need not answer about more."""

_NUMBERS = 2_000_000
"""In one answer's sums by time, about."""


@dataclass(frozen=True, eq=False)
class CoxPath(Path):
    """Models at L penalties; the intercepts' row is 0, the losses are negative partial log-likelihoods.

    Attributes:
        n: Rows.
        events: Events among them.
        invalid: Rows whose time or event cannot be.
        exchanges: How many messages each site answered.
    """

    n: int
    events: int
    invalid: int
    exchanges: int


def fit_cox_path(
    exchange: Exchange,
    content: Content,
    scaling: BlockScaling,
    moments: BlockMoments,
    penalties: Sequence[float],
    *,
    folds: Sequence[int] = (),
    queries: tuple[str, str] = ("query.block_times", "query.block_cox"),
    fewest: int = 5,
    tolerance: float = TOLERANCE,
    max_exchanges: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> CoxPath:
    """Fit at each penalty, on all rows and without each fold.

    Args:
        exchange: Asks all sites and returns sums.
        content: Records that say of which rows; without ``scaling`` and ``points``.
        scaling: How columns are standardised.
        moments: Of the standardised design.
        penalties: Per row, above 0.
        folds: To cross-validate over; none for a fit of all rows alone.
        queries: The message types.
        fewest: Rows that leave in a bin with events.
        tolerance: Of the last step.
        max_exchanges: Give up after so many.
        progress: See `minimise_together`.

    Raises:
        ValueError: A penalty is not above 0.
        DesignError: There are no events, or a bin has too few rows.
        StrategyError: It did not converge, or answers do not fit together.
    """
    n, mean, _, sxx, _ = moments.centred()
    query = _Query(exchange, {**content, "scaling": scaling.content()}, queries, fewest)
    rows = {-1: n, **{fold: n - float(moments.n[fold]) for fold in folds}}
    problem = Problem(query.ask, sxx, np.zeros_like(mean), rows, float(query.events.sum()) / n, 1)
    path = fit_path(problem, penalties, folds, tolerance=tolerance, max_exchanges=max_exchanges, progress=progress)
    return CoxPath(
        **vars(path), n=int(n), events=int(query.events.sum()), invalid=query.invalid, exchanges=query.exchanges
    )


class _Query:
    """Asks about points; after construction the events by fold and bin are known."""

    def __init__(self, exchange: Exchange, content: Content, queries: tuple[str, str], fewest: int) -> None:
        self._exchange, self._content, self._name = exchange, content, queries[1]
        sums = exchange(queries[0], content)
        events, leaving = (np.asarray(sums[name], dtype=np.int64) for name in ("events", "leaving"))
        self.kept: Int = np.flatnonzero(events.sum(axis=0)).astype(np.int64)
        self.events: Int = events[:, self.kept]
        self.invalid = int(sums["invalid"][0])
        self.exchanges = 1
        if not len(self.kept):
            raise DesignError("No event happened within the declared times; check the event's column and the grid.")
        place = np.searchsorted(self.kept, np.arange(leaving.shape[1]), side="right") - 1
        counts = np.bincount(place[place >= 0], leaving.sum(axis=0)[place >= 0], minlength=len(self.kept))
        if counts.min() < fewest:
            raise DesignError(
                f"Fewer than {fewest} rows of all sites leave in {int((counts < fewest).sum())} of {len(counts)} bins "
                "of time with events; declare a coarser grid, or one that ends earlier."
            )

    def ask(self, points: Sequence[Matrix], folds: Sequence[int]) -> tuple[Vector, Sequence[Matrix], Vector]:
        """Losses (m,) and gradients m times (1 + p, 1) of rows inside, and the folds' cross-validated losses (m,)."""
        p = len(points[0]) - 1
        chunk = max(1, min(POINTS, _NUMBERS // (len(self.kept) * (p + 2))))
        losses, gradients, outside = [], [], []
        for first in range(0, len(points), chunk):
            some = slice(first, first + chunk)
            b = np.stack(points[some])
            b[:, 0] = 0.0
            sent = {"coefficients": b, "fold": np.array(folds[some], dtype=np.int64), "kept": self.kept}
            sums = self._exchange(self._name, {**self._content, "points": sent})
            self.exchanges += 1
            if not np.array_equal(sums["events"], self.events.sum(axis=0)) or sums["event_z"].shape != (len(b), p):
                raise UnusableReply("The sites' events changed between two exchanges; their data stores changed.")
            for number, fold in enumerate(folds[some]):
                loss, gradient, left = self._likelihood(sums, number, fold)
                losses.append(loss)
                gradients.append(np.concatenate([[0.0], gradient])[:, None])
                outside.append(left)
        return np.array(losses), gradients, np.array(outside)

    def _likelihood(self, sums: Sums, number: int, fold: int) -> tuple[float, Vector, float]:
        every = self.events.sum(axis=0)
        inside = every - self.events[fold] if fold >= 0 else every
        S0, S0_all = np.cumsum(sums["risk"][number][:, ::-1], axis=1)[:, ::-1]
        S1 = np.cumsum(sums["risk_z"][number][::-1], axis=0)[::-1]
        died = inside > 0
        loss = float((inside[died] * np.log(S0[died])).sum()) - float(sums["event_eta"][number, 0])
        loss_all = float((every * np.log(S0_all)).sum()) - float(sums["event_eta"][number, 1])
        gradient = (inside[died] / S0[died]) @ S1[died] - sums["event_z"][number]
        return loss, np.asarray(gradient), loss_all - loss
