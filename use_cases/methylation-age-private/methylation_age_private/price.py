"""What noise costs, measured beforehand by `benchmarks/private_apps.py`: `curve.json`, as a table and a figure.

The figures are of whole simulated runs behind real gates, for each epsilon and several seeds. A seed deals the patients
out anew; noise is fresh in every run. Each run is an analysis of its own, as if it were the only one: the epsilons of
several releases about the same patients add up.

The interval is that in which one further run falls with 95 % confidence: mean ± t · s · √(1 + 1/k) of k runs.
"""

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from flame_strategies.glm_inference import t_quantile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CURVE = "curve.json"
FIGURE = "plots/price-of-noise.png"


def summary(runs: Iterable[dict[str, float]], of: str = "mae") -> list[tuple[float, float, float, int]]:
    """Per epsilon: epsilon, mean, half of the interval's width, and how many runs."""
    values: dict[float, list[float]] = {}
    for run in runs:
        values.setdefault(run["epsilon"], []).append(run[of])
    found = []
    for epsilon, each in sorted(values.items()):
        half = t_quantile(0.95, len(each) - 1) * float(np.std(each, ddof=1)) * (1 + 1 / len(each)) ** 0.5
        found.append((epsilon, float(np.mean(each)), half, len(each)))
    return found


def draw(file: Path, runs: Iterable[dict[str, float]]) -> None:
    """The curve, as PNG."""
    epsilons, means, halves, _ = (np.array(column) for column in zip(*summary(runs), strict=True))
    figure = Figure(figsize=(6.0, 3.6), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.errorbar(epsilons, means, yerr=halves, fmt="o-", ms=4, capsize=3, color="#0072B2")
    axes.set(xscale="log", xlabel="ε (δ = 1e-5, unit: patient)", ylabel="mean absolute error (years)", ylim=(0, None))
    axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})


def price_entries(run: Path, outside: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Figure and table of the committed measurement, for a run's report; nothing where there is none."""
    file = files("methylation_age_private") / CURVE
    if not file.is_file():
        return [], []
    said = json.loads(file.read_text(encoding="utf-8"))
    draw(run / FIGURE, said["runs"])
    title = "The price of noise, measured beforehand"
    caption = (
        f"Packaged blood set, {said['nodes']} DIZ, one release each, enforced by gates (ground vetted, unit patient, "
        f"one patient added or removed); errors {outside}. Intervals are for one further run, 95 %."
    )
    rows = [[f"{e:g}", f"{mean:.2f}", f"± {half:.2f}", runs] for e, mean, half, runs in summary(said["runs"])]
    table = {"title": title, "caption": caption, "columns": ["ε", "MAE (years)", "interval", "runs"], "rows": rows}
    return [{"file": FIGURE, "title": title, "caption": caption}], [table]
