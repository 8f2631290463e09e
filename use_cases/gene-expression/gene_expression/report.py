"""What a run leaves besides its tables: ``report.json`` for people, ``analysis.json`` for programs."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from flame_strategies.approval import Roster
from flame_strategies.output import write_atomically

from gene_expression import plots
from gene_expression.presets import PRESETS
from gene_expression.results import Outcome
from gene_expression.settings import Settings

RESULT_FILE = "analysis.json"

_MOST_FIGURES, _MOST_TABLES, _MOST_NOTES, _MOST_HEADLINES = 24, 24, 24, 12
"""So many fit into a report."""


def write_result(folder: Path, settings: Settings, outcome: Outcome) -> None:
    """Write ``analysis.json``; a number that there is none of is null."""
    found = {
        "schema": 1,
        "settings": settings.to_json(),
        "sites": len(outcome.sites),
        "exchanges": outcome.exchanges,
        "numbers": outcome.numbers,
        "details": outcome.details,
    }
    text = json.dumps(_finite(found), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / RESULT_FILE, text.encode() + b"\n")


def build(folder: Path, settings: Settings, outcome: Outcome, roster: Roster) -> dict[str, Any]:
    """Draw the curves into `folder` and return the content of ``report.json``.

    Args:
        folder: The run's folder.
        settings: What was asked.
        outcome: What was found.
        roster: The gates' answers.
    """
    preset = PRESETS.get(settings.set)
    asked = len(roster.approved) + len(roster.refusals) + len(roster.silent) + len(roster.ungated)
    notes = [*outcome.notes, f"The result is that of {len(outcome.sites)} DIZ; {asked} were asked."]
    exchanges = {
        "label": "exchanges",
        "value": str(outcome.exchanges),
        "note": "messages that each DIZ answered with sums",
    }
    return {
        "title": outcome.title,
        "synthetic": bool(preset and preset.synthetic),
        "data_note": preset.note if preset else "",
        "headline": [*map(dict, outcome.headline), exchanges][:_MOST_HEADLINES],
        "figures": [*map(dict, outcome.figures), *_curves(folder, outcome.details)][:_MOST_FIGURES],
        "tables": list(map(dict, outcome.tables))[:_MOST_TABLES],
        "notes": [*notes, f"All numbers at full length: {RESULT_FILE}."][:_MOST_NOTES],
    }


def read_result(run: Path) -> dict[str, Any]:
    """What `write_result` wrote.

    Raises:
        OSError: It is not there.
        ValueError: It is not JSON.
    """
    found: dict[str, Any] = json.loads((run / RESULT_FILE).read_text(encoding="utf-8"))
    return found


def _curves(folder: Path, details: Mapping[str, Any]) -> list[plots.Entry]:
    found: list[plots.Entry] = []
    if details.get("roc"):
        found += plots.roc(folder, details["roc"])
    if details.get("kaplan_meier"):
        found += plots.kaplan_meier(folder, details["kaplan_meier"])
    if details.get("stability"):
        found += plots.stability(folder, details["stability"])
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
