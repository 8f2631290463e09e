"""What a classification is asked, its models, and the scores of samples that they were not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.glm_design import INTERCEPT, Categorical, Design
from flame_strategies.glm_elastic_net import GlmPath
from flame_strategies.sums import Sums

from gene_expression.curves import Roc, roc
from gene_expression.errors import InputError
from gene_expression.site_rows import CLASS, GENE
from gene_expression.validation import Population, outer_folds

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassifySettings:
    """What is to be classified, and how.

    Attributes:
        outcome: A column with declared levels.
        classes: Two or more of them; others, and missing ones, leave a sample out.
        numeric: Clinical columns that enter unpenalised.
        categorical: Likewise, with levels.
        select: Genes that the screen hands on.
        l1_ratio: Of the penalty, above 0.
        penalties: On the path.
        folds: Of the cross-validation by patients that chooses the penalty.
        validation: "patients", "sites" or "none".
        outer_folds: Of patients.
        site_groups: Of DIZ.
        stability: Halves of the patients on which the screen is repeated; 0 for none.
        bins: Of the probability.
        seed: Of folds and halves.
    """

    outcome: str
    classes: tuple[str, ...]
    numeric: tuple[str, ...] = ()
    categorical: tuple[Categorical, ...] = ()
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
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise InputError(f"The outcome {self.outcome!r} needs two different classes or more.")
        if self.validation not in ("none", "patients", "sites"):
            raise InputError(f"A validation is by patients, by sites or none, not {self.validation!r}.")
        if self.folds < 2 or self.bins < 2 or self.select < 1:
            raise InputError("folds and roc-bins are 2 or more, and select is 1 or more.")

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes with a model of their own."""
        return self.classes[1:] if len(self.classes) == 2 else self.classes

    @property
    def words(self) -> dict[str, Any]:
        """What every message says of the outcome."""
        return {"class_of": self.outcome, "classes": list(self.classes)}

    @property
    def cuts(self) -> Float:
        """(bins - 1,) bounds between the bins of the probability."""
        return np.linspace(0, 1, self.bins + 1)[1:-1]

    def design(self, level: str, genes: Sequence[str]) -> Design:
        """The columns of a model of one class."""
        return Design(f"{CLASS}{level}", (*(f"{GENE}{gene}" for gene in genes), *self.numeric), self.categorical)

    def outer(self, sites: Sequence[int]) -> Population | None:
        """The outer cross-validation's training sets."""
        return outer_folds(self.validation, sites, groups=self.site_groups, folds=self.outer_folds, seed=self.seed)


@dataclass(frozen=True, eq=False)
class ClassModel:
    """One logistic model for each class that is scored.

    Attributes:
        scored: M classes.
        design: Of the columns that any of them uses.
        coefficients: (M, 1 + p) in own units, the intercept first.
        paths: Each class's path.
    """

    scored: tuple[str, ...]
    design: Design
    coefficients: Float
    paths: tuple[GlmPath, ...]

    def table(self) -> list[tuple[str, str, float]]:
        """Rows of class, term and coefficient, without those that are 0."""
        terms = self.design.terms
        found = (zip(terms, row.tolist(), strict=True) for row in self.coefficients)
        return [
            (level, term.removeprefix(GENE), value)
            for level, rows in zip(self.scored, found, strict=True)
            for term, value in rows
            if value or term == INTERCEPT
        ]


@dataclass(frozen=True, eq=False)
class Scores:
    """Counts of scores over samples that were not trained on.

    Attributes:
        scored: M classes.
        counts: (M, 2, B) samples without and with the class, by bin of the probability.
        confusion: (C, C) by class and predicted class.
        loss: (M, 2) sums of squared errors and of negative log-likelihoods.
        excluded: Samples in which a column is missing.
    """

    scored: tuple[str, ...]
    counts: Int
    confusion: Int
    loss: Float
    excluded: int

    @classmethod
    def of(cls, scored: tuple[str, ...], sums: Sums) -> "Scores":
        """From a DIZ's arrays, or their sums."""
        counts, confusion = (np.asarray(sums[name], dtype=np.int64) for name in ("scores", "confusion"))
        return cls(scored, counts, confusion, np.asarray(sums["loss"], dtype=np.float64), int(sums["excluded"][0]))

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            self.scored,
            self.counts + other.counts,
            self.confusion + other.confusion,
            self.loss + other.loss,
            self.excluded + other.excluded,
        )

    @property
    def curves(self) -> dict[str, Roc]:
        """The ROC curve of each class."""
        return {level: roc(counts) for level, counts in zip(self.scored, self.counts, strict=True)}

    @property
    def samples(self) -> int:
        """How many were scored."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of samples whose class is the predicted one; NaN without samples."""
        return float(np.trace(self.confusion) / self.samples) if self.samples else float("nan")

    @property
    def brier(self) -> dict[str, float]:
        """Mean squared error of each class's probability."""
        n = self.samples or float("nan")
        return {level: float(row[0]) / n for level, row in zip(self.scored, self.loss, strict=True)}
