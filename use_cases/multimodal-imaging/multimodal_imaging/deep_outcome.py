"""What the network's run found, in the report's shape; and the model, as ``model.safetensors`` and ``model.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from flame_strategies.output import save_model

from multimodal_imaging import deep_model, deep_plots, layout, saliency_plots
from multimodal_imaging.deep_result import DeepResult
from multimodal_imaging.deep_scores import (
    CLASS_MEASURES,
    NUMBER_MEASURES,
    Scores,
    class_scores,
    error_step,
    number_scores,
    view_names,
)
from multimodal_imaging.presets import unit_of
from multimodal_imaging.results import Outcome, text, with_unit
from multimodal_imaging.temperature import share_within, width_for

COVERAGE = 0.9
"""Share of patients that a calibrated interval is to hold."""


def build(folder: Path, found: DeepResult, sites: Sequence[int], exchanges: int) -> Outcome:
    """Write the model, draw, and tell.

    Args:
        folder: The run's.
        found: What was found.
        sites: The DIZ that were scored.
        exchanges: How many messages each of them answered.
    """
    settings, names = found.settings, view_names(found.settings.modalities)
    classes = bool(settings.classes)
    scores = class_scores(found.test) if classes else number_scores(found.test)
    save(folder, found)
    figures: list[Mapping[str, str]] = (
        [deep_plots.learning(folder, found.trained.losses)] if found.trained.losses else []
    )
    figures.append(deep_plots.ablation(folder, names, scores, "auc" if classes else "mae"))
    headline, numbers = [_line("test patients", str(scores[0].patients), "scored by the network of the last round")], {}
    calibration = _classes(folder, found, figures) if classes else _numbers(folder, found, figures)
    headline += _best(found, scores[0])
    headline += [_line(name, text(value), note) for name, value, note in calibration]
    numbers["calibration"] = {name: value for name, value, _ in calibration}
    measures = CLASS_MEASURES if classes else NUMBER_MEASURES
    for name, score in zip(names, scores, strict=True):
        numbers[f"test, {name}"] = {"patients": float(score.patients), **score.measures}
    figures += pictures(folder, found)
    return Outcome(
        title="Encoders of several modalities and their fusion",
        headline=tuple(headline),
        figures=tuple(figures),
        tables=(_ablation_table(names, scores, measures), _holders_table(found)),
        notes=_notes(found),
        sites=tuple(sites),
        exchanges=exchanges,
        numbers=numbers,
        details={
            "losses": {str(n): loss for n, loss in found.trained.losses.items()},
            "holders": {str(n): dict(had) for n, had in found.trained.holders.items()},
            "temperature": asdict(found.temperature),
        },
    )


def save(folder: Path, found: DeepResult) -> None:
    """Write the network; with FedBN without the normalisation layers, which no DIZ has sent."""
    recipe, inputs, settings = found.inputs.recipe, found.inputs, found.settings
    whole = deep_model.unpack(found.trained.packed, recipe)
    local = set(deep_model.local_names(recipe))
    arrays = {f"weights/{name}": array for name, array in whole.items() if name not in local}
    described = {
        "app": "multimodal-imaging",
        "predicts": settings.outcome,
        "task": settings.task,
        "classes": list(settings.classes),
        "modalities": {of.name: {"kind": settings.kind(of.name), "shape": list(of.shape)} for of in recipe.inputs},
        "features": {n: list(f) for n, f in layout.features(settings).items() if settings.kind(n) != "image"},
        "outcome_centre": inputs.outcome[0],
        "outcome_scale": inputs.outcome[1],
        "temperature": found.temperature.value,
        "recipe": {**asdict(recipe), "inputs": [asdict(of) for of in recipe.inputs]},
        "missing_values": "0 after standardising, with 1 in the indicator beside the feature",
        "kept_at_the_sites": sorted(local),
        "training": {
            "rounds": len(found.trained.losses),
            "patients": dict(inputs.patients),
            "holders": dict(inputs.holders),
        },
    }
    save_model(folder, {**arrays, "centre": inputs.centre, "scale": inputs.scale}, described)


def pictures(folder: Path, found: DeepResult) -> list[Mapping[str, str]]:
    """What the network looks at; nothing of modalities that too few patients have."""
    if found.saliency is None:
        return []
    settings, recipe, sums = found.settings, found.inputs.recipe, found.saliency
    counts = dict(zip(settings.modalities, (int(v) for v in sums["counts"]), strict=True))
    shapes = {of.name: of.shape for of in recipe.inputs}
    maps = saliency_plots.split_maps(sums["maps"], shapes)
    images = layout.shapes(settings)
    behind = saliency_plots.split_maps(sums["images"], images) if images else {}
    figures: list[Mapping[str, str]] = [
        saliency_plots.image(folder, name, maps[name] / counts[name], behind[name] / counts[name], counts[name])
        for name in images
        if counts[name]
    ]
    features = layout.features(settings)
    tables = {n: (features[n], maps[n] / counts[n]) for n in settings.modalities if n not in images and counts[n]}
    if (drawn := saliency_plots.tables(folder, tables)) is not None:
        figures.append(drawn)
    weights = np.asarray(sums["weights"], dtype=np.float64)
    if (weights[:, -1] > 0.5).all():
        figures.append(saliency_plots.fusion_weights(folder, settings.modalities, weights[:, :-1] / weights[:, -1:]))
    return figures


def _classes(folder: Path, found: DeepResult, figures: list[Mapping[str, str]]) -> list[tuple[str, float, str]]:
    raw = found.raw if found.raw is not None else found.test
    figures.append(
        deep_plots.calibration(
            folder, np.asarray(raw["scores"][0], np.int64), np.asarray(found.test["scores"][0], np.int64)
        )
    )
    before = class_scores(raw)[0].measures
    return [
        ("temperature", found.temperature.value, f"found on {found.temperature.patients} patients apart"),
        ("ece as trained", before["ece"], "calibration error of the test patients at temperature 1"),
    ]


def _numbers(folder: Path, found: DeepResult, figures: list[Mapping[str, str]]) -> list[tuple[str, float, str]]:
    step = error_step(found.inputs.outcome[1])
    width = width_for(np.asarray(found.calibration["errors"][0], np.int64), step, COVERAGE)
    counts = np.asarray(found.test["errors"][0], np.int64)
    figures.append(deep_plots.errors(folder, counts, step, width, COVERAGE))
    patients = int(found.calibration["n"][0])
    return [
        ("interval", width, f"on both sides, to hold {COVERAGE:.0%}; found on {patients} patients apart"),
        ("in the interval", share_within(counts, step, width), "share of the test patients"),
    ]


def _best(found: DeepResult, score: Scores) -> list[Mapping[str, str]]:
    """The headlines of what is predicted, and what there is without any model."""
    settings, of = found.settings, score.measures
    if settings.classes:
        seen = int((np.asarray(found.test["confusion"][0]).sum(axis=1) > 0).sum())
        guess = f"the most frequent class for all {text(1 / seen)}" if seen else ""
        return [
            _line(f"balanced accuracy of {settings.outcome}", text(of["balanced accuracy"]), guess),
            _line("auc", text(of["auc"]), "0.5 if the probability said nothing"),
            _line("ece", text(of["ece"]), "calibration error"),
        ]
    unit = unit_of(settings.set, settings.outcome)
    y, square = np.asarray(found.test["values"], dtype=np.float64)[0, :2] / max(score.patients, 1)
    mean = with_unit(float(np.sqrt(max(square - y * y, 0.0))), unit)
    return [
        _line(
            f"MAE of {settings.outcome}",
            with_unit(of["mae"], unit),
            f"mean absolute error; RMSE {with_unit(of['rmse'], unit)}, predicting these patients' mean {mean}",
        ),
        _line("r2", text(of["r2"]), "1 - squared error / variance: predicting the mean has 0"),
        _line("r", text(of["r"]), "correlation with the truth"),
    ]


def _ablation_table(names: Sequence[str], scores: Sequence[Scores], measures: Sequence[str]) -> Mapping[str, Any]:
    return {
        "title": "Test patients, by what the network may look at",
        "caption": "Hidden modalities were not trained anew without. Everybody is in each view; of whom one leaves "
        "nothing, the network says its offset.",
        "columns": ["View", "Patients", *measures],
        "rows": [
            [name, str(score.patients), *(text(score.measures[measure]) for measure in measures)]
            for name, score in zip(names, scores, strict=True)
        ],
    }


def _holders_table(found: DeepResult) -> Mapping[str, Any]:
    last = found.trained.holders[max(found.trained.holders)] if found.trained.holders else {}
    return {
        "title": "Whose encoders were averaged",
        "caption": "Each encoder is the mean over the DIZ that have its modality, weighted by their patients with it.",
        "columns": ["Modality", "DIZ", "DIZ in the last round", "Training patients"],
        "rows": [
            [name, str(count), str(last.get(name, "–")), str(found.inputs.patients[name])]
            for name, count in found.inputs.holders.items()
        ],
    }


def _notes(found: DeepResult) -> tuple[str, ...]:
    settings = found.settings
    notes = [
        f"{settings.rounds} rounds of {settings.strategy}, {settings.fusion} fusion, normalisation by {settings.norm}.",
        "Averages of networks are not a network trained on pooled patients.",
    ]
    if settings.norm == deep_model.BATCH and settings.strategy != deep_model.FEDBN:
        notes.append('BatchNorm in federated averaging is here as a bad baseline; state norm = "group".')
    if settings.strategy == deep_model.FEDBN:
        notes.append(
            "The normalisation layers stayed at the DIZ, in their sessions of this run: the saved model is without "
            "them, and a DIZ whose session began again began them anew."
        )
    return tuple(notes)


def _line(label: str, value: str, note: str = "") -> Mapping[str, str]:
    return {"label": label, "value": value, "note": note}
