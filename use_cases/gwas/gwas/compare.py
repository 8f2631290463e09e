"""`compare`: a simulated run's tests beside those of the pooled samples.

Everything here happens outside the gate and needs the rows of all DIZ in one place. It is for simulations, where all
data are the user's own; the report says so. Variants are taken evenly from those with a result, `MOST` of them unless
more are asked for.

Writes ``compare.json`` into the run's folder and adds a headline and a table to ``report.json``; a second call replaces
what the first one added.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.output import load_model, write_atomically, write_report_json

from gwas import oracles
from gwas.errors import InputError
from gwas.panel import X
from gwas.pooled import Pooled
from gwas.presets import made_up
from gwas.report import read_result
from gwas.results import FIRTH, LOGISTIC, Associations
from gwas.settings import Settings

OUTSIDE = "outside the gate, simulation only"
MOST = 1_000

LEGEND = (
    "Differences are shares: of beta of |beta| + se, of se of itself, of log10p (-log10 p) of 1 + it; 1.0e-09 is the "
    "same to nine digits. plink2 prints six digits."
)
"""What the figures mean."""

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def register(commands: Any) -> None:
    """Add the command to `python -m gwas`."""
    command = commands.add_parser("compare", help="compare a simulated run with the analysis of the pooled samples")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.add_argument("--variants", type=int, default=MOST, help=f"how many are compared (default {MOST}; 0: all)")
    command.set_defaults(run=_main)


def compare(run: Path, data: Path, say: Callable[[str], None] = lambda text: None, most: int = MOST) -> dict[str, Any]:
    """Compare a run with the analysis of the pooled samples.

    Args:
        run: The run's folder.
        data: The folder that `prepare` wrote.
        say: Told of every difference, for a person to read.
        most: Variants that are compared; 0 for all.

    Returns:
        What ``compare.json`` holds.

    Raises:
        InputError: One of the two is not what it should be, or of an analysis that this cannot compare.
    """
    settings = _settings(run)
    pooled = Pooled.read(data, settings)
    ours = _tests(run, settings, most)
    index = ours["index"].astype(np.int64)
    summary: dict[str, Any] = {"what": OUTSIDE, "variants": len(index), "largest_difference": {}}
    scores = None
    if settings.pcs:
        scores, summary["largest_angle"] = _components(run, pooled, settings)
        say(f"principal components: largest angle to the pooled ones {summary['largest_angle']:.1e}")
    z = pooled.design(scores)[pooled.analysed]
    test = oracles.logistic if settings.analysis == "logistic" else oracles.linear
    for truth in (test(pooled, index, z), oracles.plink(pooled, index, z)):
        if truth is None:
            say(f"plink2: not compared, because {_without_plink(pooled, index)}")
            continue
        gaps = differences(ours, truth)
        summary["largest_difference"][truth.program] = gaps
        for quantity, gap in gaps.items():
            say(f"{truth.program:<22} {quantity:<7} largest difference {gap:9.1e}  ({len(index)} variants)")
    say(LEGEND)
    if settings.analysis == "score":
        summary["score"] = _score(run, pooled, scores, settings)
        for quantity, gap in summary["score"].items():
            say(f"score, pooled test samples  {quantity:<14} difference {gap:9.1e}")
    content = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run / "compare.json", content.encode() + b"\n")
    _add(run, summary, made_up(settings.set, settings.phenotype))
    return summary


def differences(ours: dict[str, Float], truth: oracles.Tests) -> dict[str, float]:
    """The largest differences by quantity: of beta as a share of |beta| + se, of se of itself, of -log10 p of 1 + it.

    Raises:
        InputError: No variant has a result in both.
    """
    both = np.isfinite(truth.values["beta"]) & np.isfinite(truth.values["se"])
    if not both.any():
        raise InputError("No variant has a result in both analyses; was the data prepared anew?")
    se = truth.values["se"][both]
    found = {
        "beta": np.abs(ours["beta"] - truth.values["beta"])[both] / (se + np.abs(truth.values["beta"][both])),
        "se": np.abs(ours["se"] - truth.values["se"])[both] / se,
    }
    told = both & np.isfinite(truth.values["log10p"])
    log10p = truth.values["log10p"][told]
    found["log10p"] = np.abs(ours["log10p"][told] - log10p) / (1 + log10p)
    return {quantity: float(gap.max(initial=0.0)) for quantity, gap in found.items()}


def _main(options: argparse.Namespace) -> None:
    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    compare(options.run_folder, options.data, say, options.variants)


def _settings(run: Path) -> Settings:
    try:
        settings = Settings.from_json(read_result(run)["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run} holds no result of this app; give the folder of a finished run.") from None
    if settings.analysis == "two-step":
        raise InputError("compare is for linear, logistic and score analyses; this run is of two-step.")
    return settings


def _tests(run: Path, settings: Settings, most: int) -> dict[str, Float]:
    """Tests of some variants, spread evenly, by maximum likelihood where the analysis is logistic."""
    names = ("index", "beta", "se", "log10p", "test")
    parts = list(Associations(run / "associations").tested(names))
    if not parts:
        raise InputError(f"{run} has no tests; was it interrupted?")
    whole = {name: np.concatenate([part[name] for part in parts]) for name in names}
    kept = np.flatnonzero(whole["test"] == LOGISTIC if settings.analysis == "logistic" else whole["test"] != FIRTH)
    if most and len(kept) > most:
        kept = kept[np.linspace(0, len(kept) - 1, most).astype(np.int64)]
    return {name: whole[name][kept] for name in names}


def _without_plink(pooled: Pooled, index: Int) -> str:
    """Why `oracles.plink` compares nothing."""
    if shutil.which("plink2") is None:
        return "it is not installed."
    if not (pooled.panel.chromosome[index] < X).any():
        return "none of the variants lies on an autosome."
    return (
        'this run imputes missing calls (missing = "impute"), while plink2 leaves such samples out; a run with '
        'missing = "exclude" can be compared.'
    )


def _components(run: Path, pooled: Pooled, settings: Settings) -> tuple[Float, float]:
    """Pooled scores (n, K), and the largest angle between the spaces of the run's loadings and the pooled ones."""
    with np.load(run / "components.npz", allow_pickle=False) as file:
        index, loadings = file["pc_index"], file["loadings"]
    theirs, scores = pooled.components(index, settings.pcs)
    ours = np.linalg.qr(loadings)[0]
    off = ours - theirs @ (theirs.T @ ours)
    return scores, float(np.arcsin(min(1.0, float(np.linalg.norm(off, 2)))))


def _score(run: Path, pooled: Pooled, scores: Float | None, settings: Settings) -> dict[str, float]:
    """How far the reported evaluation is from that of the pooled test samples' rows."""
    arrays, metadata = load_model(run)
    said = read_result(run)["numbers"]["evaluation"]
    place = {str(name): row for row, name in enumerate(pooled.panel.id.tolist())}
    index = np.array([place[name] for name in metadata["variants"]["id"]], dtype=np.int64)
    held = pooled.complete & pooled.test
    score = (pooled.filled(index)[0][held] - arrays["mean"]) @ arrays["weights"]
    y = pooled.phenotype[held]
    found = {"test samples": float(held.sum()), "correlation": float(np.corrcoef(score, y)[0, 1])}
    base = pooled.design(scores)[held]
    # the covariates' units are the pooled centres and scales; principal components may have other signs
    if scores is None:
        z = base.copy()
        numeric = [column for column, name in enumerate(metadata["terms"]) if name in metadata["numeric"]]
        z[:, numeric] = (z[:, numeric] - arrays["centre"]) / arrays["scale"]
        prediction = z @ arrays["covariates"] + score
        found["R2"] = 1 - float(((y - prediction) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return {name: abs(value - said[name]) for name, value in found.items() if said.get(name) is not None}


def _add(run: Path, summary: dict[str, Any], mark: str) -> None:
    """Put headline and table into ``report.json``, in place of earlier ones."""
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = {}
    except ValueError:
        raise InputError(f"{run / 'report.json'} is not valid JSON; repeat the run.") from None
    said = f"; {mark}" if mark else ""
    rows = [
        [program, quantity, f"{gap:.1e}"]
        for program, gaps in summary["largest_difference"].items()
        for quantity, gap in gaps.items()
    ]
    if "largest_angle" in summary:
        rows.append(["singular value decomposition", "angle of the components", f"{summary['largest_angle']:.1e}"])
    rows += [["pooled test samples", quantity, f"{gap:.1e}"] for quantity, gap in summary.get("score", {}).items()]
    program, gaps = next(iter(summary["largest_difference"].items()))
    headline = {
        "label": "Largest difference in beta to the pooled samples",
        "value": f"{gaps['beta']:.1e}",
        "note": f"{program}, {summary['variants']} variants; {OUTSIDE}{said}",
    }
    table = {
        "title": f"Federated and pooled ({OUTSIDE})",
        "caption": "Largest differences, relative to the value (beta: and its standard error; -log10 p: and 1). PLINK "
        f"prints six digits{said}.",
        "columns": ["of the pooled samples", "quantity", "largest difference"],
        "rows": rows,
    }
    for key, label, new in (("headline", "label", headline), ("tables", "title", table)):
        report[key] = [entry for entry in report.get(key, []) if entry[label] != new[label]] + [new]
    write_report_json(run, report)
