"""What a run leaves besides its tables: ``report.json`` for people, ``analysis.json`` for programs."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from flame_strategies.approval import Roster
from flame_strategies.output import write_atomically

from gwas.presets import PRESETS
from gwas.results import Outcome
from gwas.settings import Settings

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
    """The content of ``report.json``.

    Args:
        folder: The run's folder; the figures lie there already.
        settings: What was asked.
        outcome: What was found.
        roster: The gates' answers.
    """
    del folder
    preset = PRESETS.get(settings.set)
    asked = len(roster.approved) + len(roster.refusals) + len(roster.silent) + len(roster.ungated)
    notes = [*outcome.notes, f"The result is that of {len(outcome.sites)} DIZ; {asked} were asked."]
    return {
        "title": outcome.title,
        "synthetic": bool(preset and preset.synthetic),
        "data_note": preset.note if preset else "",
        "headline": [*map(dict, outcome.headline)][:_MOST_HEADLINES],
        "figures": list(map(dict, outcome.figures))[:_MOST_FIGURES],
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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
