"""Figures that are the same bytes for the same numbers: clouds of variants as PNG, curves as SVG.

Each function draws one figure into a folder and returns its entry for ``report.json``. Colours are those of Okabe and
Ito, which most people tell apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

Entry = dict[str, str]
Float = npt.NDArray[np.float64]

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#8a8a8a",
)

DPI = 150

_STYLE: Any = {
    "svg.hashsalt": "gwas",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def roc(folder: Path, counts: npt.NDArray[np.int64], area: float, mark: str = "") -> Entry:
    """Receiver operating characteristic of a score, from its counts (B, 2) of controls and cases by bin."""
    above = np.vstack([np.cumsum(counts[::-1], axis=0), [[0, 0]]])
    shares = np.vstack([[0, 0], above[:-1]]) / np.maximum(counts.sum(axis=0), 1)
    with figure(folder, "roc", 4.8, 4.6, mark=mark) as (axes,):
        axes.plot(shares[:, 0], shares[:, 1], color=BLUE, lw=2, label=f"score (area {area:.3f})")
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        axes.set(xlabel="false positives", ylabel="true positives", aspect="equal")
        axes.legend(loc="lower right", fontsize=8)
    return entry("roc", "ROC of the score", "Test samples of all DIZ, in tenths of each DIZ by rank of the score.")


def calibration(folder: Path, tenths: Float, name: str, mark: str = "") -> Entry:
    """Mean outcome against mean prediction by bin of the prediction; tenths (10, 3): samples, sums of both."""
    used = tenths[tenths[:, 0] > 0]
    predicted, seen = used[:, 1] / used[:, 0], used[:, 2] / used[:, 0]
    with figure(folder, "calibration", 4.8, 4.6, mark=mark) as (axes,):
        ends = [min(predicted.min(), seen.min()), max(predicted.max(), seen.max())] if len(used) else [0, 1]
        axes.plot(ends, ends, color=GREY, lw=1, ls=":")
        axes.plot(predicted, seen, "o", color=BLUE, ms=6)
        axes.set(xlabel=f"predicted {name}", ylabel=f"observed {name}")
    caption = "Means of the test samples, in tenths of each DIZ by rank of the prediction; on the line, they agree."
    return entry("calibration", "Calibration of the prediction", caption)


def penalties(folder: Path, path: Float, mse: Float, null: float, best: int, *, mark: str = "") -> Entry:
    """The cross-validated error along a path of penalties."""
    with figure(folder, "penalties", 5.6, 3.6, mark=mark) as (axes,):
        axes.plot(path, mse, color=BLUE, marker=".", label="with the score")
        axes.axhline(null, color=GREY, lw=1, ls=":", label="covariates alone")
        axes.plot(path[best], mse[best], "o", color=RED, label="chosen")
        axes.set(xscale="log", xlabel="penalty", ylabel="mean squared error, held-out folds")
        axes.legend(fontsize=8)
    return entry("penalties", "Choice of the penalty", "Folds of the training patients of all DIZ, from sums by fold.")


@contextmanager
def figure(
    folder: Path, name: str, width: float, height: float, *, panels: int = 1, cloud: bool = False, mark: str = ""
) -> Iterator[Any]:
    """The panels of a figure, side by side; the file appears when the block ends without an error.

    Args:
        folder: The run's folder.
        name: Of the file in ``plots/``, without its ending.
        width: Inches.
        height: Inches.
        panels: How many.
        cloud: Whether there are thousands of dots: then it is a PNG.
        mark: Written into the lower right corner: that the data are synthetic.
    """
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        (FigureCanvasAgg if cloud else FigureCanvasSVG)(drawn)
        if mark:
            drawn.text(0.995, 0.01, mark, ha="right", va="bottom", fontsize=7, color=GREY)
        yield np.ravel(drawn.subplots(1, panels, squeeze=False))
        (folder / "plots").mkdir(exist_ok=True)
        kind = "png" if cloud else "svg"
        metadata = {"Software": None} if cloud else {"Date": None}
        drawn.savefig(folder / "plots" / f"{name}.{kind}", format=kind, dpi=DPI, metadata=metadata)


def entry(name: str, title: str, caption: str, *, cloud: bool = False) -> Entry:
    """A figure's entry for ``report.json``."""
    return {"file": f"plots/{name}.{'png' if cloud else 'svg'}", "title": title, "caption": caption}
