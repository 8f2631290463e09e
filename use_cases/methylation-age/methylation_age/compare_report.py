"""What `compare` adds to a run's report: headline, tables, and how they are merged into ``report.json``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flame_strategies.output import write_report_json

from methylation_age.errors import InputError

OUTSIDE = "outside the gate, simulation only"


@dataclass(frozen=True)
class Row:
    """One model on the test samples of all DIZ.

    Attributes:
        model: Its name.
        kind: Federated, pooled, local or published.
        mae: Mean absolute error, years.
        median: Median absolute error, years.
        r: Pearson's correlation.
        note: What else is worth knowing.
    """

    model: str
    kind: str
    mae: float
    median: float
    r: float
    note: str = ""


@dataclass(frozen=True)
class NoiseRow:
    """One derived analysis: the same network with or without the gate's noise.

    Attributes:
        model: Its name.
        inputs: Where its inputs were chosen: at the DIZ (federated) or from public knowledge.
        ground: What the privacy claim stands on.
        epsilon: Of the whole run per DIZ; None without a claim.
        noise_multiplier: Noise per coordinate over clip_norm; None without noise.
        clip_norm: Bound of one DIZ's update; None without clipping.
        mae: Mean absolute error, years.
        median: Median absolute error, years.
    """

    model: str
    inputs: str
    ground: str
    epsilon: float | None
    noise_multiplier: float | None
    clip_norm: float | None
    mae: float
    median: float


def headline(equality: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """How far the federated elastic net is from the pooled one, None if there is none."""
    if equality is None:
        return []
    same = "same CpGs" if equality["same_support"] else "not the same CpGs"
    return [
        {
            "label": "Federated against pooled elastic net",
            "value": f"{equality['largest_relative_coefficient_difference']:.1e}",
            "note": f"largest difference of a coefficient, relative to the largest; {same}; {OUTSIDE}",
        }
    ]


def tables(
    rows: list[Row],
    guess: float,
    equality: Mapping[str, Any] | None,
    adaptation: Mapping[str, Any] | None = None,
    *,
    noise: Sequence[NoiseRow] = (),
) -> list[dict[str, Any]]:
    """The report's tables: all models, equality with pooled training, and what the gate's noise costs."""
    found: list[dict[str, Any]] = [
        {
            "title": f"All models ({OUTSIDE})",
            "caption": "On the samples of all DIZ together whose ages nothing was trained on; errors in years. "
            f"Guessing the mean training age: {guess:.1f} years.",
            "columns": ["model", "kind", "MAE", "median AE", "r", "note"],
            "rows": [
                [row.model, row.kind, f"{row.mae:.2f}", f"{row.median:.2f}", f"{row.r:.3f}", row.note] for row in rows
            ],
        }
    ]
    if equality:
        found.append(
            {
                "title": f"Federated and pooled elastic net ({OUTSIDE})",
                "caption": "Pooled: scikit-learn's coordinate descent at the same penalty, converged tightly.",
                "columns": ["what", "value"],
                "rows": [
                    ["same CpGs", "yes" if equality["same_support"] else "no"],
                    ["CpGs in the clock", equality["cpgs"]],
                    [
                        "largest coefficient difference, relative",
                        f"{equality['largest_relative_coefficient_difference']:.1e}",
                    ],
                    ["largest prediction difference", f"{equality['largest_prediction_difference_years']:.1e} years"],
                ],
            }
        )
    if adaptation:
        found.append(
            {
                "title": f"The adapted clock and pooled computation ({OUTSIDE})",
                "caption": "Confidences beside Gaussian processes that are fitted to the pooled rows one by one; "
                "coefficients by the conditions that only the pooled solution satisfies.",
                "columns": ["what", "value"],
                "rows": [
                    [
                        f"largest difference of a mean confidence, {adaptation['cpgs_checked']} random CpGs",
                        f"{adaptation['largest_confidence_difference']:.1e}",
                    ],
                    [
                        "distance from optimal on the pooled rows, as a share of the penalty",
                        f"{adaptation['optimality_gap_on_pooled_rows']:.1e}",
                    ],
                ],
            }
        )
    if noise:
        found.append(
            {
                "title": f"What the gate's noise costs, unit site (models from the gate, errors {OUTSIDE})",
                "caption": "The same network from public inputs, in analyses of their own. With noise the gate clips "
                "and noises each DIZ's update, which hides a whole DIZ, and five DIZ are too few for that: an error "
                f"beyond the guess of the mean training age ({guess:.1f} years) means that nothing was learnt.",
                "columns": ["model", "inputs", "ground", "ε per DIZ", "noise ÷ clip_norm", "MAE", "median AE"],
                "rows": [
                    [
                        row.model,
                        row.inputs,
                        row.ground,
                        "no claim" if row.epsilon is None else f"{row.epsilon:g}",
                        "–" if row.noise_multiplier is None else f"{row.noise_multiplier:g}",
                        f"{row.mae:.2f}",
                        f"{row.median:.2f}",
                    ]
                    for row in noise
                ],
            }
        )
    return found


def merge(
    run: Path,
    figures: list[dict[str, str]],
    tables: list[dict[str, Any]],
    headline: list[dict[str, str]],
    notes: list[str],
) -> None:
    """Put what was found into ``report.json``, in place of what an earlier call put there.

    Raises:
        InputError: The file is there and cannot be read.
    """
    try:
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = {}
    except ValueError:
        raise InputError(f"{run / 'report.json'} is not valid JSON; repeat the run.") from None
    for key, key_of, new in (
        ("figures", "file", figures),
        ("tables", "title", tables),
        ("headline", "label", headline),
    ):
        added = {entry[key_of] for entry in new}
        report[key] = [entry for entry in report.get(key, []) if entry[key_of] not in added] + new
    report["notes"] = [note for note in report.get("notes", []) if note not in notes] + notes
    write_report_json(run, report)
