"""What noise costs, measured beforehand by `benchmarks/private_apps.py`: `curve.json`, as a table and a figure.

The figures are of whole simulated runs behind real gates: epsilons, numbers of patients, seeds. All volumes are
synthetic. A seed draws them anew; noise is fresh in every run. Each run is an analysis of its own, as if it were the
only one.

The interval is that in which one further run falls with 95 % confidence: mean ± t · s · √(1 + 1/k) of k runs.
"""

import json
import math
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from flame_strategies.glm_inference import t_quantile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multimodal_imaging_private import terms

CURVE = "curve.json"
FIGURE = "plots/price-of-noise.png"
KEPT = ("mae", "guess", "r")
"""What `curve.json` keeps of each run's figures."""


def summary(runs: Iterable[dict[str, Any]], of: str) -> list[tuple[float, float, float, float, int]]:
    """By patients and epsilon: patients, epsilon, mean, half of the interval's width, and how many runs said it."""
    values: dict[tuple[float, float], list[float]] = {}
    for run in runs:
        kept = values.setdefault((run["patients"], run["epsilon"]), [])
        kept += [] if run[of] is None or math.isnan(run[of]) else [run[of]]
    found = []
    for (patients, epsilon), each in sorted(values.items()):
        half = math.nan
        if len(each) > 1:
            half = t_quantile(0.95, len(each) - 1) * float(np.std(each, ddof=1)) * (1 + 1 / len(each)) ** 0.5
        found.append((patients, epsilon, float(np.mean(each)) if each else math.nan, half, len(each)))
    return found


def draw(file: Path, runs: list[dict[str, Any]]) -> None:
    """The curve, as PNG."""
    figure = Figure(figsize=(5.4, 3.8), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes, cells = figure.subplots(), summary(runs, "mae")
    for number, patients in enumerate(sorted({cell[0] for cell in cells})):
        epsilon, mean, half = (np.array([c[k] for c in cells if c[0] == patients]) for k in (1, 2, 3))
        axes.errorbar(
            epsilon * (1 + 0.04 * (number - 1)), mean, yerr=half, fmt="o-", ms=4, capsize=3,
            color=("#D55E00", "#009E73", "#0072B2")[number % 3], label=f"{patients:.0f} patients",
        )  # fmt: skip
    guess = float(np.mean([run["guess"] for run in runs]))
    axes.axhline(guess, color="#888888", lw=1, ls="--", label="guessing the mean age")
    axes.set(xscale="log", xlabel="ε (δ = 1e-5, unit: patient)", ylabel="mean absolute error (years)", ylim=(0.0, None))
    axes.set_xticks(terms.EPSILONS, [f"{e:g}" for e in terms.EPSILONS])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6")
    axes.legend(frameon=False)
    figure.suptitle("Synthetic volumes")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})


def price_entries(run: Path, outside: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Figure and tables of the committed measurement, for a run's report; nothing where there is none."""
    file = files("multimodal_imaging_private") / CURVE
    if not file.is_file():
        return [], []
    said = json.loads(file.read_text(encoding="utf-8"))
    draw(run / FIGURE, said["runs"])
    title = "The price of noise, measured beforehand on synthetic volumes"
    caption = (
        f"{said['nodes']} DIZ, one analysis each, enforced by gates (ground vetted, unit patient, one patient added or "
        f"removed); figures {outside}. Intervals are for one further run, 95 %."
    )
    rows = [
        [f"{patients:.0f}", f"{epsilon:g}", *cells] for (patients, epsilon), cells in table_cells(said["runs"]).items()
    ]
    columns = ["patients", "ε", "mean absolute error (years)", "correlation"]
    table = {"title": title, "caption": caption, "columns": columns, "rows": rows}
    return [{"file": FIGURE, "title": title, "caption": caption}], [table]


def table_cells(runs: list[dict[str, Any]]) -> dict[tuple[float, float], list[str]]:
    """By patients and epsilon: error and correlation."""

    def cells(of: str, digits: int) -> dict[tuple[float, float], str]:
        return {(n, e): f"{mean:.{digits}f} ± {half:.{digits}f}" for n, e, mean, half, _ in summary(runs, of)}

    parts = (cells("mae", 1), cells("r", 2))
    return {key: [part[key] for part in parts] for key in parts[0]}
