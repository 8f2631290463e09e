"""Figures, as SVG files that are the same bytes for the same numbers.

Each function draws one figure into a folder and returns its entry for ``report.json``. Colours are those of Okabe and
Ito, which most people tell apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from federated_statistics.results import Result

Entry = dict[str, str]

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8a8a8a"

_STYLE: Any = {
    "svg.hashsalt": "federated-statistics",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def histogram(folder: Path, result: Result) -> list[Entry]:
    """One panel for each column."""
    edges = result.details["edges"]
    with _figure(folder, "histogram", 3.2 * len(edges), 2.8, panels=len(edges)) as panels:
        for axes, (name, of) in zip(panels, edges.items(), strict=True):
            counts = list(result.numbers[name].values())[: len(of) - 1]
            axes.stairs(counts, of, fill=True, color=BLUE, alpha=0.8)
            axes.set(xlabel=name, ylabel="rows")
    return [_entry("histogram", "Histograms", "Counts of all DIZ together, in bins declared beforehand.")]


def correlation(folder: Path, result: Result) -> list[Entry]:
    """A coloured matrix."""
    names = list(result.numbers)
    matrix = np.array([[result.numbers[a][b] for b in names] for a in names])
    size = 2.6 + 0.22 * len(names)
    with _figure(folder, "correlation", size + 0.8, size) as (axes,):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.figure.colorbar(image, ax=axes, shrink=0.8)
    return [_entry("correlation", "Correlations", "Pearson's correlation over the rows of all DIZ, from sums.")]


def pca(folder: Path, result: Result) -> list[Entry]:
    """Shares of variance, and the loadings of the first two components."""
    share = list(result.numbers["share"].values())
    with _figure(folder, "pca", 8.4, 3.4 + 0.06 * len(result.details["columns"]), panels=2) as (left, right):
        left.plot(range(1, len(share) + 1), np.cumsum(share), "o-", ms=3, color=BLUE)
        left.set(xlabel="components", ylabel="share of variance, cumulative", ylim=(0, 1.02))
        for number, colour in ((1, BLUE), (2, ORANGE)):
            loadings = result.numbers.get(f"PC{number}", {})
            places = np.arange(len(loadings)) + 0.2 * (number - 1.5)
            right.barh(places, list(loadings.values()), 0.35, color=colour, label=f"PC{number}")
        right.set_yticks(range(len(result.details["columns"])), result.details["columns"], fontsize=7)
        right.invert_yaxis()
        right.set(xlabel="loading")
        right.legend()
    return [_entry("pca", "Principal components", "From the covariance matrix over the complete rows of all DIZ.")]


def coefficients(folder: Path, result: Result) -> list[Entry]:
    """Estimates in standard errors of themselves, so that units do not matter, with 95 % intervals."""
    names = [name for name in result.numbers["estimate"] if name != "(intercept)"]
    z = np.array([result.numbers["statistic"][name] for name in names])
    error = np.array([result.numbers["standard error"][name] for name in names])
    low, high = (np.array([result.numbers[end][name] for name in names]) / error for end in ("lower", "upper"))
    with _figure(folder, "coefficients", 6.4, 1.2 + 0.28 * len(names)) as (axes,):
        axes.errorbar(z, range(len(names)), xerr=[z - low, high - z], fmt="o", ms=4, color=BLUE)
        axes.axvline(0, color=GREY, lw=1)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel="coefficient in standard errors, 95 % interval")
    return [
        _entry("coefficients", "Coefficients", "Each divided by its standard error; the fit is that of all DIZ's rows.")
    ]


def path(folder: Path, result: Result) -> list[Entry]:
    """Cross-validated error over the penalties."""
    details = result.details
    with _figure(folder, "cv-curve", 6.4, 3.4) as (axes,):
        axes.errorbar(details["lambdas"], details["cv_error"], yerr=details["cv_se"], fmt="o-", ms=3, lw=1, color=BLUE)
        axes.axvline(details["lambdas"][details["chosen"]], color=ORANGE, lw=1, label="chosen (one standard error)")
        axes.set(xscale="log", xlabel="penalty λ", ylabel=f"{details['error']}, held out")
        axes.invert_xaxis()
        axes.legend()
    return [_entry("cv-curve", "Choosing the penalty", "Cross-validated error by folds of patients, from sums alone.")]


@contextmanager
def _figure(folder: Path, name: str, width: float, height: float, *, panels: int = 1) -> Iterator[Any]:
    """The panels of a figure, side by side; the file appears when the block ends without an error."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield np.ravel(figure.subplots(1, panels, squeeze=False))
        (folder / "plots").mkdir(exist_ok=True)
        figure.savefig(folder / "plots" / f"{name}.svg", format="svg", metadata={"Date": None})


def _entry(name: str, title: str, caption: str) -> Entry:
    return {"file": f"plots/{name}.svg", "title": title, "caption": caption}


DRAW = {
    "histogram": histogram,
    "correlation": correlation,
    "pca": pca,
    "linear": coefficients,
    "logistic": coefficients,
    "poisson": coefficients,
    "cox": coefficients,
    "elastic-net": path,
}
"""By analysis; the others have no figure."""
