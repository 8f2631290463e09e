"""Federated Cox regression, equal to the pooled fit, from sums over sites.

The partial likelihood compares each event with everybody at risk at that time, at whichever site. All it needs of them
is the sums in `cox_ties`, by time. Times are those of a declared, public grid: where all times are on it (whole days,
months), the fit is the exact one; elsewhere times are rounded up to the grid, as in data recorded so, and `off_grid`
says how many were. The sites answer, in the array record ``sums``, for q columns and K times:

1. ``query.cox_counts``, input: config record ``design`` (`Design.content`, and ``event``), array record ``reference``
   with ``grid`` (K,). Reply: ``n``, ``excluded`` (1,) int64; ``events`` (K,) and ``leaving`` (K + 1,) int64, rows whose
   event or whose last time is in each bin, the last being later than the grid; ``checks`` (3,) int64, rows that are
   invalid, off the grid, and later than the grid; ``sum_x``, ``sum_xx``, ``sum_x_events`` (q,).
2. ``query.cox_step``, input also: ``centre``, ``scale``, ``coefficients`` (q,), and ``kept`` (K',) the bins with
   events. Reply, for z = (x - centre) / scale and r = e^(z'b): ``n``; ``events`` (K',); ``event_z`` (q,); over rows
   that leave in each bin, ``risk_r`` (K',), ``risk_rz`` (K', q), ``risk_rzz`` (K', q (q + 1) / 2). For Efron's ties, if
   there are any, ``query.cox_efron`` instead, with ``tied`` (T,), the places in ``kept`` of bins with several events.
   Reply also, over rows with an event in these: ``tied_r`` (T,), ``tied_rz`` (T, q), ``tied_rzz`` (T, q (q + 1) / 2).

With ``strata_by_site`` each site has a baseline hazard of its own, no time leaves it, and no grid is needed:
``query.cox_moments`` (as 1 without the grid; ``events`` (1,)), then ``query.cox_site_step`` with ``efron`` in
``design``: ``n``, ``events``, ``fit`` (1,), ``gradient`` (q,), ``hessian`` (q (q + 1) / 2,).

Exchanges: one, and as many as Newton's method has steps, usually four to six in all. Beside q (q + 3) / 2 + 1 numbers a
bin, twice for tied ones, nothing grows with the data: choose the grid as coarse as the question allows.

Bounds, for fixed-point encoding, with N rows in all sites: r is at most e^|z'b|, and z^2 sums to N per column, so the
sums of r z z' are at most N times the largest r; at the usual |z'b| < 5 that is 150 N. A site should refuse, and not
clip, what exceeds a declared bound.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flame_strategies.cox_ties import RiskSums, partial_likelihood
from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import Design, DesignError, Scaling, Separated, must_be_seen, must_vary, unpack
from flame_strategies.glm_inference import Coefficients, LikelihoodRatio, likelihood_ratio, wald
from flame_strategies.glm_newton import TOLERANCE, Evaluation, inverse, maximise
from flame_strategies.sums import Exchange, Sums

__all__ = ["CoxFit", "CoxMessages", "fit_cox"]

Vector = npt.NDArray[np.float64]
Ties = Literal["efron", "breslow"]


@dataclass(frozen=True)
class CoxMessages:
    """What the queries are called in the app."""

    counts: str = "query.cox_counts"
    step: str = "query.cox_step"
    efron: str = "query.cox_efron"
    moments: str = "query.cox_moments"
    site_step: str = "query.cox_site_step"


@dataclass(frozen=True)
class CoxFit:
    """A fitted Cox regression.

    Attributes:
        coefficients: Log hazard ratios in own units, with z tests.
        ties: How ties were treated.
        strata_by_site: Whether each site has its own baseline hazard.
        n: Complete rows.
        events: Events among them.
        excluded: Rows left out because a value was missing, at the sites of the first exchange.
        off_grid: Rows whose time was rounded up to the grid; 0 means the exact fit.
        beyond: Rows observed longer than the grid, counted as without event to its end.
        loglik: Log partial likelihood at the maximum.
        test: Likelihood-ratio test against no columns; None if a site was lost in between.
        aic: -2 loglik + 2 q.
        times: Event times, shape (K',); empty with strata by site.
        baseline: Cumulative baseline hazard at them by Breslow's estimator, at `centre`, shape (K',), after the last
            step but one.
        centre: Mean of each column, shape (q,).
        exchanges: How many messages each site answered.
        last_step: Size of the last step, in columns of unit spread.
    """

    coefficients: Coefficients
    ties: Ties
    strata_by_site: bool
    n: int
    events: int
    excluded: int
    off_grid: int
    beyond: int
    loglik: float
    test: LikelihoodRatio | None
    aic: float
    times: Vector
    baseline: Vector
    centre: Vector
    exchanges: int
    last_step: float


def fit_cox(
    exchange: Exchange,
    design: Design,
    event: str,
    *,
    grid: npt.ArrayLike = (),
    ties: Ties = "efron",
    strata_by_site: bool = False,
    level: float = 0.95,
    tolerance: float = TOLERANCE,
    max_exchanges: int = 50,
    messages: CoxMessages = CoxMessages(),
    progress: Callable[[int, float], None] | None = None,
) -> CoxFit:
    """Fit a Cox regression over all sites.

    Args:
        exchange: Asks all sites and returns sums, for instance a `GridExchange`.
        design: Its outcome is the time under observation, at least 0; its intercept is ignored.
        event: Column of 1 where the time is that of the event, and 0 where observation ended.
        grid: Rising times, for instance ``np.arange(1, 3651)`` for days; none with `strata_by_site`.
        ties: Treatment of ties.
        strata_by_site: A baseline hazard for each site instead of one for all.
        level: Of the confidence intervals.
        tolerance: Of the last step, for columns of unit spread.
        max_exchanges: Newton's method gives up after so many.
        messages: Names of the queries.
        progress: Called after each step with the exchanges so far and the log-likelihood.

    Raises:
        DesignError: The data do not allow this fit: see `Collinear`, `Separated`.
        StrategyError: It did not converge, a reply is unusable, or too few sites contribute.
    """
    times = np.asarray(grid, dtype=np.float64)
    if ties not in ("efron", "breslow") or not design.columns:
        raise ValueError("ties must be 'efron' or 'breslow', and the design needs a column besides the outcome.")
    if times.ndim != 1 or (times.size == 0) != strata_by_site or not (np.diff(times) > 0).all():
        raise ValueError("grid must be rising times; none with strata_by_site, which uses each site's exact times.")
    query = _Query(exchange, design, event, grid=times, efron=ties == "efron", messages=messages, progress=progress)
    names, q = design.columns, len(design.columns)
    maximum = maximise(query.evaluate, np.zeros(q), names, tolerance=tolerance, max_evaluations=max_exchanges)
    own = np.diag(1 / query.scaling.scale)
    covariance = own @ inverse(maximum.last.information, names) @ own
    first, last = maximum.first, maximum.last.sums
    return CoxFit(
        coefficients=wald(names, own @ maximum.coefficients, covariance, level=level),
        ties=ties,
        strata_by_site=strata_by_site,
        n=int(last["n"][0]),
        events=int(last["events"].sum()),
        excluded=query.excluded,
        off_grid=query.off_grid,
        beyond=query.beyond,
        loglik=maximum.loglik,
        test=None if first is None else likelihood_ratio(maximum.loglik, first.loglik, q),
        aic=-2 * maximum.loglik + 2 * q,
        times=times[query.kept],
        baseline=_baseline(last) if times.size else np.empty(0),
        centre=query.scaling.centre,
        exchanges=query.exchanges,
        last_step=maximum.step,
    )


class _Query:
    """Asks for one design; after construction scaling and the bins with events are known."""

    def __init__(
        self,
        exchange: Exchange,
        design: Design,
        event: str,
        *,
        grid: Vector,
        efron: bool,
        messages: CoxMessages,
        progress: Callable[[int, float], None] | None,
    ) -> None:
        self._exchange, self._design, self._messages, self._progress = exchange, design, messages, progress
        self._config = {**design.content(), "intercept": False, "event": event, "efron": efron}
        self._by_time: dict[str, npt.NDArray[Any]] = {"grid": grid} if grid.size else {}
        self.exchanges = 0
        sums = self._ask(messages.counts if grid.size else messages.moments, self._by_time)
        wanted = {"n", "excluded", "events", "sum_x", "sum_xx", "sum_x_events", "checks"}
        if not wanted <= sums.keys() or sums["events"].shape != ((grid.size or 1),):
            raise UnusableReply("The sites answer the first query without all of its sums; check the ClientApp.")
        self.excluded = int(sums["excluded"][0])
        invalid, self.off_grid, self.beyond = (int(count) for count in sums["checks"])
        _must_fit(design, event, sums, invalid)
        self.scaling = Scaling.of(sums, intercept=False, centred=True)
        self.kept = np.flatnonzero(sums["events"]) if grid.size else np.empty(0, dtype=np.int64)
        if grid.size:
            self._by_time["kept"] = self.kept.astype(np.int64)
            tied = np.flatnonzero(sums["events"][self.kept] > 1)
            if efron and tied.size:
                self._by_time["tied"] = tied.astype(np.int64)

    def evaluate(self, b: Vector) -> Evaluation:
        """One exchange: log partial likelihood, gradient and information at coefficients for z."""
        arrays = {"centre": self.scaling.centre, "scale": self.scaling.scale, "coefficients": b, **self._by_time}
        words = self._messages
        by_time = words.efron if "tied" in self._by_time else words.step
        sums = self._ask(by_time if self._by_time else words.site_step, arrays)
        q = len(b)
        if self._by_time:
            at_risk = _risk_sums(sums, "risk", len(self.kept), q).at_risk()
            dead = None
            if "tied" in self._by_time:
                # where only one row has the event, Efron's share is 0 and the sums over it do not matter
                tied, own = self._by_time["tied"], _risk_sums(sums, "tied", len(self._by_time["tied"]), q)
                dead = RiskSums(*(_spread(part, tied, len(self.kept)) for part in (own.r, own.rz, own.rzz)))
            value = partial_likelihood(b, sums["events"], sums["event_z"], at_risk, dead)
            loglik, gradient, information = value.loglik, value.gradient, value.information
        else:
            if any(name not in sums for name in ("fit", "gradient", "hessian")):
                raise UnusableReply("The sites answer without fit, gradient and hessian; check the ClientApp.")
            loglik, gradient, information = float(sums["fit"][0]), sums["gradient"], unpack(sums["hessian"], q)
        if not b.any():
            must_vary(self._design, information.diagonal() / sums["events"].sum())
        if self._progress is not None:
            self._progress(self.exchanges, loglik)
        return Evaluation(b, loglik, gradient, information, sums, len(getattr(self._exchange, "sites", ())))

    def _ask(self, message_type: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Sums:
        self.exchanges += 1
        content: dict[str, Mapping[str, Any]] = {"design": self._config}
        if arrays:
            content["reference"] = arrays
        return self._exchange(message_type, content)


def _must_fit(design: Design, event: str, sums: Sums, invalid: int) -> None:
    """Complain about times and events that cannot be explained."""
    n, events = int(sums["n"][0]), int(sums["events"].sum())
    if invalid:
        raise DesignError(f"{invalid} rows have {design.outcome} below 0, or {event} neither 0 nor 1; filter them.")
    if not events:
        raise DesignError(f"No complete row of any site has {event} = 1 within the grid; there is nothing to compare.")
    must_be_seen(design, sums, n)
    counts = design.level_sums(np.asarray(sums["sum_x_events"], dtype=np.float64), float(events))
    if none := [name for name, count in counts.items() if count < 0.5]:
        raise Separated(
            f"No row with the level {', '.join(none)} has an event, so its coefficient has no finite value. Join the "
            "level with another."
        )


def _risk_sums(sums: Sums, name: str, count: int, q: int) -> RiskSums:
    shapes = {f"{name}_r": (count,), f"{name}_rz": (count, q), f"{name}_rzz": (count, q * (q + 1) // 2)}
    if any(key not in sums or sums[key].shape != shape for key, shape in shapes.items()):
        raise UnusableReply(f"The sites answer without {shapes}; check the ClientApp.")
    return RiskSums(*(np.asarray(sums[key], dtype=np.float64) for key in shapes))


def _spread(part: npt.NDArray[np.float64], places: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """The rows of `part` at `places` of an array of `count` rows, 0 elsewhere."""
    whole = np.zeros((count, *part.shape[1:]))
    whole[places] = part
    return whole


def _baseline(sums: Sums) -> Vector:
    at_risk = np.cumsum(sums["risk_r"][::-1])[::-1]
    jumps = np.divide(sums["events"], at_risk, out=np.zeros(len(at_risk)), where=sums["events"] > 0)
    return np.asarray(np.cumsum(jumps))
