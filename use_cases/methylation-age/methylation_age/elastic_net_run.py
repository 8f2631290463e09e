"""The federated elastic net, as the hub runs it.

The fit is `flame_strategies.fit_elastic_net`: the whole cross-validated path from sums, equal to the pooled solution.
The penalty is the largest one whose cross-validated error lies within one standard error of the least (the
one-standard-error rule: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, §7.10); test samples
have no part in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.elastic_net import ElasticNetPath, PathStep, fit_elastic_net
from flame_strategies.sums import Exchange

from methylation_age.clock import LinearClock
from methylation_age.folds import PATIENTS, Remembered, fold_content
from methylation_age.sums import MOST_COLUMNS

ONE_SE, LEAST, SIMILARITY = "one standard error", "least error", "similarity"
"""How a penalty is chosen: the largest within one standard error of the least cross-validated error; that of the least
error; for an adapted clock, from other tissues' best ones (`similarity`)."""

COLUMNS_PER_REQUEST = MOST_COLUMNS
"""As many as a DIZ answers about at once: small requests keep down how many columns leave that are not needed."""


@dataclass(frozen=True)
class ElasticNetSettings:
    """What the run config says of the elastic net.

    Attributes:
        l1_ratio: Share of the absolute penalty.
        lambda_count: Penalties on the path.
        lambda_min_ratio: Last penalty as a share of the first.
        folds: Folds of the cross-validation.
        folds_by: "patients" or "sites", see `folds`.
    """

    l1_ratio: float
    lambda_count: int
    lambda_min_ratio: float
    folds: int
    folds_by: str = PATIENTS

    @classmethod
    def from_config(cls, run_config: Any) -> "ElasticNetSettings":
        """From the run config."""
        return cls(
            l1_ratio=float(run_config["l1-ratio"]),
            lambda_count=int(run_config["lambda-count"]),
            lambda_min_ratio=float(run_config["lambda-min-ratio"]),
            folds=int(run_config["folds"]),
            folds_by=str(run_config.get("folds-by", PATIENTS)),
        )


@dataclass(frozen=True, eq=False)
class ElasticNetResult:
    """A fitted clock and the path it was chosen from.

    Attributes:
        clock: The clock at the chosen penalty.
        path: All penalties.
        chosen: Index of the penalty.
        settings: What was asked for.
        rule: How the penalty was chosen.
    """

    clock: LinearClock
    path: ElasticNetPath
    chosen: int
    settings: ElasticNetSettings
    rule: str = ONE_SE

    def training(self) -> dict[str, Any]:
        """What goes into the model's description."""
        path = self.path
        return {
            "l1_ratio": self.settings.l1_ratio,
            "folds": self.settings.folds,
            "lambdas": path.lambdas.tolist(),
            "cv_mse": path.cv_mse.tolist(),
            "cv_se": path.cv_se.tolist(),
            "chosen": self.chosen,
            "rule": self.rule,
            "least_cv_error": path.best,
            "rounds": path.rounds,
            "columns_requested": len(path.columns_requested),
            "kkt_gap": path.kkt_gap,
        }


def run_elastic_net(
    exchange: Exchange, settings: ElasticNetSettings, progress: Callable[[PathStep], None] | None = None
) -> ElasticNetResult:
    """Fit the clock.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: Path and folds.
        progress: Called after each penalty.
    """
    path = fit_path(Remembered(exchange, "query.moments"), settings, progress)
    return ElasticNetResult(clock_at(path, path.best_one_se), path, path.best_one_se, settings)


def fit_path(
    exchange: Remembered,
    settings: ElasticNetSettings,
    progress: Callable[[PathStep], None] | None = None,
    penalty_factors: npt.NDArray[np.float64] | None = None,
) -> ElasticNetPath:
    """The cross-validated path, weighted by `penalty_factors` (p,) if given."""
    folds, content = fold_content(exchange, settings.folds, settings.folds_by)
    return fit_elastic_net(
        exchange,
        l1_ratio=settings.l1_ratio,
        num_lambdas=settings.lambda_count,
        lambda_min_ratio=settings.lambda_min_ratio,
        folds=folds,
        fold_content=content,
        penalty_factors=penalty_factors,
        columns_per_request=COLUMNS_PER_REQUEST,
        progress=progress,
    )


def clock_at(path: ElasticNetPath, index: int) -> LinearClock:
    """The clock at one penalty of the path."""
    model = path.model(index)
    columns = np.flatnonzero(model.coef)
    return LinearClock(columns, model.coef[columns], float(model.intercept), model.centre[columns])
