"""Federated linear, logistic and Poisson regression, equal to the pooled fit, from sums over sites.

The three have canonical links, so the log-likelihood is concave, and Newton's method is iteratively reweighted least
squares (McCullagh and Nelder, "Generalized Linear Models", 2nd ed. 1989, §2.5). Each step needs the gradient (q,) and
the Hessian (q, q) over all rows, which are sums over sites. The sites answer, each in the array record ``sums`` of
their reply, for p columns and q = p + 1 coefficients with an intercept:

1. ``query.glm_moments``, input: config record ``design`` (`Design.content`, and ``family``). Reply: ``n``,
   ``excluded``, ``invalid`` (1,) int64: complete rows, incomplete ones, and outcomes that the family does not have;
   ``sum_x``, ``sum_xx``, ``sum_xy`` (p,); ``outcome`` (4,) = sums of y, y^2, e^offset, y log(y / e^offset).
2. ``query.glm_step``, input: the same, with ``start`` in ``design``, and array record ``reference`` with ``centre``,
   ``scale`` (p,), ``y_centre``, ``y_scale`` (1,) and ``coefficients`` (q,). Reply at these coefficients, in columns
   z = (x - centre) / scale: ``n``, ``outcome`` as above; ``fit`` (3,) = log-likelihood, deviance, Pearson's
   chi-square; ``gradient`` (q,); ``hessian`` (q (q + 1) / 2,), the upper triangle row by row.
3. ``query.glm_robust``, only for robust standard errors: ``n``, ``hessian`` and ``meat`` packed as above, the sums of
   w z z' and (y - mu)^2 z z'.

Exchanges: linear regression takes two, and a third if columns are correlated beyond 1 - 1e-5 or explain all but 1e-5 of
the outcome, where the normal equations alone would lose digits. The others take one and as many as Newton's method has
steps, usually five to seven in all. Robust standard errors take one more. A step is q (q + 5) / 2 + 8 numbers.

Bounds, for fixed-point encoding, with N rows in all sites: `Scaling` makes each column's z^2 sum to N, so by the
Cauchy-Schwarz inequality no site's part of ``hessian`` exceeds N (linear, and N/4 logistic), nor of ``gradient`` N
(both). In a Poisson regression both are bounded by the largest mean times N. ``fit`` is bounded by N times the largest
linear predictor. Where the means are far apart, a site should refuse (and not clip) a value beyond the declared bound:
a clipped sum is that of no data. ``sum_x`` and ``sum_xx`` are in the columns' own units.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import Design, DesignError, unpack
from flame_strategies.glm_families import Family, Totals
from flame_strategies.glm_inference import Coefficients, wald
from flame_strategies.glm_newton import TOLERANCE, Maximum, inverse
from flame_strategies.glm_query import GlmMessages, Query
from flame_strategies.sums import Exchange

__all__ = ["Design", "GlmFit", "GlmMessages", "fit_glm"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GlmFit:
    """A fitted regression.

    Attributes:
        family: Which.
        coefficients: In own units, with standard errors, tests and intervals; t in a linear regression, else z.
        n: Complete rows.
        excluded: Rows left out because a value was missing, at the sites of the first exchange.
        loglik: Log-likelihood at the maximum, with all constants.
        deviance: The residual sum of squares in a linear regression.
        null_deviance: That of the intercept alone; None without intercept, and in a logistic regression with offset.
        pearson: Pearson's chi-square; over `degrees`, it says whether counts vary more than Poisson's.
        dispersion: Residual variance in a linear regression, else 1.
        degrees: Rows less coefficients.
        aic: -2 loglik + 2 q, with the dispersion not counted (R counts it in a linear regression: 2 more).
        robust: Whether standard errors are sandwich ones.
        exchanges: How many messages each site answered.
        last_step: Size of the last step, in columns of unit spread.
    """

    family: Family
    coefficients: Coefficients
    n: int
    excluded: int
    loglik: float
    deviance: float
    null_deviance: float | None
    pearson: float
    dispersion: float
    degrees: int
    aic: float
    robust: bool
    exchanges: int
    last_step: float


def fit_glm(
    exchange: Exchange,
    design: Design,
    family: Family,
    *,
    robust: bool = False,
    level: float = 0.95,
    tolerance: float = TOLERANCE,
    max_exchanges: int = 50,
    messages: GlmMessages = GlmMessages(),  # noqa: B008 -- frozen
    progress: Callable[[int, float], None] | None = None,
) -> GlmFit:
    """Fit a regression over all sites.

    Args:
        exchange: Asks all sites and returns sums, for instance a `GridExchange`.
        design: Outcome and columns.
        family: ``gaussian`` (identity link), ``logistic`` or ``poisson`` (log link).
        robust: Sandwich standard errors (White, Econometrica 48, 1980; "HC0") instead of those of the model.
        level: Of the confidence intervals.
        tolerance: Of the last step, for columns of unit spread.
        max_exchanges: Newton's method gives up after so many.
        messages: Names of the queries.
        progress: Called after each step with the exchanges so far and the log-likelihood.

    Raises:
        DesignError: The data do not allow this fit: see `Collinear`, `Separated`.
        StrategyError: It did not converge, a reply is unusable, or too few sites contribute.
    """
    query, q = Query(exchange, design, family, messages, progress), len(design.terms)
    if query.totals.n <= q:
        raise DesignError(f"{query.totals.n} complete rows cannot determine {q} coefficients; leave columns out.")
    maximum = query.maximise(tolerance, max_exchanges)
    if robust:
        inner, maximum = _sandwich(query, maximum, tolerance, max_exchanges)
    totals, scaling = Totals.of(maximum.last.sums), query.scaling
    degrees = totals.n - q
    deviance, pearson = query.residuals(maximum)
    dispersion = deviance / degrees if family == "gaussian" else 1.0
    loglik = maximum.loglik
    if family == "gaussian":
        loglik = -totals.n / 2 * (math.log(2 * math.pi * deviance / totals.n) + 1)
    own = scaling.own_units()
    if not robust:
        inner = inverse(maximum.last.information, design.terms) * dispersion / scaling.y_scale**2
    estimate = own @ maximum.coefficients
    if family == "gaussian" and design.intercept:
        estimate[0] += scaling.y_centre
    null = totals.null_deviance(family, design)
    return GlmFit(
        family=family,
        coefficients=wald(
            design.terms, estimate, own @ inner @ own.T, level=level, degrees=degrees if family == "gaussian" else None
        ),
        n=totals.n,
        excluded=query.excluded,
        loglik=loglik,
        deviance=deviance,
        null_deviance=None if null is None else null * scaling.y_scale**2,
        pearson=pearson,
        dispersion=dispersion,
        degrees=degrees,
        aic=-2 * loglik + 2 * q,
        robust=robust,
        exchanges=query.exchanges,
        last_step=maximum.step,
    )


def _sandwich(query: Query, maximum: Maximum, tolerance: float, max_exchanges: int) -> tuple[Matrix, Maximum]:
    """Robust covariance at the maximum, for z; fits again if a site was lost since."""
    q = len(maximum.coefficients)
    while True:
        sums = query.ask(query.messages.robust, {}, {"coefficients": maximum.coefficients})
        if any(name not in sums or sums[name].shape != (q * (q + 1) // 2,) for name in ("hessian", "meat")):
            raise UnusableReply(f"The sites answer {query.messages.robust} without hessian and meat.")
        if int(sums["n"][0]) == Totals.of(maximum.last.sums).n:
            bread = inverse(unpack(np.asarray(sums["hessian"]), q), query.design.terms)
            return bread @ unpack(np.asarray(sums["meat"]), q) @ bread, maximum
        maximum = query.maximise(tolerance, max_exchanges, maximum.coefficients)
