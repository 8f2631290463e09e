"""What a run leaves besides its pictures: ``report.json`` for people, ``analysis.json`` for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from flame_strategies.approval import Roster
from flame_strategies.output import write_atomically

from multimodal_imaging import plots
from multimodal_imaging.counts import Cohort
from multimodal_imaging.errors import many
from multimodal_imaging.image_checks import REASONS
from multimodal_imaging.presets import PRESETS
from multimodal_imaging.results import Outcome
from multimodal_imaging.settings import Settings

RESULT_FILE = "analysis.json"

_MOST_FIGURES, _MOST_TABLES, _MOST_NOTES, _MOST_HEADLINES = 24, 24, 24, 12
"""So many fit into a report."""


def write_result(folder: Path, settings: Settings, outcome: Outcome, cohort: Cohort) -> None:
    """Write ``analysis.json``; a number that there is none of is null."""
    found = {
        "schema": 1,
        "settings": settings.to_json(),
        "cohort": {key: value for key, value in asdict(cohort).items() if key != "nodes"},
        "sites": len(outcome.sites),
        "exchanges": outcome.exchanges,
        "numbers": outcome.numbers,
        "details": outcome.details,
    }
    text = json.dumps(_finite(found), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / RESULT_FILE, text.encode() + b"\n")


def build(folder: Path, settings: Settings, outcome: Outcome, roster: Roster, cohort: Cohort) -> dict[str, Any]:
    """Draw who has what into `folder` and return the content of ``report.json``.

    Args:
        folder: The run's folder.
        settings: What was asked.
        outcome: What was found.
        roster: The gates' answers.
        cohort: What the DIZ have.
    """
    preset = PRESETS.get(settings.set)
    asked = len(roster.approved) + len(roster.refusals) + len(roster.silent) + len(roster.ungated)
    patients = {
        "label": "patients",
        "value": str(sum(cohort.patients)),
        "note": f"{cohort.patients[0]} train, {cohort.patients[1]} test; {sum(cohort.complete)} have all modalities",
    }
    exchanges = {
        "label": "exchanges",
        "value": str(outcome.exchanges),
        "note": "messages that each DIZ answered with sums",
    }
    notes = [
        *outcome.notes,
        *(
            f"{many(count, 'image is', 'images are')} not used: {REASONS[reason]}."
            for reason, count in cohort.problems.items()
        ),
        f"The result is that of {len(outcome.sites)} DIZ; {asked} were asked.",
    ]
    return {
        "title": outcome.title,
        "synthetic": synthetic(settings),
        "data_note": preset.note if preset else "",
        "headline": [*map(dict, outcome.headline), patients, exchanges][:_MOST_HEADLINES],
        "figures": [*map(dict, outcome.figures), *plots.availability(folder, cohort)][:_MOST_FIGURES],
        "tables": [*map(dict, outcome.tables), _modalities(cohort)][:_MOST_TABLES],
        "notes": [*notes[: _MOST_NOTES - 1], f"All numbers at full length: {RESULT_FILE}."],
    }


def synthetic(settings: Settings) -> bool:
    """Whether the run's data are made up."""
    return bool((preset := PRESETS.get(settings.set)) and preset.synthetic)


def read_result(run: Path) -> dict[str, Any]:
    """What `write_result` wrote.

    Raises:
        OSError: It is not there.
        ValueError: It is not JSON.
    """
    found: dict[str, Any] = json.loads((run / RESULT_FILE).read_text(encoding="utf-8"))
    return found


def _modalities(cohort: Cohort) -> dict[str, Any]:
    rows = [[name, str(cohort.sites[name]), str(train), str(test)] for name, (train, test) in cohort.modality.items()]
    return {
        "title": "Who has what",
        "caption": f"Of {cohort.patients[0]} patients in train and {cohort.patients[1]} in test, at "
        f"{len(cohort.nodes)} DIZ: sums over the DIZ, so that which DIZ lacks a modality stays there.",
        "columns": ["modality", "DIZ", "train", "test"],
        "rows": rows,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
