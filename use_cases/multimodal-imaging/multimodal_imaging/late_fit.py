"""Late fusion, as a conversation with all DIZ: a model for each modality, and one on their scores.

1. For each modality, the model of the run config on its columns alone, of the training patients who have it
   (`fusion_fit.fit`, view ``only:NAME``), with and without each fold of patients.
2. Every DIZ scores its patients with them, each training patient by the model without the patient's fold. The scores
   stay there.
3. ``log-mean``: the mean of the linear predictors of the modalities that a patient has, which for classes is the
   normalised geometric mean of probabilities; nothing is learned. ``stack``: the model of the run config again, with
   the scores for columns and an indicator for each modality (Wolpert, Neural Networks 5, 1992), by the same queries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from flame_strategies.block_fusion import BlockScaling
from flame_strategies.sums import Content, Exchange

from multimodal_imaging import fusion_fit
from multimodal_imaging.calibration import fit_mend
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_model import Float, Fused, Scores
from multimodal_imaging.settings import Settings
from multimodal_imaging.validation import Population

STACK, MEAN = "stack", "log-mean"


@dataclass(frozen=True, eq=False)
class Late:
    """A late fusion.

    Attributes:
        own: Each modality's model.
        fused: On their scores; its coefficients are empty where the rule is a mean.
        rule: "stack" or "log-mean".
    """

    own: Mapping[str, Fused]
    fused: Fused
    rule: str

    @property
    def exchanges(self) -> int:
        """How many messages each DIZ answered."""
        return self.fused.exchanges + sum(model.exchanges for model in self.own.values())


def fit_late(exchange: Exchange, settings: Settings, population: Population, rule: str) -> Late:
    """Fit to a training set.

    Raises:
        InputError: The task is survival, for which scores of several models are not fused.
    """
    if settings.event:
        raise InputError('Late fusion is of numbers and classes; for survival take analysis = "fusion".')
    records = fusion_fit.harmonised(exchange, settings, population)
    own = {
        name: fusion_fit.fit(exchange, settings, population, view=f"only:{name}", records=records, calibrate=False)
        for name in settings.modalities
    }
    return fuse(exchange, settings, population, own, records=records, rule=rule)


def fuse(
    exchange: Exchange,
    settings: Settings,
    population: Population,
    own: Mapping[str, Fused],
    *,
    records: Content,
    rule: str,
) -> Late:
    """Fuse models that were fitted to the same training set."""
    brought: Content = {**records, "late": late_record(list(own.values()))}
    if rule == STACK:
        return Late(own, fusion_fit.fit(exchange, settings, population, view="stack", records=brought), rule)
    return Late(own, _mean(exchange, settings, population, own, brought), rule)


def late_record(models: "list[Fused]") -> dict[str, Float]:
    """The modalities' own models as an array record: see `views.scored`."""
    stacked = [np.concatenate([model.fold_coefficients, model.coefficients[None]])[:, :-1] for model in models]
    return {
        "late_coefficients": np.concatenate(stacked, axis=1),  # the last row was of an indicator that is always 0
        "late_centre": np.concatenate([model.scaling.centre for model in models]),
        "late_scale": np.concatenate([model.scaling.scale for model in models]),
    }


def measure(
    exchange: Exchange, settings: Settings, model: Late, population: Population, *, drop: "tuple[str, ...]" = ()
) -> Scores:
    """Scores on patients that it was not fitted to, with some modalities taken away."""
    if model.rule == STACK:
        return fusion_fit.measure(exchange, settings, model.fused, population, drop=drop)
    content = {**_about(model.fused, population, drop), "rule": {"rule": "mean"}}
    return fusion_fit.ask_scores(exchange, settings, content, model.fused)


def _mean(
    exchange: Exchange, settings: Settings, population: Population, own: Mapping[str, Fused], brought: Content
) -> Fused:
    none = np.zeros(0, dtype=np.int64)
    scaling = BlockScaling(0, 0, none, none, none, np.zeros(0), np.zeros(0))
    empty = np.zeros((0, 0))
    found = Fused("stack", tuple(own), scaling, empty, empty, 0.0, np.zeros(0), None, brought, 0)
    if not settings.classes or settings.calibrate != "scale":
        return found
    mend = fit_mend(exchange, {**_about(found, population, ()), "rule": {"rule": "mean"}})
    return replace(found, mend=mend, exchanges=mend.exchanges)


def _about(model: Fused, population: Population, drop: "tuple[str, ...]") -> dict[str, "dict[str, object]"]:
    view: dict[str, object] = {"view": "stack", **({"drop": list(drop)} if drop else {})}
    return {"of": population.content(), "view": view, **{name: dict(record) for name, record in model.records.items()}}
