"""`compare`: a run beside the same calculation on all rows without noise. Outside the gate, for simulations only.

The run itself measures nothing, because on real patients a measurement is a release of its own and has to be paid for.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flame_strategies.output import load_model, write_report_json

from gene_expression_private.classifier import area_under_curve, descend
from gene_expression_private.errors import InputError
from gene_expression_private.expression import Float, FoldChanges, fold_changes
from gene_expression_private.genes import Gene, own_genes
from gene_expression_private.prepare import HELD_OUT, STAMP
from gene_expression_private.price import price_entries

OUTSIDE = "outside the gate, simulation only"
_LEVEL = 0.05
_STEPS = 400


def standardised(table: pd.DataFrame, genes: tuple[Gene, ...]) -> Float:
    """(n, p) as the release reads them."""
    centre, scale = np.array([g.centre for g in genes]), np.array([g.scale for g in genes])
    x: Float = (table[[g.name for g in genes]].to_numpy(dtype=np.float64) - centre) / scale
    return x


def pooled_rows(data: Path) -> pd.DataFrame:
    """What all DIZ were given.

    Raises:
        InputError: The folder is not one of `prepare`.
    """
    if not (data / HELD_OUT).is_file() or not (data / STAMP).is_file():
        raise InputError(f"{data} was not written by `prepare`; give its --out.")
    return pd.concat([pd.read_parquet(file) for file in sorted(data.glob("DIZ-*/expression/patients.parquet"))])


def pooled_changes(rows: pd.DataFrame, genes: tuple[Gene, ...]) -> FoldChanges:
    """Fold changes of the pooled rows: without noise, and without anybody clipped."""
    x, case = standardised(rows, genes), rows["case"].to_numpy() == 1
    parts = [x[~case], x[case]]
    sums = {
        "n": np.array([float(len(part)) for part in parts]),
        "x": np.array([part.sum(axis=0) for part in parts]),
        "xx": np.array([(part * part).sum(axis=0) for part in parts]),
    }
    return fold_changes(sums, np.array([g.scale for g in genes]), 0.0)


def pooled_auc(rows: pd.DataFrame, test: pd.DataFrame, genes: tuple[Gene, ...]) -> float:
    """Of the penalised logistic regression on the pooled rows, without noise and with nobody clipped."""
    x, case = standardised(rows, genes), rows["case"].to_numpy()
    one_x = np.column_stack([np.ones(len(x)), x])

    def gradient(b: Float) -> Float:
        slope: Float = one_x.T @ (case - 0.5 * (1.0 + np.tanh(0.5 * one_x @ b)))
        return slope

    weights = descend(gradient, len(genes), _STEPS, 2.0 * len(rows))  # half steps, which do not overshoot
    return area_under_curve(standardised(test, genes) @ weights[1:], test["case"].to_numpy() == 1)


def score(run: Path, data: Path, genes: tuple[Gene, ...]) -> dict[str, float]:
    """Figures of the run beside those of the pooled rows; what is counted is NaN where the truth is not known.

    Raises:
        InputError: One of the folders is not what it should be.
    """
    rows = pooled_rows(data)
    test = pd.read_parquet(data / HELD_OUT)
    truth = json.loads((data / STAMP).read_text(encoding="utf-8"))["true_changes"]
    if (file := run / "fold-changes.tsv").is_file():
        said = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
        if [line["gene"] for line in said] != [gene.name for gene in genes]:
            raise InputError(f"{run} is about other genes than {data}; prepare the data with the run's list.")
        change, adjusted = (np.array([float(line[key]) for line in said]) for key in ("log2_fold_change", "adjusted_p"))
        pooled = pooled_changes(rows, genes)
        true = np.array([truth[gene.name] if truth else np.nan for gene in genes])
        found = adjusted < _LEVEL
        return {
            "off_by": float(np.sqrt(np.mean((change - pooled.log2_fold_change) ** 2))),
            "found": float(np.sum(found & (true != 0))) if truth else float("nan"),
            "falsely": float(np.sum(found & (true == 0))) if truth else float("nan"),
            "pooled_found": float(np.sum((pooled.adjusted < _LEVEL) & (true != 0))) if truth else float("nan"),
            "true_genes": float(np.sum(true != 0)) if truth else float("nan"),
            "usable": float(np.isfinite(change).all()),
        }
    try:
        arrays, _ = load_model(run)
    except (FileNotFoundError, ValueError):
        raise InputError(f"{run} is no finished run; give the folder of `flame simulate`.") from None
    value = standardised(test, genes) @ arrays["coefficients"][1:]
    auc = area_under_curve(value, test["case"].to_numpy() == 1)
    return {"auc": auc, "pooled_auc": pooled_auc(rows, test, genes)}


def compare(run: Path, data: Path) -> dict[str, float]:
    """Score the run, and add that and the measured price of noise to its report."""
    found = score(run, data, own_genes())
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    synthetic = bool(json.loads((data / STAMP).read_text(encoding="utf-8"))["synthetic"])
    report["synthetic"] = synthetic
    report["data_note"] = "Synthetic patients." if synthetic else "A table of one's own, dealt out to virtual DIZ."
    if "auc" in found:
        note = f"logistic regression on the pooled rows without noise: {found['pooled_auc']:.3f}; {OUTSIDE}"
        headline = [{"label": "Area under the ROC curve", "value": f"{found['auc']:.3f}", "note": note}]
    else:
        headline = [{"label": "Fold changes off by", "value": f"{found['off_by']:.3f} log2", "note": OUTSIDE}]
        if synthetic:
            value = f"{found['found']:.0f} of {found['true_genes']:.0f}"
            note = f"{found['falsely']:.0f} others; without noise {found['pooled_found']:.0f}; {OUTSIDE}"
            headline.append({"label": "Truly changed genes found", "value": value, "note": note})
    figures, tables = price_entries(run, OUTSIDE)
    for key, name, new in (("headline", "label", headline), ("figures", "file", figures), ("tables", "title", tables)):
        added = {entry[name] for entry in new}
        report[key] = [entry for entry in report.get(key, []) if entry[name] not in added] + new
    write_report_json(run, report)
    return found
