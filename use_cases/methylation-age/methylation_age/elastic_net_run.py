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
from flame_strategies.elastic_net import ElasticNetPath, PathStep, fit_elastic_net
from flame_strategies.sums import Exchange

from methylation_age.clock import LinearClock

COLUMNS_PER_REQUEST = 16
"""Small requests keep down how many columns leave that turn out not to be needed; the release contract in
``pyproject.toml`` states the same number."""


@dataclass(frozen=True)
class ElasticNetSettings:
    """What the run config says of the elastic net.

    Attributes:
        l1_ratio: Share of the absolute penalty.
        lambda_count: Penalties on the path.
        lambda_min_ratio: Last penalty as a share of the first.
        folds: Folds of the cross-validation.
    """

    l1_ratio: float
    lambda_count: int
    lambda_min_ratio: float
    folds: int

    @classmethod
    def from_config(cls, run_config: Any) -> "ElasticNetSettings":
        """From the run config."""
        return cls(
            l1_ratio=float(run_config["l1-ratio"]),
            lambda_count=int(run_config["lambda-count"]),
            lambda_min_ratio=float(run_config["lambda-min-ratio"]),
            folds=int(run_config["folds"]),
        )


@dataclass(frozen=True, eq=False)
class ElasticNetResult:
    """A fitted clock and the path it was chosen from.

    Attributes:
        clock: The clock at the chosen penalty.
        path: All penalties.
        chosen: Index of the penalty.
        settings: What was asked for.
    """

    clock: LinearClock
    path: ElasticNetPath
    chosen: int
    settings: ElasticNetSettings

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
            "rule": "one standard error",
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
    path = fit_elastic_net(
        exchange,
        l1_ratio=settings.l1_ratio,
        num_lambdas=settings.lambda_count,
        lambda_min_ratio=settings.lambda_min_ratio,
        folds=settings.folds,
        columns_per_request=COLUMNS_PER_REQUEST,
        progress=progress,
    )
    chosen = path.best_one_se
    model = path.model(chosen)
    columns = np.flatnonzero(model.coef)
    clock = LinearClock(columns, model.coef[columns], float(model.intercept), model.centre[columns])
    return ElasticNetResult(clock, path, chosen, settings)
