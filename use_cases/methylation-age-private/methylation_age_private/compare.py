"""`compare`: how good a run's clock is, on patients that no DIZ was given. Outside the gate, for simulations only.

The run itself measures nothing, because on real patients a measurement is a release of its own and has to be paid for.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flame_strategies.output import load_model, write_report_json

from methylation_age_private import mean_betas
from methylation_age_private.clock import Clock
from methylation_age_private.errors import InputError
from methylation_age_private.prepare import HELD_OUT, STAMP
from methylation_age_private.price import price_entries

OUTSIDE = "outside the gate, simulation only"


def score(run: Path, data: Path) -> dict[str, float]:
    """Errors of the run's clock in years, and of guessing the mean training age.

    Raises:
        InputError: One of the folders is not what it should be.
    """
    try:
        arrays, metadata = load_model(run)
    except (FileNotFoundError, ValueError):
        raise InputError(f"{run} has no model.json of a finished run; give the folder of `flame simulate`.") from None
    if not (data / HELD_OUT).is_file():
        raise InputError(f"{data} was not written by `prepare`; give its --out.")
    table = pd.read_parquet(data / HELD_OUT)
    age = table["age"].to_numpy()
    predicted = Clock(arrays["coefficients"]).predict(table[list(mean_betas())])
    guess = json.loads((data / STAMP).read_text(encoding="utf-8"))["guess_years"]
    return {
        "mae": float(np.abs(predicted - age).mean()),
        "median": float(np.median(np.abs(predicted - age))),
        "guess": float(guess),
        "patients": float(len(age)),
        "noise_std": float(metadata["noise_std"]),
    }


def compare(run: Path, data: Path) -> dict[str, float]:
    """Score the clock, and add that and the measured price of noise to the run's report."""
    found = score(run, data)
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    note = f"on {found['patients']:.0f} held-out samples; {OUTSIDE}"
    figures, tables = price_entries(run, OUTSIDE)
    headline = [
        {"label": "Mean absolute error", "value": f"{found['mae']:.2f} years", "note": note},
        {"label": "Guessing the mean age", "value": f"{found['guess']:.1f} years", "note": OUTSIDE},
    ]
    for key, name, new in (("headline", "label", headline), ("figures", "file", figures), ("tables", "title", tables)):
        added = {entry[name] for entry in new}
        report[key] = [entry for entry in report.get(key, []) if entry[name] not in added] + new
    write_report_json(run, report)
    return found
