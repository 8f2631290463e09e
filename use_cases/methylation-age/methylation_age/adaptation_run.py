"""A clock adapted to a target tissue of which no age is known, as the hub runs it: exact federated wenda.

The method is wenda (Handl et al., Bioinformatics 35, 2019, i154), whose federated form is FREDA (Baykara, Ünal,
Pfeifer and Akgün, arXiv 2411.17287, 2024). Each CpG is modelled from all others on the labelled training samples; where
that model foretells the target's values badly, the elastic net penalises it more. Here all of that follows from sums:

1. moments, as for the plain elastic net: the pooled centre and scale;
2. a sketch of the training samples' second-moment matrix, piece by piece (`spectrum`): its eigenvalues and eigenvectors
   give the models of all CpGs at once (`feature_models`);
3. confidences: each DIZ evaluates the models on the target's samples it has, and the sum over samples leaves;
4. the elastic net with these weights, and the plain one, each with its cross-validated path.

Nothing is approximated, and no object over samples (a Gram matrix, an encoding) ever leaves a DIZ. What the hub learns
is the matrix of second moments: with fewer samples than CpGs it determines the training samples up to a rotation of the
samples among each other, which no later message resolves.

Whether the target can be helped is judged from the confidences alone (`diagnosis`); where it cannot, the clock is the
plain elastic net's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.elastic_net import ElasticNetPath, PathStep
from flame_strategies.reference import Reference
from flame_strategies.sums import Exchange

from methylation_age import diagnosis, feature_models, similarity, spectrum
from methylation_age.clock import LinearClock
from methylation_age.elastic_net_run import (
    LEAST,
    ONE_SE,
    SIMILARITY,
    ElasticNetResult,
    ElasticNetSettings,
    clock_at,
    fit_path,
)
from methylation_age.errors import InputError
from methylation_age.folds import Remembered
from methylation_age.site_adaptation import MOST_COLUMNS

FEWEST_TARGETS = 10
"""Samples of the target over all DIZ, below which their mean confidences say little and reveal much."""

CONFIDENCES_FILE = "confidences.csv"
"""In the run's folder: of each CpG the mean confidence in the target, and its penalty factor."""

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Learned:
    """What the training samples say of the CpGs' relations, for any target.

    Attributes:
        reference: Pooled centres and scales.
        spectrum: Of the second-moment matrix.
        models: One Gaussian process per CpG.
        messages: Sketches asked for.
    """

    reference: Reference
    spectrum: spectrum.Spectrum
    models: feature_models.FeatureModels
    messages: int


@dataclass(frozen=True, eq=False)
class Confidences:
    """How well the target's CpGs are foretold.

    Attributes:
        mean: (p,) mean confidence over the target's samples, NaN where there is none.
        samples: Samples of the target over all DIZ.
        verdict: Whether weights can help.
    """

    mean: npt.NDArray[np.float64]
    samples: int
    verdict: diagnosis.Diagnosis


@dataclass(frozen=True, eq=False)
class Adaptation:
    """An adapted clock, the plain one, and how they came about.

    Attributes:
        adapted: The weighted elastic net's clock; the plain one where the verdict is that weights cannot help.
        plain: The plain elastic net's.
        weighted: Path of the weighted elastic net, None where it was not fitted.
        path: Path of the plain one.
        chosen: Index of the penalty on `weighted`, or else on `path`.
        chosen_plain: Index of the penalty on `path`.
        confidences: Of the target.
        learned: Of the training samples.
        settings: What was asked for.
    """

    adapted: LinearClock
    plain: LinearClock
    weighted: ElasticNetPath | None
    path: ElasticNetPath
    chosen: int
    chosen_plain: int
    confidences: Confidences
    learned: Learned
    settings: "AdaptationSettings"

    def training(self) -> dict[str, Any]:
        """What goes into the model's description."""
        verdict = self.confidences.verdict
        known = self.confidences.mean[~np.isnan(self.confidences.mean)]
        edges = np.linspace(0.0, 1.0, 21)
        return {
            "adapted": self.weighted is not None,
            "verdict": verdict.reason,
            "median_confidence": verdict.median,
            "target_samples": self.confidences.samples,
            "power": self.settings.power,
            "tissue": self.settings.tissue,
            "confidence_histogram": np.histogram(known, edges)[0].tolist(),
            "rank": len(self.learned.spectrum.values),
            "training_samples": self.learned.spectrum.rows,
            "sketch_messages": self.learned.messages,
            **self._net(self.adapted, self.weighted or self.path, self.chosen),
        }

    def table(self, cpgs: Sequence[str]) -> str:
        """`CONFIDENCES_FILE`, for the panel's CpGs; a weight of 1 throughout where the clock is the plain one."""
        factors = np.ones(len(cpgs))
        if self.weighted is not None:
            factors = feature_models.weights(self.confidences.mean, self.settings.power)
        lines = ["cpg,mean_confidence,weight"]
        for cpg, mean, factor in zip(cpgs, self.confidences.mean.tolist(), factors.tolist(), strict=True):
            lines.append(f"{cpg},{'' if np.isnan(mean) else repr(mean)},{factor!r}")
        return "\n".join(lines) + "\n"

    def plain_training(self) -> dict[str, Any]:
        """The same for the plain clock."""
        return self._net(self.plain, self.path, self.chosen_plain)

    def _net(self, clock: LinearClock, path: ElasticNetPath, chosen: int) -> dict[str, Any]:
        return ElasticNetResult(clock, path, chosen, self.settings.net, self.settings.rule).training()


@dataclass(frozen=True)
class AdaptationSettings:
    """What the run config says of the adaptation.

    Attributes:
        net: Path and folds of the elastic nets.
        power: wenda's k.
        tissue: The target's tissue, as the sample sheets call it; "" for all samples of the split "target".
        rule: Which penalty is taken, see `elastic_net_run`.
        similarity: With rule "similarity", of each tissue to that of the training samples.
        seed: Of the sketch.
    """

    net: ElasticNetSettings
    power: float = 3.0
    tissue: str = ""
    rule: str = ONE_SE
    seed: int = 0
    similarity: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, run_config: Any) -> "AdaptationSettings":
        """From the run config."""
        return cls(
            net=ElasticNetSettings.from_config(run_config),
            power=float(run_config["wenda-power"]),
            tissue=str(run_config["target-tissue"]),
            rule=str(run_config["penalty-rule"]),
            seed=int(run_config["seed"]),
            similarity=similarity.parse(str(run_config["similarity"])),
        )


def run_adaptation(
    exchange: Exchange,
    settings: AdaptationSettings,
    tell: Tell = lambda text: None,
    progress: Callable[[PathStep], None] | None = None,
) -> Adaptation:
    """Fit the plain and the adapted clock.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: What is wanted.
        tell: Told where the run stands.
        progress: Called after each penalty of each path.

    Raises:
        InputError: No DIZ has enough samples of the target.
        ValueError: The DIZ's sums do not fit each other.
    """
    remembered = Remembered(exchange, "query.moments")
    learned = learn(remembered, settings.seed, tell)
    found = ask_confidences(exchange, learned, settings.tissue)
    tell(f"confidences over {found.samples} samples of the target: {found.verdict.reason}")
    plain = fit_path(remembered, settings.net, progress)
    at_plain = plain.best if settings.rule == LEAST else plain.best_one_se
    if not found.verdict.helps:
        clock = clock_at(plain, at_plain)
        return Adaptation(clock, clock, None, plain, at_plain, at_plain, found, learned, settings)
    factors = feature_models.weights(found.mean, settings.power)
    weighted = fit_path(remembered, settings.net, progress, factors)
    at = weighted.best if settings.rule == LEAST else weighted.best_one_se
    if settings.rule == SIMILARITY:
        at = by_similarity(remembered, learned, settings, weighted, tell)
    clocks = clock_at(weighted, at), clock_at(plain, at_plain)
    return Adaptation(*clocks, weighted, plain, at, at_plain, found, learned, settings)


def learn(exchange: Exchange, seed: int, tell: Tell = lambda text: None) -> Learned:
    """The models of all CpGs, from the moments and the sketch of the second-moment matrix."""
    reference = Reference.from_moments(exchange("query.moments", {}))
    p, rows = len(reference.centre), reference.n
    width = spectrum.width(rows, p)
    sketched, messages = np.empty((p, width)), 0
    for start in range(0, width, MOST_COLUMNS):
        stop = min(start + MOST_COLUMNS, width)
        asked = {"seed": seed, "rows": rows, "start": start, "stop": stop}
        sums = exchange("query.sketch", {"reference": reference.content(), "sketch": asked})
        sketched[:, start:stop] = sums["sketch"]
        messages += 1
        tell(f"second moments: {stop} of {width} columns of the sketch")
    found = spectrum.from_sketch(sketched, seed, rows, trace=float(rows * reference.usable.sum()))
    return Learned(reference, found, feature_models.fit(found), messages)


def ask_confidences(exchange: Exchange, learned: Learned, tissue: str) -> Confidences:
    """How well the models foretell the target's CpGs.

    Raises:
        InputError: There are too few samples of the target.
    """
    models = {
        "values": learned.spectrum.values,
        "vectors": learned.spectrum.vectors,
        "signal": learned.models.signal,
        "noise": learned.models.noise,
    }
    asked = {"tissue": tissue, "rows": learned.spectrum.rows}
    content = {"reference": learned.reference.content(), "models": models, "target": asked}
    sums = exchange("query.confidences", content)
    samples = int(sums["n"][0])
    if samples < FEWEST_TARGETS:
        of = f" of the tissue {tissue!r}" if tissue else ""
        raise InputError(
            f"The DIZ have {samples} samples{of} to adapt to; {FEWEST_TARGETS} are the fewest. Mark such samples as "
            "'target' in the column 'split', or check target-tissue in the run config."
        )
    count = np.asarray(sums["observed"], dtype=np.float64)
    total = np.asarray(sums["confidence"], dtype=np.float64)
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    mean = np.clip(mean, 0.0, 1.0)  # a masked sum may lie beyond by its rounding
    return Confidences(mean, samples, diagnosis.diagnose(mean))


def by_similarity(
    exchange: Remembered, learned: Learned, settings: AdaptationSettings, path: ElasticNetPath, tell: Tell
) -> int:
    """The index of the penalty on `path` that is nearest to what the tissues of known ages foretell (see `similarity`).

    Raises:
        InputError: A tissue has no samples of known age, or they make no line.
    """
    best: dict[str, float] = {}
    for tissue in settings.similarity:
        if tissue == settings.tissue:
            continue
        factors = feature_models.weights(ask_confidences(exchange, learned, tissue).mean, settings.power)
        own = fit_path(exchange, settings.net, None, factors)
        errors = exchange("query.path_errors", {"path": path_arrays(own), "target": {"tissue": tissue}})
        if int(errors["n"][0]) < FEWEST_TARGETS:
            raise InputError(f"Fewer than {FEWEST_TARGETS} samples of {tissue!r} have a known age; leave it out.")
        best[tissue] = float(own.lambdas[int(np.argmin(errors["abs_error"]))])
        tell(f"best penalty for {tissue}: {best[tissue]:.3g}")
    wanted = similarity.predicted_penalty(best, settings.similarity, settings.tissue)
    return int(np.argmin(np.abs(np.log(path.lambdas) - np.log(wanted))))


def path_arrays(path: ElasticNetPath) -> dict[str, npt.NDArray[Any]]:
    """All clocks of a path on the CpGs that any of them uses, as the DIZ evaluate them."""
    models = [path.model(index) for index in range(len(path.lambdas))]
    columns = np.flatnonzero((path.coefficients != 0).any(axis=0))
    return {
        "columns": columns.astype(np.int64),
        "centre": models[0].centre[columns],
        "coef": np.stack([model.coef[columns] for model in models]),
        "intercept": np.array([float(model.intercept) for model in models]),
    }
