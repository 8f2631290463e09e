"""The app's part of the run report, from what reached the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flame_strategies.approval import Roster

from methylation_age import adaptation_report, plots
from methylation_age.clock import ADAPTED, ELASTIC_NET, MLP
from methylation_age.evaluation_run import Evaluation
from methylation_age.report_text import number

TITLES = {ADAPTED: "Adapted elastic net", ELASTIC_NET: "Elastic net", MLP: "MLP"}

DATA_NOTE = (
    "Measured values: GSE74193 (dorsolateral prefrontal cortex, Illumina 450k, public), unless you "
    "prepared other tables. The set names no hospital: which sample lies at which virtual DIZ is drawn by age, so "
    "that the DIZ differ; the sites, not the values, are synthetic. One array counts as one patient."
)

TARGET_NOTE = (
    "A target that was prepared with --shift is synthetic in its shift: real samples, some of whose CpGs were changed."
)


def build(
    folder: Path,
    roster: Roster,
    training: Mapping[str, Mapping[str, Any]],
    evaluations: Mapping[str, Evaluation],
    on_target: Mapping[str, Evaluation],
) -> dict[str, Any]:
    """Draw the figures into `folder` and return the content of ``report.json``.

    Args:
        folder: The run's folder.
        roster: The gates' answers.
        training: By clock, as in the model's description.
        evaluations: By clock, on the test samples.
        on_target: By clock, on the samples that a clock was adapted to.
    """
    measured = {
        name: evaluation
        for name, evaluation in evaluations.items()
        if evaluation.overall is not None and evaluation.overall.n
    }
    adapted = training.get(ADAPTED)
    figures = adaptation_report.figures(folder, adapted) if adapted else []
    if measured:
        by_site = {
            TITLES[name]: {site: accuracy.mae for site, accuracy in evaluation.by_site.items() if accuracy.n > 0}
            for name, evaluation in measured.items()
        }
        figures.append(plots.error_by_site(folder, by_site))
        figures.append(plots.decades(folder, next(iter(measured.values())).decades))
    if path := training.get(ELASTIC_NET):
        figures.append(plots.cv_curve(folder, path))
    if by_round := training.get(MLP, {}).get("mae_by_round"):
        figures.append(plots.error_by_round(folder, {int(number): mae for number, mae in by_round.items()}))
    return {
        "title": "Age from DNA methylation",
        "synthetic": False,
        "data_note": f"{DATA_NOTE} {TARGET_NOTE}" if adapted else DATA_NOTE,
        "headline": (adaptation_report.headline(adapted, on_target) if adapted else [])
        + [item for name, evaluation in measured.items() for item in _headline(name, evaluation)],
        "figures": figures,
        "tables": (adaptation_report.tables(on_target) if adapted else [])
        + [_accuracy_table(name, evaluation) for name, evaluation in measured.items()],
        "notes": (adaptation_report.notes(adapted, on_target) if adapted else [])
        + _notes(roster, training, evaluations, on_target),
    }


def _headline(name: str, evaluation: Evaluation) -> list[dict[str, str]]:
    overall = evaluation.overall
    if overall is None:
        return []
    note = f"{overall.n} test samples at {evaluation.sites} DIZ, from sums of errors"
    return [
        {"label": f"{TITLES[name]}: mean absolute error", "value": f"{number(overall.mae)} years", "note": note},
        {"label": f"{TITLES[name]}: correlation with age", "value": number(overall.r, 3), "note": note},
    ]


def _accuracy_table(name: str, evaluation: Evaluation) -> dict[str, Any]:
    rows = [*evaluation.by_site.items(), *([("all", evaluation.overall)] if evaluation.overall else [])]
    return {
        "title": f"{TITLES[name]}: accuracy by DIZ",
        "caption": "Years. Formed at the hub from eight sums per DIZ; no prediction left a DIZ.",
        "columns": ["DIZ", "test samples", "MAE", "RMSE", "bias", "r"],
        "rows": [[site, a.n, number(a.mae), number(a.rmse), number(a.bias), number(a.r, 3)] for site, a in rows],
    }


def _notes(
    roster: Roster,
    training: Mapping[str, Mapping[str, Any]],
    evaluations: Mapping[str, Evaluation],
    on_target: Mapping[str, Evaluation],
) -> list[str]:
    notes = []
    if path := training.get(ELASTIC_NET):
        notes.append(
            f"The elastic net took {path['rounds']} exchanges of sums; {path['columns_requested']} of the CpGs' "
            f"columns of the second-moment matrix left the DIZ. Its optimality conditions hold over all CpGs, for all "
            f"penalties and folds, to {path['kkt_gap']:.1e} of the penalty."
        )
        masked = any(evaluation.is_masked for evaluation in (*evaluations.values(), *on_target.values()))
        notes.append(
            "Secure aggregation: the hub could read sums over all DIZ alone. Sums over fewer patients than CpGs still "
            "say much about the patients together, which no mask hides."
            if masked
            else "Sums over fewer patients than CpGs say much about the patients. Without secure aggregation, what "
            "protects them is the steward's decision to approve this analysis, not arithmetic."
        )
    if not roster.refusals and not roster.silent:
        notes.append(f"All {len(roster.approved)} DIZ approved.")
    notes += [
        f"{TITLES[name]}: {evaluation.refused} DIZ let no accuracy leave."
        for name, evaluation in evaluations.items()
        if evaluation.refused
    ]
    return notes
