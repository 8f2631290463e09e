"""`compare`: a simulated fusion run's model beside the same model of the pooled patients.

Everything here happens outside the gate and needs the patients of all DIZ in one place. It is for simulations, where
all data are the user's own; the report says so.

Writes ``compare.json`` into the run's folder and adds headlines and a table to ``report.json``; a second call replaces
what the first one added.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flame_strategies.output import load_model, write_atomically, write_report_json

from multimodal_imaging import oracles
from multimodal_imaging.errors import InputError
from multimodal_imaging.prepare import read_prepared
from multimodal_imaging.presets import PRESETS
from multimodal_imaging.report import read_result
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Site
from multimodal_imaging.store import IMAGES_STORE, PATIENTS_STORE, load_site

OUTSIDE = "outside the gate, simulation only"
PROGRAM = "scikit-learn"


def compare(run: Path, data: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Compare a run with the analysis of the pooled patients.

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
    stamp = read_prepared(data)[2]
    sites = [_site(data / name, settings, node) for node, name in enumerate(stamp["nodes"], start=1)]
    summary = {"what": OUTSIDE, "program": PROGRAM, **differences(run, sites, settings)}
    say(f"{PROGRAM} on {summary['patients']} pooled training patients")
    beside = {"coefficients": f"   largest coefficient {summary['largest_coefficient']:9.1e}"}
    for name, gap in summary["largest_difference"].items():
        say(f"{name:<24} largest difference {gap:9.1e}{beside.get(name, '')}")
    say(f"{'penalty':<24} {summary['penalty']['federated']:g}, pooled {summary['penalty']['pooled']:g}")
    content = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run / "compare.json", content.encode() + b"\n")
    _add(run, summary, synthetic=bool(settings.set in PRESETS and PRESETS[settings.set].synthetic))
    return summary


def differences(run: Path, sites: list[Site], settings: Settings) -> dict[str, Any]:
    """The largest absolute differences of a run's model to that of the pooled patients.

    Raises:
        InputError: The run's model has other columns than the pooled patients.
    """
    arrays, about = load_model(run)
    pooled = oracles.pool(sites, settings)
    fitted = pooled.train & np.isfinite(pooled.y)
    if settings.missing == "complete":
        fitted &= pooled.there.all(axis=1)
    if settings.harmonise == "combat":
        pooled = oracles.harmonise(pooled, pooled.train)
    found = oracles.design(pooled, fitted)
    if settings.missing == "impute":
        found = oracles.impute(pooled, found, fitted, settings)
    truth, penalty, _ = oracles.fit(found.Z, pooled, fitted, settings, folds=False)
    ours = arrays["coefficients"]
    if ours.shape != truth.shape:
        raise InputError("The run's model has other columns than the pooled patients; was the data prepared anew?")
    return {
        "patients": int(fitted.sum()),
        "penalty": {"federated": float(about["penalty"]), "pooled": penalty},
        "largest_difference": {
            "coefficients": float(np.abs(ours - truth).max()),
            "centre": float(np.abs(arrays["centre"] - found.centre).max()),
            "scale": float(np.abs(arrays["scale"] - found.scale).max()),
        },
        "largest_coefficient": float(np.abs(truth[1:]).max()),
    }


def _settings(run: Path) -> Settings:
    try:
        settings = Settings.from_json(read_result(run)["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run} holds no result of this app; give the folder of a finished run.") from None
    if settings.analysis != "fusion" or settings.event:
        what = "a survival time" if settings.event else f'analysis = "{settings.analysis}"'
        raise InputError(
            f"compare is for exact fusion of numbers and classes; this run is of {what}. See the README for what the "
            "others are compared with."
        )
    return settings


def _site(folder: Path, settings: Settings, node: int) -> Site:
    images = folder / IMAGES_STORE
    return load_site(folder / PATIENTS_STORE, images if images.is_dir() else None, settings, node=node)


def _add(run: Path, summary: dict[str, Any], *, synthetic: bool) -> None:
    """Put headline and table into ``report.json``, in place of earlier ones."""
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = {}
    except ValueError:
        raise InputError(f"{run / 'report.json'} is not valid JSON; repeat the run.") from None
    made_up = "; synthetic data" if synthetic else ""
    gaps = summary["largest_difference"]
    headline = {
        "label": "Largest difference in coefficients to the pooled patients",
        "value": f"{gaps['coefficients']:.1e}",
        "note": f"the largest coefficient is {summary['largest_coefficient']:.1e}; {summary['program']}, "
        f"{summary['patients']} training patients; {OUTSIDE}{made_up}",
    }
    table = {
        "title": f"Federated and pooled ({OUTSIDE})",
        "caption": f"Largest differences to {summary['program']} on the pooled patients{made_up}.",
        "columns": ["quantity", "largest difference"],
        "rows": [[name, f"{gap:.1e}"] for name, gap in gaps.items()],
    }
    for key, label, new in (("headline", "label", headline), ("tables", "title", table)):
        report[key] = [entry for entry in report.get(key, []) if entry[label] != new[label]] + [new]
    write_report_json(run, report)
