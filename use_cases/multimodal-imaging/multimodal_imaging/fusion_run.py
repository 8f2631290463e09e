"""Exact fusion, as the hub runs it: one model on the features of all modalities, equal to the pooled one.

Fits are in `fusion_fit`. Around the fused model are measured, on the same test patients where not said otherwise:

* the same model with one modality taken away at a time (ablation);
* a model of each modality alone, on the test patients who have it;
* the model fitted to patients with all modalities only, where some lack one;

and where the run config validates by patients, groups of DIZ, or DIZ left out one by one, the whole procedure again on
each training set, and the sums of the scores of those held out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from flame_strategies.glm_design import DesignError
from flame_strategies.output import save_model
from flame_strategies.sums import Exchange
from flwr.serverapp import Grid

from multimodal_imaging import fusion_fit, fusion_plots, layout
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_model import ClassScores, Fused, Scores, ValueScores, total
from multimodal_imaging.hub import Hub
from multimodal_imaging.presets import unit_of
from multimodal_imaging.results import Outcome, text, with_unit
from multimodal_imaging.settings import Settings
from multimodal_imaging.steps import Steps
from multimodal_imaging.validation import TEST, TRAIN, Population, outer_sets

_log = getLogger("flwr")

Model = TypeVar("Model")

_FEATURES = (
    "by row: the intercept; the features of each modality of `columns` in turn, standardised by centre and scale; for "
    "each of these modalities, 1 where a patient lacks it"
)
_SCORES = (
    "by row: the intercept; the scores of each modality's own model in turn, standardised by centre and scale; for "
    "each modality, 1 where a patient lacks it. late_coefficients (without each fold, and last of all patients) are "
    "these models': for each modality its intercept and its features, standardised by late_centre and late_scale"
)
"""What a saved model's coefficients belong to."""

MEASURE = {"classes": "balanced accuracy", "number": "MAE", "survival": "concordance"}


@dataclass(frozen=True, eq=False)
class FusionResult:
    """What exact fusion found.

    Attributes:
        settings: What was asked.
        model: Of all training patients.
        test: Its scores of the test patients; None without test patients.
        ablation: By modality, scores without it.
        alone: By modality, scores of a model of it alone.
        complete: Scores of the model of complete cases; None where nobody lacks a modality, or too few have all.
        validation: Scores of those held out, summed; None without.
        by_set: The same by fold, group or DIZ.
        exchanges: How many messages each DIZ answered.
    """

    settings: Settings
    model: Fused
    test: Scores | None
    ablation: Mapping[str, Scores] = field(default_factory=dict)
    alone: Mapping[str, Scores] = field(default_factory=dict)
    complete: Scores | None = None
    validation: Scores | None = None
    by_set: tuple[Scores, ...] = ()
    exchanges: int = 0


def run(hub: Hub) -> Outcome:
    """The whole analysis."""
    found, sites = hub.fit(lambda exchange: run_fusion(exchange, hub.settings, grid=hub.grid))
    save(hub.folder, found.model, hub.settings)
    return outcome(hub.folder, found, sites)


def run_fusion(
    exchange: Exchange, settings: Settings, sites: Sequence[int] = (), *, grid: Grid | None = None
) -> FusionResult:
    """Fit, measure, compare, validate.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: What and how.
        sites: Flower's ids of the DIZ; those of the exchange, if it knows them after its first question.
        grid: Is told of every fit; None for one that nobody watches.
    """
    steps = Steps(grid)
    counter = fusion_fit.Counter(exchange)
    view = "complete" if settings.missing == "complete" else "all"
    model = fusion_fit.fit(counter, settings, TRAIN, view=view)
    test = some(fusion_fit.measure(counter, settings, model, TEST))
    ablation: dict[str, Scores] = {}
    alone: dict[str, Scores] = {}
    complete = None
    parts = settings.modalities if test is not None and len(settings.modalities) > 1 else ()
    lacking = view == "all" and test is not None and bool((model.scaling.there < model.scaling.n).any())
    nodes = tuple(sites) or tuple(getattr(exchange, "sites", ()))
    steps.expect(1 + len(parts) + lacking + sets_of(settings, nodes))
    steps.done("all modalities")
    if test is not None:
        for name in parts:
            ablation[name] = fusion_fit.measure(counter, settings, model, TEST, drop=(name,))
        for name in parts:
            own = attempt(lambda name=name: _fit_and_measure(counter, settings, f"only:{name}", model))  # type: ignore[misc]
            if own is not None:
                alone[name] = own
            steps.done(f"{name} alone")
        if lacking:
            complete = attempt(lambda: _fit_and_measure(counter, settings, "complete", model))
            steps.done("complete cases")
    by_set = validate(
        settings,
        nodes,
        lambda training: fusion_fit.fit(counter, settings, training, view=view),
        lambda fitted, held_out: fusion_fit.measure(counter, settings, fitted, held_out),
        steps,
    )
    return FusionResult(settings, model, test, ablation, alone, complete, total(by_set), by_set, counter.count)


def validate(
    settings: Settings,
    nodes: Sequence[int],
    fit: Callable[[Population], Model],
    measure: Callable[[Model, Population], Scores],
    steps: Steps,
) -> tuple[Scores, ...]:
    """Scores of those held out of each training set; none where the DIZ's test patients measure the model."""
    outer = outer_sets(settings.validation, nodes, folds=settings.folds, site_groups=settings.site_groups)
    if outer is None:
        return ()
    found = []
    for k in range(outer.count):
        found.append(measure(fit(outer.one(k)), outer.one(k, held_out=True)))
        steps.done(f"validation, {k + 1} of {outer.count}")
    return tuple(found)


def sets_of(settings: Settings, nodes: Sequence[int]) -> int:
    """How many training sets `validate` fits."""
    outer = outer_sets(settings.validation, nodes, folds=settings.folds, site_groups=settings.site_groups)
    return outer.count if outer else 0


def _fit_and_measure(exchange: Exchange, settings: Settings, view: str, model: Fused) -> Scores:
    """A model of another view; that of complete cases is measured on everybody, what is absent being the mean."""
    records = {name: record for name, record in model.records.items() if name == "combat"}
    fitted = fusion_fit.fit(exchange, settings, TRAIN, view=view, records=records)
    if view == "complete":
        fitted = replace(fitted, view="all")
    return fusion_fit.measure(exchange, settings, fitted, TEST)


def attempt(fit: Callable[[], Scores]) -> Scores | None:
    """A comparison; None where there are too few patients for it."""
    try:
        return some(fit())
    except (InputError, DesignError) as error:
        _log.info("A comparison is left out: %s", error)
        return None


def some(scores: Scores) -> Scores | None:
    """The scores, None of nobody."""
    return scores if scores.n else None


def save(folder: Path, model: Fused, settings: Settings) -> None:
    """``model.safetensors``, and ``model.json`` with the names of what its arrays' entries belong to."""
    columns = {name: int(width) for name, width in zip(model.blocks, model.scaling.widths.tolist(), strict=False)}
    about = {
        "outcome": settings.outcome,
        "classes": list(settings.classes),
        "columns": columns,
        "features": {name: list(names) for name, names in layout.features(settings).items()},
        "coefficients": _SCORES if model.view == "stack" else _FEATURES,
    }
    save_model(folder, model.arrays(), {**about, "view": model.view, "penalty": model.penalty})


def outcome(folder: Path, found: FusionResult, sites: Sequence[int]) -> Outcome:
    """What was found, in the report's shape."""
    settings = found.settings
    models: dict[str, Scores] = {}
    if found.test is not None:
        models["fused"] = found.test
    models |= {f"without {name}": scores for name, scores in found.ablation.items()}
    models |= {f"{name} alone": scores for name, scores in found.alone.items()}
    if found.complete is not None:
        models["complete cases"] = found.complete
    return tell(
        folder,
        settings,
        models,
        found.validation,
        found.by_set,
        title="One model of all modalities",
        notes=_notes(found),
        sites=sites,
        exchanges=found.exchanges,
        details={
            "penalty": found.model.penalty,
            "cross-validated losses": [loss if loss < float("inf") else None for loss in found.model.losses.tolist()],
            **_mend(found.model),
        },
    )


def tell(
    folder: Path,
    settings: Settings,
    models: Mapping[str, Scores],
    validation: Scores | None,
    by_set: Sequence[Scores],
    *,
    title: str,
    notes: Sequence[str],
    sites: Sequence[int],
    exchanges: int,
    details: Mapping[str, object],
) -> Outcome:
    """Headlines, a table of all models, figures; the first model is the one that is told of."""
    measure = MEASURE["survival" if settings.event else "classes" if settings.classes else "number"]
    unit = unit_of(settings.set, settings.outcome)
    what = f"{measure} of {settings.outcome}" + (f", {unit}" if unit else "")
    numbers = {name: scores.numbers(settings.classes) for name, scores in models.items()}
    headline, figures = [], []
    if models:
        name, scores = next(iter(models.items()))
        headline.append(_line(f"Test {measure}", settings, scores, numbers[name][measure], "test patients"))
        caption = f"{what} on test patients, summed over the DIZ; a modality alone on those who have it."
        shown = {of: values[measure] for of, values in numbers.items()}
        figures.append(
            fusion_plots.bars(folder, "models", shown, what, title="What each model scores", caption=caption)
        )
        if isinstance(scores, ClassScores):
            figures.append(fusion_plots.reliability(folder, scores.reliability))
    if validation is not None:
        numbers["validation"] = validation.numbers(settings.classes)
        numbers |= {f"held out {k}": scores.numbers(settings.classes) for k, scores in enumerate(by_set)}
        who = f"patients; the whole procedure again without them, by {settings.validation}"
        headline.append(_line(f"Held-out {measure}", settings, validation, numbers["validation"][measure], who))
    columns = list(next(iter(numbers.values()))) if numbers else []
    table = {
        "title": "Models",
        "caption": f"{what}: on patients that a model was not fitted to.",
        "columns": ["model", *columns],
        "rows": [[name, *(text(values[column]) for column in columns)] for name, values in numbers.items()],
    }
    return Outcome(
        title,
        tuple(headline),
        tuple(figures),
        (table,) if numbers else (),
        tuple(notes),
        tuple(sites),
        exchanges,
        numbers,
        dict(details),
    )


def _line(label: str, settings: Settings, scores: Scores, value: float, who: str) -> dict[str, str]:
    """A headline: a measure of the outcome, of how many patients, and what there is without any model."""
    shown = text(value)
    if isinstance(scores, ValueScores):
        unit = unit_of(settings.set, settings.outcome)
        shown, mean = with_unit(value, unit), with_unit(scores.rmse_of_mean, unit)
        guess = f"RMSE {with_unit(scores.rmse, unit)}, predicting these patients' mean {mean}"
    elif isinstance(scores, ClassScores):
        of = scores.confusion.sum(axis=1)
        guess = f"the most frequent class for all {text(1 / int((of > 0).sum()))}" if scores.n else ""
    else:
        guess = "a coin 0.5"
    note = f"{scores.n} {who}" + (f"; {guess}" if guess else "")
    return {"label": f"{label} of {settings.outcome}", "value": shown, "note": note}


def division_note(settings: Settings) -> tuple[str, ...]:
    """What a scheme of validation lets the hub compute."""
    if settings.validation == "leave-one-out":
        told = (
            "DIZ were left out one by one, as the approved run config says: from sums with and without a DIZ the hub "
            "can compute that DIZ's own sums (counts, means, second moments, gradients), masks notwithstanding."
        )
        return (told,)
    if settings.validation == "sites":
        return ("DIZ were left out in groups of at least two: the hub can compute sums over a group.",)
    return ()


def _notes(found: FusionResult) -> list[str]:
    settings, scaling = found.settings, found.model.scaling
    lacking = [
        f"{name} ({scaling.n - there})"
        for name, there in zip(found.model.blocks, scaling.there.tolist(), strict=True)
        if there < scaling.n
    ]
    notes = []
    if lacking and settings.missing != "complete":
        how = "foretold from the other modalities" if settings.missing == "impute" else "the mean"
        notes.append(
            f"Training patients without a modality: {', '.join(lacking)}; what is absent is {how}, and marked."
        )
    if settings.harmonise == "combat":
        notes.append("Images and omics were harmonised by ComBat; each DIZ's shifts and spreads stayed there.")
    return [*notes, *division_note(settings)]


def _mend(model: Fused) -> dict[str, object]:
    if model.mend is None:
        return {}
    return {"calibration": {"shift": model.mend.shift, "slope": model.mend.slope, "patients": model.mend.n}}
