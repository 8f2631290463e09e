"""How well a score predicts the test samples: from sums over all DIZ, and by DIZ where answers are not masked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.polygenic import PolygenicFit
from flame_strategies.polygenic_evaluation import Prediction, area, evaluate

from gwas import plots
from gwas.by_site import Ask
from gwas.moments_run import Moments
from gwas.presets import made_up
from gwas.results import group, text
from gwas.settings import Settings

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """On samples that nothing was chosen or trained on.

    Attributes:
        prediction: Of all test samples.
        tenths: (10, 3) samples, sums of prediction and outcome, in the phenotype's unit, by the prediction's rank
            within their DIZ.
        bins: (10, 2) controls and cases of a disease by the score's rank within their DIZ.
        by_site: The same prediction by DIZ, where their answers could be read.
        sites: How many DIZ answered.
    """

    prediction: Prediction
    tenths: Float
    bins: Int
    by_site: Mapping[str, Prediction] = field(default_factory=dict)
    sites: int = 0

    @property
    def auc(self) -> tuple[float, float]:
        """Area under the ROC curve of a disease, of ranks within DIZ, and how far off ten bins can make it.

        How DIZ differ in the score is no part of it: cuts that are the same for all DIZ would have to come in a
        message.
        """
        return area(self.bins.T)

    @property
    def there(self) -> bool:
        """Whether there are sums at all: none, where a variant has too few carriers among the test samples."""
        return self.prediction.n > 0

    def figures(self, folder: Path, settings: Settings) -> list[plots.Entry]:
        """ROC curve and calibration, as far as there is something to draw."""
        found, mark = [], made_up(settings.set, settings.phenotype)
        if settings.binary and np.isfinite(self.auc[0]):
            found.append(plots.roc(folder, self.bins, self.auc[0], mark))
        if (self.tenths[:, 0] > 0).sum() > 1:
            found.append(plots.calibration(folder, self.tenths, settings.phenotype, mark))
        return found

    def numbers(self) -> dict[str, dict[str, float]]:
        """By label, of all test samples."""
        p, (auc, off) = self.prediction, self.auc
        names = ("test samples", "R2", "R2 of the covariates", "correlation", "added R2", "slope", "intercept")
        values = (p.n, p.r2, p.r2_covariates, p.correlation, p.added, p.slope, p.intercept)
        return {"evaluation": group([*names, "AUC", "largest error of the AUC"], [*values, auc, off])}

    def table(self) -> list[dict[str, Any]]:
        """By DIZ, where their answers could be read."""
        if not self.by_site:
            return []
        rows = [
            [name, str(p.n), text(p.r2), text(p.correlation), text(p.added), text(p.slope)]
            for name, p in self.by_site.items()
        ]
        columns = ["DIZ", "test samples", "R²", "correlation", "added R²", "slope"]
        return [{"title": "Evaluation by DIZ", "caption": "Answers were not masked.", "columns": columns, "rows": rows}]


def evaluation(ask: Ask, null: Moments, fit: PolygenicFit, of: tuple[Int, Float]) -> Evaluation:
    """Ask how well a score predicts.

    Args:
        ask: Asks all DIZ.
        null: Of the training samples.
        fit: The weights.
        of: (m,) places and means of the variants with a weight.
    """
    index, mean = of
    message = {
        "index": index,
        "mean": mean,
        "weights": fit.weights[fit.weights != 0],
        "covariates": fit.covariates,
    }
    answers = ask("query.score_check", {"score": message, "design": dict(null.arrays)})
    if not answers.sites:
        return Evaluation(evaluate(np.zeros((4, 4))), np.zeros((10, 3)), np.zeros((2, 2), dtype=np.int64), sites=0)
    unit, centre = null.y_scale, null.y_centre
    tenths = np.array(answers.total["tenths"][0], dtype=np.float64)
    tenths[:, 1:] = tenths[:, 1:] * unit + tenths[:, :1] * centre
    return Evaluation(
        prediction=_prediction(answers.total["products"], unit, centre),
        tenths=tenths,
        bins=np.asarray(answers.total["ranks"][0], dtype=np.int64),
        by_site={name: _prediction(of["products"], unit, centre) for name, of in answers.by_site.items()},
        sites=answers.sites,
    )


def _prediction(packed: npt.NDArray[Any], unit: float, centre: float) -> Prediction:
    """In the phenotype's unit, from the upper triangle (1, 10)."""
    full = np.zeros((4, 4))
    rows, columns = np.triu_indices(4)
    full[rows, columns] = full[columns, rows] = packed[0]
    # prediction by covariates and outcome have the phenotype's centre, the score none
    change = np.diag([1.0, unit, unit, unit])
    change[0, 1] = change[0, 3] = centre
    return evaluate(change.T @ full @ change)
