"""The files of a polygenic score, and what the report says of it.

``model.json`` and ``model.safetensors`` hold all that a DIZ needs to score its own patients; ``score.txt`` is the same
as a scoring file of the PGS Catalog (format 2.0), which other programs read.
"""

from typing import Any

import numpy as np
from flame_strategies.output import save_model, write_atomically

from gwas import plots
from gwas.hub import Hub
from gwas.panel import chromosome_name
from gwas.polygenic_score import Score
from gwas.presets import PRESETS, made_up
from gwas.results import Outcome, group, text
from gwas.score_evaluation import Evaluation

SCHEMA = 1
SCORE_FILE = "score.txt"

TOP = 100
"""Variants in the report."""


def write(hub: Hub, score: Score) -> None:
    """Write model and scoring file."""
    settings, panel, index = hub.settings, hub.panel, score.index
    arrays = {
        "weights": score.weights,
        "mean": score.mean,
        "covariates": score.covariates,
        "centre": score.null.arrays["centre"][:-1],
        "scale": score.null.arrays["scale"][:-1],
    }
    metadata = {
        "schema": SCHEMA,
        "kind": "polygenic score",
        "synthetic": _synthetic(hub),
        "phenotype": settings.phenotype,
        "binary": settings.binary,
        "build": panel.build,
        "panel": panel.name,
        "terms": list(score.null.terms),
        "numeric": list(settings.numeric),
        "levels": {name: list(settings.levels[name]) for name in settings.categorical},
        "model": settings.score_model,
        "variants": {
            "id": panel.id[index].tolist(),
            "chromosome": panel.chromosome[index].tolist(),
            "position": panel.position[index].tolist(),
            "effect_allele": panel.alt[index].tolist(),
            "other_allele": panel.ref[index].tolist(),
        },
    }
    save_model(hub.folder, arrays, metadata)
    write_atomically(hub.folder / SCORE_FILE, scoring_file(hub, score))


def scoring_file(hub: Hub, score: Score) -> bytes:
    """The score in the PGS Catalog's format 2.0."""
    settings, panel = hub.settings, hub.panel
    mark = made_up(settings.set, settings.phenotype)
    build = panel.build if panel.build.startswith("GRCh") else "NR"
    head = [
        "###PGS CATALOG SCORING FILE",
        "#format_version=2.0",
        "##POLYGENIC SCORE (PGS) INFORMATION",
        "#pgs_id=NR",
        f"#pgs_name={settings.set}-{settings.phenotype}",
        f"#trait_reported={settings.phenotype}{f' ({mark})' if mark else ''}",
        f"#genome_build={build}",
        f"#variants_number={len(score.index)}",
        "#weight_type=beta",
        "\t".join(
            (
                *("rsID", "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight"),
                "allelefrequency_effect",
            )
        ),
    ]
    rows = [
        "\t".join(
            (
                str(panel.id[at]) if str(panel.id[at]).startswith("rs") else "",
                chromosome_name(int(panel.chromosome[at])),
                str(panel.position[at]),
                str(panel.alt[at]),
                str(panel.ref[at]),
                repr(float(weight)),
                repr(float(mean) / 2),
            )
        )
        for at, weight, mean in zip(score.index.tolist(), score.weights, score.mean, strict=True)
    ]
    return ("\n".join([*head, *rows]) + "\n").encode()


def outcome(hub: Hub, scan: Outcome, score: Score, found: Evaluation, sites: tuple[int, ...]) -> Outcome:
    """What was found, with that of the scan after it.

    Args:
        hub: The run.
        scan: Of the training samples.
        score: What was trained.
        found: Its evaluation.
        sites: The nodes that the score is of.
    """
    settings, fit = hub.settings, score.fit
    mark = made_up(settings.set, settings.phenotype)
    figures = [
        *found.figures(hub.folder, settings),
        plots.penalties(hub.folder, fit.penalties, fit.cv_mse, fit.null_mse, fit.best, mark=mark),
    ]
    numbers = {
        **found.numbers(),
        "score": group(
            ["candidates", "clumps", "variants", "penalty", "held-out squared error", "of the covariates alone"],
            [
                *(score.candidates, score.clumps, len(score.index), fit.penalties[fit.best]),
                *(fit.cv_mse[fit.best] * score.null.y_scale**2, fit.null_mse * score.null.y_scale**2),
            ],
        ),
    }
    return Outcome(
        title=scan.title,
        headline=(*_headline(hub, score, found), *scan.headline),
        figures=(*figures, *scan.figures),
        tables=(_variants(hub, score), *found.table(), *scan.tables),
        notes=(*_notes(hub, found), *scan.notes),
        sites=sites,
        exchanges=scan.exchanges + score.exchanges + 1,
        numbers={**numbers, **scan.numbers},
        details={
            **scan.details,
            "score": {
                "index": score.index.tolist(),
                "penalties": fit.penalties.tolist(),
                "cv_mse": fit.cv_mse.tolist(),
            },
        },
    )


def _headline(hub: Hub, score: Score, found: Evaluation) -> list[dict[str, str]]:
    p = found.prediction
    note = f"{hub.settings.score_model}, of {score.candidates} candidates in {score.clumps} clumps"
    entries = [{"label": "variants in the score", "value": str(len(score.index)), "note": note}]
    if not found.there:
        return entries
    if hub.settings.binary:
        auc, off = found.auc
        note = f"± {off:.3f} by the bins; {p.n} test samples"
        return [{"label": "AUC of the score", "value": text(auc, 3), "note": note}, *entries]
    note = f"{text(p.added, 3)} more than the covariates; {p.n} test samples"
    return [{"label": "R² on test samples", "value": text(p.r2, 3), "note": note}, *entries]


def _notes(hub: Hub, found: Evaluation) -> list[str]:
    how = (
        "Variants were chosen and weighted on the training samples of all DIZ, and evaluated on their test samples. "
        "The held-out error of the penalty's choice is too good, since the scan has seen all folds."
    )
    notes = [how, "A score carries over badly to people of other ancestry than those it was trained on."]
    if found.there:
        p = found.prediction
        notes.append(
            f"Calibration: outcome = {text(p.intercept, 3)} + {text(p.slope, 3)} × prediction on the test samples; "
            "0 and 1 would be perfect."
        )
    else:
        notes.append(
            "The score could not be evaluated: too few test samples carry one of its variants, or a DIZ did not answer."
        )
    if hub.settings.binary:
        notes.append(
            "The disease was fitted as 0 and 1 by least squares, so that sums suffice; a prediction is no risk."
        )
    return notes


def _variants(hub: Hub, score: Score) -> dict[str, Any]:
    panel = hub.panel
    order = np.argsort(-np.abs(score.weights), kind="stable")[:TOP]
    rows = [
        [
            str(panel.id[at]),
            f"{chromosome_name(int(panel.chromosome[at]))}:{panel.position[at]}",
            str(panel.alt[at]),
            text(float(weight)),
            text(float(mean) / 2, 3),
        ]
        for at, weight, mean in zip(score.index[order].tolist(), score.weights[order], score.mean[order], strict=True)
    ]
    columns = ["variant", "position", "effect allele", "weight", "frequency"]
    return {
        "title": "Variants of the score",
        "caption": "The largest weights, per copy of the effect allele.",
        "columns": columns,
        "rows": rows,
    }


def _synthetic(hub: Hub) -> bool:
    preset = PRESETS.get(hub.settings.set)
    return bool(preset and preset.synthetic)
