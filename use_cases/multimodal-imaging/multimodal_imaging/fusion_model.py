"""A fused model and its scores, as the hub has them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from flame_strategies.block_fusion import BlockScaling
from flame_strategies.sums import Content, Sums

from multimodal_imaging.calibration import Mend, Reliability

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Fused:
    """One model on the blocks of a view.

    Attributes:
        view: The word for it.
        blocks: Its modalities.
        scaling: How columns are standardised.
        coefficients: (1 + p, q) of the standardised columns: intercept, columns, one indicator for each block.
        fold_coefficients: (K, 1 + p, q) without each fold.
        penalty: Chosen, per patient.
        losses: (L,) cross-validated mean losses at the candidates.
        mend: Calibration; None without.
        records: What every message about it brings besides: harmonisation, imputation, the modalities' own models.
        exchanges: How many messages each DIZ answered.
    """

    view: str
    blocks: tuple[str, ...]
    scaling: BlockScaling
    coefficients: Float
    fold_coefficients: Float
    penalty: float
    losses: Float
    mend: Mend | None = None
    records: Content = field(default_factory=dict)
    exchanges: int = 0

    def arrays(self) -> dict[str, Float]:
        """What is saved of it."""
        found = {"coefficients": self.coefficients, "centre": self.scaling.centre, "scale": self.scaling.scale}
        if self.mend is not None:
            found["calibration"] = self.mend.content()["calibration"]
        brought = {name: np.asarray(value) for record in self.records.values() for name, value in record.items()}
        return {**found, **brought}

    def block_coefficients(self) -> dict[str, Float]:
        """(f, q) of each block."""
        edges = 1 + np.concatenate([[0], np.cumsum(self.scaling.widths)])
        return {
            name: self.coefficients[first:end]
            for name, first, end in zip(self.blocks, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        }


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Counts of the scores of a model of C classes.

    Attributes:
        confusion: (C, C) by class and predicted class.
        counts: (C, 2, B) without and with each class, by bin of its probability.
        sum_p: (C, B) sums of probabilities.
        top: (2, B) by bin of the predicted class's probability: all, and those predicted rightly.
        sum_top: (B,) sums of these probabilities.
        loss: (2,) sums of squared errors and of negative log-likelihoods.
        excluded: Patients without an outcome, or without anything to predict from.
    """

    confusion: Int
    counts: Int
    sum_p: Float
    top: Int
    sum_top: Float
    loss: Float
    excluded: int = 0

    @classmethod
    def of(cls, sums: Sums) -> "ClassScores":
        """From sums over the DIZ of `site_scores.class_sums`."""
        excluded = int(sums["excluded"][0]) if "excluded" in sums else 0
        names = ("confusion", "scores", "sum_p", "top", "sum_top", "loss")
        return cls(*(np.asarray(sums[name]) for name in names), excluded=excluded)

    def __add__(self, other: "ClassScores") -> "ClassScores":
        return ClassScores(
            *(a + b for a, b in zip(self._parts(), other._parts(), strict=True)),
            excluded=self.excluded + other.excluded,
        )

    def _parts(self) -> tuple[npt.NDArray[np.generic], ...]:
        return self.confusion, self.counts, self.sum_p, self.top, self.sum_top, self.loss

    @property
    def n(self) -> int:
        """Patients that were scored."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share predicted rightly; NaN without patients."""
        return float(np.trace(self.confusion) / self.n) if self.n else NAN

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes that occur of the share predicted rightly; NaN without patients."""
        of = self.confusion.sum(axis=1)
        return float((np.diag(self.confusion)[of > 0] / of[of > 0]).mean()) if self.n else NAN

    @property
    def auc(self) -> Float:
        """(C,) area under each class's ROC curve, ties within a bin counted one half; NaN without both."""
        negative, positive = self.counts[:, 0], self.counts[:, 1]
        pairs = negative.sum(axis=1) * positive.sum(axis=1)
        below = np.cumsum(negative, axis=1) - negative
        won = (positive * (below + negative / 2)).sum(axis=1)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), NAN)

    @property
    def brier(self) -> float:
        """Mean over patients of the squared errors summed over the classes."""
        return float(self.loss[0]) / self.n if self.n else NAN

    @property
    def log_loss(self) -> float:
        """Mean negative log-likelihood."""
        return float(self.loss[1]) / self.n if self.n else NAN

    @property
    def reliability(self) -> Reliability:
        """Of two classes that of the second; of more, that of the predicted one."""
        if len(self.confusion) == 2:
            return Reliability.of(self.counts[1].sum(axis=0), self.counts[1, 1], self.sum_p[1])
        return Reliability.of(self.top[0], self.top[1], self.sum_top)

    def numbers(self, classes: Sequence[str]) -> dict[str, float]:
        """By label."""
        named = {f"AUC {name}": value for name, value in zip(classes, self.auc.tolist(), strict=True)}
        if len(classes) == 2:
            named = {"AUC": float(self.auc[1])}
        return {
            "patients": float(self.n),
            "balanced accuracy": self.balanced_accuracy,
            "accuracy": self.accuracy,
            **named,
            "log loss": self.log_loss,
            "Brier score": self.brier,
            "calibration error": self.reliability.error,
        }


@dataclass(frozen=True, eq=False)
class ValueScores:
    """Sums of a model of a number.

    Attributes:
        n: Patients that were scored.
        values: (8,) see `site_scores.value_sums`.
        excluded: Patients without an outcome, or without anything to predict from.
    """

    n: int
    values: Float
    excluded: int = 0

    @classmethod
    def of(cls, sums: Sums) -> "ValueScores":
        """From sums over the DIZ of `site_scores.value_sums`."""
        excluded = int(sums["excluded"][0]) if "excluded" in sums else 0
        return cls(int(sums["n"][0]), np.asarray(sums["values"], dtype=np.float64), excluded)

    def __add__(self, other: "ValueScores") -> "ValueScores":
        return ValueScores(self.n + other.n, self.values + other.values, self.excluded + other.excluded)

    def _mean(self, place: int) -> float:
        return float(self.values[place]) / self.n if self.n else NAN

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return self._mean(0)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(self._mean(1)))

    @property
    def rmse_of_mean(self) -> float:
        """Root of the mean squared error of predicting for everybody the mean of these patients: what R2 is against."""
        spread = self._mean(4) - self._mean(3) ** 2
        return float(np.sqrt(max(spread, 0.0))) if self.n else NAN

    @property
    def bias(self) -> float:
        """Mean of prediction - truth."""
        return self._mean(2)

    @property
    def r2(self) -> float:
        """1 - squared errors over those of the mean."""
        spread = self._mean(4) - self._mean(3) ** 2
        return 1 - self._mean(1) / spread if spread > 0 else NAN

    @property
    def r(self) -> float:
        """Correlation of prediction and truth."""
        var_y, var_p = self._mean(4) - self._mean(3) ** 2, self._mean(6) - self._mean(5) ** 2
        both = var_y * var_p
        return (self._mean(7) - self._mean(3) * self._mean(5)) / float(np.sqrt(both)) if both > 0 else NAN

    def numbers(self, classes: Sequence[str] = ()) -> dict[str, float]:
        """By label."""
        return {
            "patients": float(self.n),
            "MAE": self.mae,
            "RMSE": self.rmse,
            "bias": self.bias,
            "R2": self.r2,
            "r": self.r,
        }


@dataclass(frozen=True, eq=False)
class RankScores:
    """Pairs of a survival model, each of two patients of one DIZ.

    Attributes:
        n: Patients that were scored.
        pairs: (3,) in order, tied, and comparable.
        excluded: Patients without a time.
    """

    n: int
    pairs: Int
    excluded: int = 0

    @classmethod
    def of(cls, sums: Sums) -> "RankScores":
        """From sums over the DIZ of ``mm_concordance``."""
        return cls(int(sums["n"][0]), np.asarray(sums["pairs"], dtype=np.int64), int(sums["excluded"][0]))

    def __add__(self, other: "RankScores") -> "RankScores":
        return RankScores(self.n + other.n, self.pairs + other.pairs, self.excluded + other.excluded)

    @property
    def concordance(self) -> float:
        """Harrell's index (JAMA 247, 1982) within DIZ, ties counted one half; NaN without comparable pairs."""
        won, tied, comparable = self.pairs.tolist()
        return (won + tied / 2) / comparable if comparable else NAN

    def numbers(self, classes: Sequence[str] = ()) -> dict[str, float]:
        """By label."""
        return {"patients": float(self.n), "concordance": self.concordance, "comparable pairs": float(self.pairs[2])}


Scores = ClassScores | ValueScores | RankScores


def total(parts: Sequence[Scores]) -> Scores | None:
    """Their sum; None of none."""
    found: Scores | None = None
    for part in parts:
        found = part if found is None else found + part  # type: ignore[operator] -- all of one run are of one kind
    return found
