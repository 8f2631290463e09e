"""What a run leaves: ``report.json`` for people, ``statistics.json`` and ``numbers.csv`` for programs."""

import csv
import io
import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from flame_strategies.approval import Roster
from flame_strategies.output import write_atomically

from federated_statistics import plots
from federated_statistics.presets import OWN
from federated_statistics.results import Numbers, Result
from federated_statistics.settings import Settings

RESULT_FILE = "statistics.json"
NUMBERS_FILE = "numbers.csv"

_MOST_GROUPS, _MOST_LABELS = 31, 500
"""A report's table holds so many columns and rows; the files hold all."""

DATA_NOTE = (
    "Measured values of a public set that an installed package carries. Which row lies at which virtual DIZ is made "
    "up, so that the DIZ differ, unless the set names its institutions; each row counts as one patient."
)

TITLES = {
    "summary": "Summary",
    "histogram": "Histograms",
    "crosstab": "Cross table",
    "quantiles": "Quantiles",
    "correlation": "Correlations",
    "pca": "Principal components",
    "linear": "Linear regression",
    "logistic": "Logistic regression",
    "poisson": "Poisson regression",
    "cox": "Cox regression",
    "elastic-net": "Elastic net",
}


def write_result(folder: Path, settings: Settings, result: Result) -> None:
    """Write ``statistics.json`` and ``numbers.csv``."""
    numbers = {
        name: {label: value if isfinite(value) else None for label, value in of.items()}
        for name, of in result.numbers.items()
    }
    found = {
        "schema": 1,
        "settings": settings.to_json(),
        "exchanges": result.exchanges,
        "numbers": numbers,
        "details": dict(result.details),
    }
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / RESULT_FILE, text.encode() + b"\n")
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["group", "label", "value"])
    for name, of in numbers.items():
        writer.writerows([name, label, "" if value is None else repr(value)] for label, value in of.items())
    write_atomically(folder / NUMBERS_FILE, rows.getvalue().encode())


def build(folder: Path, settings: Settings, result: Result, roster: Roster, sites: int) -> dict[str, Any]:
    """Draw the figures into `folder` and return the content of ``report.json``.

    Args:
        folder: The run's folder.
        settings: What was asked.
        result: What was found.
        roster: The gates' answers.
        sites: How many DIZ the result is of.
    """
    draw = plots.DRAW.get(settings.analysis)
    title = TITLES[settings.analysis]
    asked = len(roster.approved) + len(roster.refusals) + len(roster.silent) + len(roster.ungated)
    note = f"The result is that of {sites} DIZ; {asked} were asked."
    return {
        "title": f"{title}: {settings.set}",
        "synthetic": False,
        "data_note": "" if settings.set == OWN else DATA_NOTE,
        "headline": [
            {"label": "exchanges", "value": str(result.exchanges), "note": "messages that each DIZ answered with sums"}
        ],
        "figures": draw(folder, result) if draw else [],
        "tables": tables(title, result.numbers),
        "notes": [*result.notes, f"All numbers at full length: {NUMBERS_FILE}, {RESULT_FILE}.", note],
    }


def tables(title: str, numbers: Numbers) -> list[dict[str, Any]]:
    """Groups with the same labels side by side, the others below each other."""
    found: list[dict[str, Any]] = []
    by_labels: dict[tuple[str, ...], list[str]] = {}
    for name, of in numbers.items():
        by_labels.setdefault(tuple(of), []).append(name)
    for labels, names in list(by_labels.items())[:20]:
        shown = names[:_MOST_GROUPS]
        heading = title if len(by_labels) == 1 or len(names) > 1 else f"{title}: {names[0]}"
        found.append(
            {
                "title": heading,
                "caption": "",
                "columns": ["", *shown],
                "rows": [[label, *(text(numbers[name][label]) for name in shown)] for label in labels[:_MOST_LABELS]],
            }
        )
    return found


def text(value: float) -> str:
    """A number for people: six digits, a dash where there is none."""
    if not isfinite(value):
        return "–"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.6g}"


def read_result(run: Path) -> Mapping[str, Any]:
    """What `write_result` wrote.

    Raises:
        OSError: It is not there.
        ValueError: It is not JSON.
    """
    found: dict[str, Any] = json.loads((run / RESULT_FILE).read_text(encoding="utf-8"))
    return found
