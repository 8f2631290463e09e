"""What a survival analysis is asked, its model, and the counts of samples that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.cox import CoxFit, Ties
from flame_strategies.glm_design import Categorical, Design
from flame_strategies.glm_elastic_net import GlmPath

from gene_expression.curves import Concordance, LogRank, Survival, concordance, kaplan_meier, log_rank
from gene_expression.errors import InputError
from gene_expression.site_rows import GENE
from gene_expression.validation import Population, outer_folds

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MODELS = ("cox", "discrete")
RISK_GROUPS = ("low risk", "high risk")


@dataclass(frozen=True)
class SurvivalSettings:
    """What is to be explained, and how.

    Attributes:
        time: Column of the time under observation, at least 0.
        event: Column of 1 where that is the time of the event, else 0.
        grid: Declared times, rising, above 0.
        model: One of `MODELS`.
        ties: Of Cox's regression.
        strata_by_site: Whether every DIZ has a baseline hazard of its own in Cox's regression.
        numeric: Clinical columns.
        categorical: Likewise, with levels.
        cox_select: Genes in Cox's regression.
        select: Genes that the screen hands on to the discrete-time model.
        l1_ratio: Of its penalty.
        penalties: On its path.
        folds: Of the cross-validation by patients that chooses the penalty.
        validation: "patients", "sites" or "none".
        outer_folds: Of patients.
        site_groups: Of DIZ.
        stability: Halves of the patients on which the screen is repeated; 0 for none.
        bins: Of the score.
        seed: Of folds and halves.
    """

    time: str
    event: str
    grid: tuple[float, ...]
    model: str = "cox"
    ties: Ties = "efron"
    strata_by_site: bool = False
    numeric: tuple[str, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    cox_select: int = 5
    select: int = 50
    l1_ratio: float = 0.5
    penalties: int = 20
    folds: int = 5
    validation: str = "patients"
    outer_folds: int = 5
    site_groups: int = 2
    stability: int = 0
    bins: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        times = np.asarray(self.grid, dtype=np.float64)
        if not times.size or not (np.diff(times, prepend=0.0) > 0).all():
            raise InputError(
                'Survival needs a grid of rising times above 0, first:last:step, as in grid = "30:3600:30".'
            )
        if self.model not in MODELS or self.validation not in ("none", "patients", "sites"):
            raise InputError("A survival model is cox or discrete, and a validation by patients, by sites or none.")

    @property
    def times(self) -> Float:
        """(T,) the grid."""
        return np.asarray(self.grid, dtype=np.float64)

    @property
    def words(self) -> dict[str, Any]:
        """What every message says of the outcome."""
        return {"time": self.time, "event": self.event}

    @property
    def chosen(self) -> int:
        """How many genes the screen hands on."""
        return self.cox_select if self.model == "cox" else self.select

    def design(self, genes: Sequence[str]) -> Design:
        """The columns of a model, without those of the baseline."""
        numeric = (*(f"{GENE}{gene}" for gene in genes), *self.numeric)
        return Design(self.time, numeric, self.categorical, intercept=False)

    def outer(self, sites: Sequence[int]) -> Population | None:
        """The outer cross-validation's training sets."""
        return outer_folds(self.validation, sites, groups=self.site_groups, folds=self.outer_folds, seed=self.seed)


@dataclass(frozen=True, eq=False)
class RiskModel:
    """A score that rises with the risk.

    Attributes:
        design: Its columns.
        coefficients: (p,) in own units: log hazard ratios, or log odds ratios in a period.
        centre: (p,) the training samples' means, where the score is 0.
        spread: About the score's standard deviation, from those of the columns as if they were uncorrelated.
        fit: What it comes from.
    """

    design: Design
    coefficients: Float
    centre: Float
    spread: float
    fit: CoxFit | GlmPath

    def content(self, bins: int) -> dict[str, Float]:
        """The arrays of a message: bins of equal probability if scores were logistic, and 0 between the risk groups."""
        inner = np.linspace(0, 1, bins + 1)[1:-1]
        cuts = self.spread * np.sqrt(3) / np.pi * np.log(inner / (1 - inner))
        first = -float(self.centre @ self.coefficients)
        return {
            "coefficients": np.concatenate([[first], self.coefficients])[None, :],
            "cuts": cuts,
            "thresholds": np.zeros(1),
        }


@dataclass(frozen=True, eq=False)
class RiskScores:
    """Counts over samples that were not trained on.

    Attributes:
        counts: (2, T + 1, B) without and with event, by time and bin of the score.
        groups: (2, 2, T + 1) by risk group, without and with event, and time.
    """

    counts: Int
    groups: Int

    def __add__(self, other: "RiskScores") -> "RiskScores":
        return RiskScores(self.counts + other.counts, self.groups + other.groups)

    @property
    def concordance(self) -> Concordance:
        """Of score and time."""
        return concordance(self.counts)

    @property
    def test(self) -> LogRank:
        """Of the risk groups; see `survival_run` for what its p is."""
        return log_rank(self.groups)

    def curves(self, times: Float) -> dict[str, Survival]:
        """Kaplan-Meier by risk group."""
        return {name: kaplan_meier(times, part) for name, part in zip(RISK_GROUPS, self.groups, strict=True)}
