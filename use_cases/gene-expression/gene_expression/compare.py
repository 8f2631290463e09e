"""`compare`: a simulated run's tests beside those of the pooled samples, and beside a meta-analysis of the DIZ.

Everything here happens outside the gate and needs the rows of all DIZ in one place. It is for simulations, where all
data are the user's own; the report says so.

Writes ``compare.json`` into the run's folder and adds headlines and a table to ``report.json``; a second call replaces
what the first one added.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flame_strategies.output import write_atomically, write_report_json

from gene_expression import comparators
from gene_expression.differential_run import COLUMNS
from gene_expression.errors import InputError
from gene_expression.oracles import Pooled, pooled
from gene_expression.panel import load_panel
from gene_expression.prepare import STORE, read_prepared
from gene_expression.presets import PRESETS
from gene_expression.report import read_result
from gene_expression.settings import Settings
from gene_expression.store import load_table
from gene_expression.table import Table

OUTSIDE = "outside the gate, simulation only"


def compare(run: Path, data: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Compare a run with the analysis of the pooled samples.

    Args:
        run: The run's folder.
        data: The folder that `prepare` wrote.
        say: Told of every difference, for a person to read.

    Returns:
        What ``compare.json`` holds.

    Raises:
        InputError: One of the two is not what it should be, or of an analysis that this cannot compare.
    """
    settings = _settings(run)
    values, sheet, stamp = read_prepared(data)
    if stamp["source"].get("set", settings.set) != settings.set:
        raise InputError(f"The run is about {settings.set}, {data} holds {stamp['source']['set']}.")
    found = read_results(run)
    panel = load_panel(settings.panel).genes
    truth = pooled(values, sheet, replace(settings, contrasts=tuple(found)), panel)
    tables = [_table(data / node / STORE, settings) for node in stamp["nodes"]]
    results = comparators.site_results(tables, settings, truth.genes)
    summary: dict[str, Any] = {"what": OUTSIDE, "program": truth.program, "genes": len(truth.genes), "contrasts": {}}
    if np.isfinite(truth.seconds):
        summary["seconds"] = truth.seconds
    say(f"{truth.program} on the pooled samples: {len(truth.genes)} genes")
    for name, ours in found.items():
        differences = differences_of(ours, truth, name)
        meta = comparators.meta(results[name]) if name in results and "log10.P" in truth.tests[name] else {}
        misses = {method: float(np.abs(p - truth.tests[name]["log10.P"]).max()) for method, p in meta.items()}
        summary["contrasts"][name] = {
            "largest_difference": differences,
            "meta_analysis": misses,
            "meta_analysis_sites": len(results.get(name, [])),
        }
        for quantity, gap in differences.items():
            say(f"{name:<28} {quantity:<12} largest difference {gap:9.1e}")
        for method, gap in misses.items():
            say(f"{name:<28} {'log10.P':<12} meta-analysis by {method} is off by up to {gap:.2f}")
    content = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run / "compare.json", content.encode() + b"\n")
    _add(run, summary, synthetic=bool(settings.set in PRESETS and PRESETS[settings.set].synthetic))
    return summary


def read_results(run: Path) -> dict[str, pd.DataFrame]:
    """``results.parquet`` by contrast, index = genes.

    Raises:
        InputError: It is not there.
    """
    try:
        table = pd.read_parquet(run / "results.parquet")
    except (OSError, ValueError):
        raise InputError(f"{run} holds no results of this app; give the folder of a finished run.") from None
    if list(table.columns) != list(COLUMNS):
        raise InputError(f"{run / 'results.parquet'} has other columns; it was another version of this app's.")
    return {str(name): part.set_index("gene") for name, part in table.groupby("contrast", sort=False)}


def differences_of(ours: pd.DataFrame, truth: Pooled, name: str) -> dict[str, float]:
    """The largest absolute difference by quantity.

    Raises:
        InputError: The run tested other genes than the pooled analysis.
    """
    if set(ours.index) != set(truth.genes):
        odd = len(set(ours.index) ^ set(truth.genes))
        raise InputError(f"{odd} genes are in the run or in the pooled analysis alone; was the data prepared anew?")
    same = ours.loc[list(truth.genes)]
    return {
        quantity: float(np.abs(same[quantity].to_numpy(dtype=np.float64) - values).max())
        for quantity, values in truth.tests[name].items()
    }


def _settings(run: Path) -> Settings:
    try:
        settings = Settings.from_json(read_result(run)["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run} holds no result of this app; give the folder of a finished run.") from None
    if settings.analysis != "differential":
        raise InputError(f"compare is for differential analyses; this run is of {settings.analysis}.")
    return settings


def _table(folder: Path, settings: Settings) -> Table:
    levels = "; ".join(f"{name}={'|'.join(levels)}" for name, levels in settings.levels.items())
    return load_table(folder, settings.panel, scale=settings.scale, levels=levels)


def _add(run: Path, summary: dict[str, Any], *, synthetic: bool) -> None:
    """Put headlines and table into ``report.json``, in place of earlier ones."""
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = {}
    except ValueError:
        raise InputError(f"{run / 'report.json'} is not valid JSON; repeat the run.") from None
    made_up = "; synthetic data" if synthetic else ""
    rows: list[list[str]] = []
    worst: dict[str, float] = {}
    for name, of in summary["contrasts"].items():
        for quantity, gap in of["largest_difference"].items():
            rows.append([name, quantity, "federated", f"{gap:.1e}"])
            worst[quantity] = max(worst.get(quantity, 0.0), gap)
        rows += [
            [name, "log10.P", f"meta-analysis, {method}", f"{gap:.2f}"] for method, gap in of["meta_analysis"].items()
        ]
    shown = "log10.P" if "log10.P" in worst else "logFC"
    headline = {
        "label": f"Largest difference in {shown} to the pooled samples",
        "value": f"{worst[shown]:.1e}",
        "note": f"{summary['program']}, {summary['genes']} genes; {OUTSIDE}{made_up}",
    }
    table = {
        "title": f"Federated, pooled, meta-analysis ({OUTSIDE})",
        "caption": f"Largest differences to {summary['program']} on the pooled samples. The meta-analysis combines the "
        f"DIZ's own tests{made_up}.",
        "columns": ["contrast", "quantity", "which", "largest difference"],
        "rows": rows[:500],
    }
    for key, label, new in (("headline", "label", headline), ("tables", "title", table)):
        report[key] = [entry for entry in report.get(key, []) if entry[label] != new[label]] + [new]
    write_report_json(run, report)
