"""What the phenotype analyses found, in the report's shape: headlines, tables, numbers, and curves as plain lists."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from flame_strategies.cox import CoxFit

from gene_expression.classify_model import Scores
from gene_expression.classify_run import ClassifyResult
from gene_expression.curves import Concordance, Roc, Survival, kaplan_meier
from gene_expression.results import Outcome, group, text
from gene_expression.screen_run import Screened
from gene_expression.site_rows import GENE
from gene_expression.stability import Stability
from gene_expression.survival_run import SurvivalResult

if TYPE_CHECKING:
    from gene_expression.mlp_run import MlpResult

TOP = 50
"""Rows of a table at most."""

_BINNED = (
    "Scores are counted in bins: two samples of one bin count as tied, and the interval says between which values the "
    "figure of the scores themselves lies."
)


def classify_outcome(result: ClassifyResult, sites: tuple[int, ...], exchanges: int) -> Outcome:
    """Of a penalised logistic regression."""
    paths = dict(zip(result.model.scored, result.model.paths, strict=True))
    rows = [[level, term, text(value)] for level, term, value in result.model.table()]
    coefficients: dict[str, dict[str, float]] = {
        f"coefficient, {level}": group(result.model.design.terms, row)
        for level, row in zip(result.model.scored, result.model.coefficients, strict=True)
    }
    penalty = {f"lambda, {level}": float(path.lambdas[path.best_one_se]) for level, path in paths.items()}
    notes = [_BINNED]
    if result.validation is None:
        notes.append("Without outer cross-validation: nothing says how well other patients would be told apart.")
    elif result.settings.validation == "sites":
        notes.append(f"Validated by {len(result.by_fold)} groups of DIZ, each of which no model saw.")
    return Outcome(
        title=f"Classification of {result.settings.outcome}",
        headline=tuple(_auc_lines(result.validation, result.test)),
        tables=(
            _table("Model", "Coefficients in own units.", ["Class", "Term", "Coefficient"], rows),
            *(_screen_table(level, screened) for level, screened in result.screens.items()),
            *_score_tables(result.settings.classes, result.validation, result.test),
            *_stability_tables(result.stability),
        ),
        notes=tuple(notes),
        sites=sites,
        exchanges=exchanges,
        numbers={**coefficients, "penalty": penalty, **_auc_numbers(result.validation, result.test)},
        details={
            "roc": _roc_details(result.validation, result.by_fold, result.test, result.test_by_site),
            "stability": {level: _stability_details(found) for level, found in result.stability.items()},
            "path": {
                level: {
                    "lambdas": path.lambdas.tolist(),
                    "deviance": [] if path.cv_deviance is None else path.cv_deviance.tolist(),
                    "error": [] if path.cv_se is None else path.cv_se.tolist(),
                    "support": path.support.tolist(),
                    "chosen": path.best_one_se,
                    "kkt_gap": path.kkt_gap,
                }
                for level, path in paths.items()
            },
        },
    )


def mlp_outcome(result: "MlpResult", sites: tuple[int, ...], exchanges: int, rounds: int) -> Outcome:
    """Of a multilayer perceptron."""
    design = result.inputs.design
    return Outcome(
        title=f"A network for {result.settings.outcome}",
        headline=tuple(_auc_lines(result.validation, result.test)),
        tables=(
            *(_screen_table(level, screened) for level, screened in result.screens.items()),
            *_score_tables(result.settings.classes, result.validation, result.test),
            *_stability_tables(result.stability),
        ),
        notes=(
            _BINNED,
            f"{rounds} rounds of averaging; {len(design.columns)} inputs, {result.recipe.hidden} hidden units.",
            "Averages of networks are not a network trained on pooled rows.",
        ),
        sites=sites,
        exchanges=exchanges,
        numbers=_auc_numbers(result.validation, result.test),
        details={
            "roc": _roc_details(result.validation, result.by_fold, result.test, result.test_by_site),
            "stability": {level: _stability_details(found) for level, found in result.stability.items()},
            "inputs": [name.removeprefix(GENE) for name in design.columns],
        },
    )


def survival_outcome(result: SurvivalResult, sites: tuple[int, ...], exchanges: int) -> Outcome:
    """Of a survival analysis."""
    settings, model = result.settings, result.model
    times = settings.times
    names = [name.removeprefix(GENE) for name in model.design.columns]
    overall = kaplan_meier(times, result.overall)
    measured = {"cross-validation": result.validation, "test samples": result.test}
    found = {name: scores for name, scores in measured.items() if scores is not None}
    numbers: dict[str, dict[str, float]] = {"coefficient": group(names, model.coefficients)}
    rows = [[name, text(value)] for name, value in zip(names, model.coefficients.tolist(), strict=True)]
    columns, notes = ["Term", "Log odds ratio"], [_BINNED]
    if isinstance(model.fit, CoxFit):
        c = model.fit.coefficients
        numbers |= {"standard error": group(names, c.standard_error), "p": group(names, c.p_value)}
        parts = zip(names, np.exp(c.estimate), np.exp(c.lower), np.exp(c.upper), c.p_value, strict=True)
        rows = [[name, *(text(float(value)) for value in rest)] for name, *rest in parts]
        columns = ["Term", "Hazard ratio", "Lower", "Upper", "p"]
        notes.append("The genes were chosen in the same samples: read their p as a description.")
        if model.fit.off_grid:
            notes.append(f"{model.fit.off_grid} times were rounded up to the grid; {model.fit.beyond} end at its end.")
    for name, scores in found.items():
        numbers[name] = {**_interval("C", scores.concordance), "log-rank": scores.test.statistic}
    numbers["Kaplan-Meier"] = group([f"{time:g}" for time in times.tolist()], overall.survival)
    by_site = {name: kaplan_meier(times, counts) for name, counts in result.overall_by_site.items()}
    risk = {name: scores.curves(times) for name, scores in found.items()}
    stable = {} if result.stability is None else {settings.event: result.stability}
    return Outcome(
        title=f"Survival: {settings.event} by {settings.time}",
        headline=tuple(_line(f"C, {name}", scores.concordance) for name, scores in found.items()),
        tables=(
            _table("Model", f"{'Cox' if settings.model == 'cox' else 'Discrete time'}, by term.", columns, rows),
            _screen_table(settings.event, result.screen),
            *_stability_tables(stable),
        ),
        notes=tuple(notes),
        sites=sites,
        exchanges=exchanges,
        numbers=numbers,
        details={
            "kaplan_meier": {
                "overall": {"all": _curve(overall)},
                "by_site": {name: {"all": _curve(curve)} for name, curve in by_site.items()},
                **{name: {label: _curve(c) for label, c in curves.items()} for name, curves in risk.items()},
            },
            "log_rank": {
                name: {"statistic": _finite(s.test.statistic), "degrees": s.test.degrees, "p": _finite(s.test.p_value)}
                for name, s in found.items()
            },
            "concordance_by_fold": [_finite(scores.concordance.index) for scores in result.by_fold],
            "stability": {name: _stability_details(one) for name, one in stable.items()},
        },
    )


def _auc_lines(validation: Scores | None, test: Scores | None) -> list[dict[str, str]]:
    named = {"cross-validation": validation, "test samples": test}
    lines = [
        _line(f"AUC of {level}, {name}", curve)
        for name, scores in named.items()
        if scores is not None
        for level, curve in scores.curves.items()
    ]
    return lines or [{"label": "AUC", "value": "–", "note": "no samples were held out"}]


def _line(label: str, found: Roc | Concordance) -> dict[str, str]:
    value = found.auc if isinstance(found, Roc) else found.index
    return {"label": label, "value": text(value), "note": f"between {text(found.low)} and {text(found.high)} unbinned"}


def _interval(name: str, found: Roc | Concordance) -> dict[str, float]:
    value = found.auc if isinstance(found, Roc) else found.index
    return {name: value, f"{name}, low": found.low, f"{name}, high": found.high}


def _auc_numbers(validation: Scores | None, test: Scores | None) -> dict[str, dict[str, float]]:
    numbers = {}
    for name, scores in {"cross-validation": validation, "test samples": test}.items():
        if scores is not None:
            numbers[name] = {"samples": float(scores.samples), "accuracy": scores.accuracy}
            for level, curve in scores.curves.items():
                numbers[name] |= _interval(f"AUC of {level}", curve)
                numbers[name][f"Brier of {level}"] = scores.brier[level]
    return numbers


def _table(title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": list(columns), "rows": [list(row) for row in rows]}


def _screen_table(of: str, screened: Screened) -> dict[str, Any]:
    top, statistic = screened.top(0, TOP), dict(zip(screened.genes, screened.statistic[0].tolist(), strict=True))
    name = "t" if screened.degrees == 2 else "Standardised score"
    caption = f"The first {len(top)} of {len(screened.genes)} genes in the training samples, for {of}."
    return _table(f"Screen, {of}", caption, ["Gene", name], [[gene, text(statistic[gene])] for gene in top])


def _score_tables(classes: Sequence[str], validation: Scores | None, test: Scores | None) -> list[dict[str, Any]]:
    found = []
    for name, scores in {"cross-validation": validation, "test samples": test}.items():
        if scores is not None:
            rows = [[level, *map(str, row)] for level, row in zip(classes, scores.confusion.tolist(), strict=True)]
            caption = "Samples by class (rows) and predicted class (columns)."
            found.append(_table(f"Predicted classes, {name}", caption, ["Class", *classes], rows))
    return found


def _stability_tables(of: Mapping[str, Stability]) -> list[dict[str, Any]]:
    return [
        _table(
            f"Stability of the choice, {name}",
            f"Share of {found.choices} halves of the patients in which the screen chooses the gene; index "
            f"{text(found.index)} (1: always the same genes, 0: as by chance).",
            ["Gene", "Frequency"],
            [[gene, text(share)] for gene, share in found.table(TOP)],
        )
        for name, found in of.items()
    ]


def _roc_details(
    validation: Scores | None, by_fold: Sequence[Scores], test: Scores | None, by_site: Mapping[str, Scores]
) -> dict[str, Any]:
    named = {"validation": validation, "overall": test}
    details: dict[str, Any] = {
        name: {level: _roc(curve) for level, curve in scores.curves.items()}
        for name, scores in named.items()
        if scores is not None
    }
    details["by_site"] = {
        name: {level: _roc(curve) for level, curve in scores.curves.items()} for name, scores in by_site.items()
    }
    details["auc_by_fold"] = [
        {level: _finite(curve.auc) for level, curve in scores.curves.items()} for scores in by_fold
    ]
    return details


def _roc(curve: Roc) -> dict[str, Any]:
    return {
        "fpr": curve.fpr.tolist(),
        "tpr": curve.tpr.tolist(),
        "auc": _finite(curve.auc),
        "low": _finite(curve.low),
        "high": _finite(curve.high),
        "negative": curve.negative,
        "positive": curve.positive,
    }


def _curve(curve: Survival) -> dict[str, Any]:
    return {
        "time": curve.time.tolist(),
        "survival": curve.survival.tolist(),
        "at_risk": curve.at_risk.tolist(),
        "events": curve.events.tolist(),
        "lower": curve.lower.tolist(),
        "upper": curve.upper.tolist(),
    }


def _stability_details(found: Stability) -> dict[str, Any]:
    order = np.argsort(-found.frequency, kind="stable")[:TOP].tolist()
    return {
        "genes": [found.genes[place] for place in order],
        "frequency": [float(found.frequency[place]) for place in order],
        "index": _finite(found.index),
        "choices": found.choices,
    }


def _finite(value: float) -> float | None:
    """As JSON has it."""
    return float(value) if isfinite(value) else None
