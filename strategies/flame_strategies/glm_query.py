"""Asking the sites about one regression: what `glm` and `glm_elastic_net` have in common.

The messages are described in `glm`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import Design, Scaling, must_be_seen, must_vary, unpack
from flame_strategies.glm_families import Family, Totals, must_differ, must_fit, scaling_of
from flame_strategies.glm_newton import Evaluation, Maximum, maximise, newton_step
from flame_strategies.sums import Exchange, Sums

Vector = npt.NDArray[np.float64]

_WELL = 1e-5
"""A linear regression is refined by one more exchange if less than this share of anything is left."""


@dataclass(frozen=True)
class GlmMessages:
    """What the queries are called in the app."""

    moments: str = "query.glm_moments"
    step: str = "query.glm_step"
    robust: str = "query.glm_robust"
    path: str = "query.glm_path"


class Query:
    """Asks for one design and family; after construction the scaling is known.

    Attributes:
        design: What the queries are about.
        messages: What they are called.
        totals: Sums of the outcome.
        scaling: How the sites scale.
        excluded: Incomplete rows.
        exchanges: Exchanges so far.
    """

    def __init__(
        self,
        exchange: Exchange,
        design: Design,
        family: Family,
        messages: GlmMessages,
        progress: Callable[[int, float], None] | None = None,
        *,
        penalised: bool = False,
    ) -> None:
        self._exchange, self._penalised, self._family, self._progress = exchange, penalised, family, progress
        self.design, self.messages, self.exchanges = design, messages, 0
        if family not in ("gaussian", "logistic", "poisson"):
            raise ValueError(f"There is no family {family!r}; choose gaussian, logistic or poisson.")
        if family == "gaussian" and design.exposure:
            raise ValueError("A linear regression has no exposure; give its logarithm as offset if that is meant.")
        sums = self.ask(messages.moments, {}, {})
        if not {"sum_x", "sum_xx", "sum_xy", "excluded", "invalid", "n"} <= sums.keys():
            raise UnusableReply(f"The sites answer {messages.moments} without all of its sums; check the ClientApp.")
        must_fit(family, design, sums)
        if not penalised:
            must_be_seen(design, sums, int(sums["n"][0]))
            must_differ(family, design, sums)
        self.scaling: Scaling = scaling_of(family, design, sums)
        self.totals = Totals.of(sums)
        self.excluded = int(sums["excluded"][0])

    def ask(self, message_type: str, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Sums:
        """One exchange about this design."""
        self.exchanges += 1
        content: dict[str, Mapping[str, Any]] = {"design": {**self.design.content(), "family": self._family, **config}}
        if arrays:
            content["reference"] = {**self.scaling.content(), **arrays}
        return self._exchange(message_type, content)

    @property
    def sites(self) -> int:
        """How many sites the last exchange summed, 0 if the exchange does not say."""
        return len(getattr(self._exchange, "sites", ()))

    def maximise(self, tolerance: float, max_exchanges: int, start: Vector | None = None) -> Maximum:
        """Newton's method from the null model, or from the data in a Poisson regression."""
        good_enough = _exact if self._family == "gaussian" else lambda _evaluation, _step: False
        names = self.design.terms
        if start is None and self._family == "poisson":  # from the null model the first step could go far too far
            start = newton_step(self.evaluate(np.zeros(len(names)), from_data=True), names)
        elif start is None:
            start = self.null()
        return maximise(
            self.evaluate, start, names, tolerance=tolerance, max_evaluations=max_exchanges, good_enough=good_enough
        )

    def evaluate(self, coefficients: Vector, *, from_data: bool = False) -> Evaluation:
        """One exchange: log-likelihood, gradient and information at coefficients for z."""
        q = len(coefficients)
        sums = self.ask(self.messages.step, {"start": from_data}, {"coefficients": coefficients})
        wanted = {"fit": (3,), "gradient": (q,), "hessian": (q * (q + 1) // 2,)}
        if any(name not in sums or sums[name].shape != shape for name, shape in wanted.items()):
            raise UnusableReply(f"The sites answer {self.messages.step} without {wanted}; check the ClientApp.")
        information = unpack(np.asarray(sums["hessian"], dtype=np.float64), q)
        if not self._penalised and self.design.intercept and not coefficients[1:].any():
            must_vary(self.design, information.diagonal()[1:] / information[0, 0])
        loglik = float(sums["fit"][0])
        if self._progress is not None and not from_data:
            self._progress(self.exchanges, loglik)
        return Evaluation(coefficients, loglik, np.asarray(sums["gradient"]), information, sums, self.sites)

    def residuals(self, maximum: Maximum) -> tuple[float, float]:
        """Deviance and Pearson's chi-square at the maximum."""
        _, deviance, pearson = (float(value) for value in maximum.last.sums["fit"])
        if self._family == "gaussian":  # quadratic, so exact one step on; else the step was below the tolerance
            deviance -= 2 * (maximum.loglik - maximum.last.loglik)
            return (deviance * self.scaling.y_scale**2,) * 2
        return deviance, pearson

    def null(self) -> Vector:
        """Coefficients for z of the fit without columns; with an offset in a logistic regression, near it."""
        null = np.zeros(len(self.design.terms))
        if self.design.intercept and self._family == "logistic":
            null[0] = math.log(self.totals.y / (self.totals.n - self.totals.y))
        elif self.design.intercept and self._family == "poisson":
            null[0] = math.log(self.totals.rate())
        return null


def _exact(evaluation: Evaluation, step: Vector) -> bool:
    """Whether one step solves a linear regression to all but the last few digits."""
    squares = -2 * evaluation.loglik
    left = squares - float(step @ evaluation.gradient)
    unit = np.sqrt(evaluation.information.diagonal())
    well_conditioned = np.linalg.eigvalsh(evaluation.information / np.outer(unit, unit))[0] > _WELL
    # Near its solution, gradient and squares come from the residuals themselves, without cancellation.
    refined = evaluation.at.any() and np.abs(step).max() < _WELL
    return bool(refined or (well_conditioned and left > _WELL * squares))
