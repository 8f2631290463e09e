"""`compare`: a run beside the same calculation on all rows without noise. Outside the gate, for simulations only.

The run itself measures nothing, because on real patients a measurement is a release of its own and has to be paid for.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flame_strategies.output import write_report_json

from gwas_private.association import Associations, Float
from gwas_private.errors import InputError
from gwas_private.prepare import STAMP
from gwas_private.price import price_entries
from gwas_private.server_app import RESULTS, of_study
from gwas_private.variants import Study, own_study

OUTSIDE = "outside the gate, simulation only"
_LEVEL = 0.05


def pooled_rows(data: Path) -> pd.DataFrame:
    """What all DIZ were given.

    Raises:
        InputError: The folder is not one of `prepare`.
    """
    if not (data / STAMP).is_file():
        raise InputError(f"{data} was not written by `prepare`; give its --out.")
    return pd.concat([pd.read_parquet(file) for file in sorted(data.glob("DIZ-*/candidates/patients.parquet"))])


def pooled(rows: pd.DataFrame, study: Study) -> Associations:
    """Effects on the pooled rows, without noise and with nobody clipped; missing dosages as the release has them."""
    there = rows[rows[study.trait.name].notna()]
    centre, scale = (np.array([getattr(v, name) for v in study.variants]) for name in ("centre", "scale"))
    dosage = there[[v.name for v in study.variants]].to_numpy(dtype=np.float64)
    x: Float = (np.where(np.isnan(dosage), centre, dosage) - centre) / scale
    value = there[study.trait.name].to_numpy(dtype=np.float64).clip(study.trait.low, study.trait.high)
    y = (value - study.trait.centre) / study.trait.scale
    sums = {
        "n": np.array([float(len(y))]),
        "x": x.sum(axis=0),
        "xx": (x * x).sum(axis=0),
        "y": np.array([y.sum()]),
        "yy": np.array([(y * y).sum()]),
        "xy": x.T @ y,
    }
    return of_study(study, sums, 0.0)


def score(run: Path, data: Path, study: Study) -> dict[str, float]:
    """Figures of the run beside those of the pooled rows; what is counted is NaN where the truth is not known.

    Raises:
        InputError: One of the folders is not what it should be.
    """
    rows = pooled_rows(data)
    truth = json.loads((data / STAMP).read_text(encoding="utf-8"))["true_effects"]
    if not (run / RESULTS).is_file():
        raise InputError(f"{run} is no finished run; give the folder of `flame simulate`.")
    said = list(csv.DictReader((run / RESULTS).read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    if [line["variant"] for line in said] != [v.name for v in study.variants]:
        raise InputError(f"{run} is about other variants than {data}; prepare the data with the run's list.")
    beta, adjusted, t = (np.array([float(line[key]) for line in said]) for key in ("beta", "adjusted_p", "t"))
    without = pooled(rows, study)
    standard = np.array([v.scale / study.trait.scale for v in study.variants])  # to standard deviations of both
    true = np.array([truth[v.name] if truth else np.nan for v in study.variants])
    found = adjusted < _LEVEL
    top = np.argsort(-np.abs(np.nan_to_num(t)), kind="stable")[: max(1, int(np.sum(true != 0)))]
    return {
        "off_by": float(np.sqrt(np.mean(((beta - without.beta) * standard) ** 2))),
        "found": float(np.sum(found & (true != 0))) if truth else float("nan"),
        "falsely": float(np.sum(found & (true == 0))) if truth else float("nan"),
        "top": float(np.sum(true[top] != 0)) if truth else float("nan"),
        "pooled_found": float(np.sum((without.adjusted < _LEVEL) & (true != 0))) if truth else float("nan"),
        "true_variants": float(np.sum(true != 0)) if truth else float("nan"),
        "usable": float(np.isfinite(beta).all()),
    }


def compare(run: Path, data: Path) -> dict[str, float]:
    """Score the run, and add that and the measured price of noise to its report."""
    found = score(run, data, own_study())
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    synthetic = bool(json.loads((data / STAMP).read_text(encoding="utf-8"))["synthetic"])
    report["synthetic"] = synthetic
    report["data_note"] = "Synthetic patients." if synthetic else "A table of one's own, dealt out to virtual DIZ."
    headline = [{"label": "Effects off by", "value": f"{found['off_by']:.3f} SD per SD", "note": OUTSIDE}]
    if synthetic:
        value = f"{found['found']:.0f} of {found['true_variants']:.0f}"
        note = f"{found['falsely']:.0f} others; without noise {found['pooled_found']:.0f}; {OUTSIDE}"
        headline.append({"label": "True effects found", "value": value, "note": note})
    figures, tables = price_entries(run, OUTSIDE)
    for key, name, new in (("headline", "label", headline), ("figures", "file", figures), ("tables", "title", tables)):
        added = {entry[name] for entry in new}
        report[key] = [entry for entry in report.get(key, []) if entry[name] not in added] + new
    write_report_json(run, report)
    return found
