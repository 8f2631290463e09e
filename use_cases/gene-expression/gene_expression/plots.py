"""Figures that are the same bytes for the same numbers: clouds of thousands of genes as PNG, curves as SVG.

Each function draws one figure into a folder and returns its entry for ``report.json``. Colours are those of Okabe and
Ito, which most people tell apart.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from flame_strategies.limma import ContrastTable, LimmaFit
from flame_strategies.voom import VoomFit
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

Entry = dict[str, str]

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#8a8a8a",
)
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, "#F0E442", "#000000")

SIGNIFICANT = 0.05
_LABELLED = 8

_STYLE: Any = {
    "svg.hashsalt": "gene-expression",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def contrast(folder: Path, place: int, table: ContrastTable, fit: LimmaFit) -> list[Entry]:
    """Volcano and MA plot of one contrast.

    Args:
        folder: The run's folder.
        place: Of the contrast, from 0.
        table: Its tests.
        fit: Whose they are.
    """
    below = table.adjusted_p < SIGNIFICANT
    up, down = below & (table.log_fc > 0), below & (table.log_fc < 0)
    tag = "" if place == 0 else f"-{place + 1}"
    clearest = table.order()[:_LABELLED].tolist()
    found = []
    for name, title, x, y, labels in (
        ("volcano", "Volcano plot", table.log_fc, -table.log10_p, ("log2 fold change", "−log10 p")),
        ("ma", "MA plot", fit.average, table.log_fc, ("mean log2 expression", "log2 fold change")),
    ):
        with figure(folder, f"{name}{tag}", 6.0, 4.4, cloud=True) as (axes,):
            _cloud(axes, x, y, up, down)
            for gene in clearest:
                axes.annotate(
                    fit.genes[gene], (x[gene], y[gene]), fontsize=7, xytext=(3, 2), textcoords="offset points"
                )
            axes.set(xlabel=labels[0], ylabel=labels[1])
            axes.legend(loc="best", fontsize=8)
        caption = f"{table.name}; {len(fit.genes)} genes, from sums over all DIZ. Coloured: adjusted p < {SIGNIFICANT}."
        found.append(entry(f"{name}{tag}", f"{title}: {table.name}", caption, cloud=True))
    return found


def mean_variance(folder: Path, fit: VoomFit) -> Entry:
    """The trend from which voom takes its weights."""
    with figure(folder, "mean-variance", 6.0, 4.0, cloud=True) as (axes,):
        axes.scatter(fit.gene_x, fit.gene_y, s=3, lw=0, color=GREY, alpha=0.5)
        axes.plot(fit.trend_x, fit.trend_y, color=RED, lw=1.5)
        axes.set(xlabel="mean log2 count", ylabel="square root of the standard deviation")
    caption = "One dot per gene, from sums over all DIZ; the line gives every count its weight, at its own DIZ."
    return entry("mean-variance", "voom: mean and variance", caption, cloud=True)


def roc(folder: Path, found: Mapping[str, Any]) -> list[Entry]:
    """Receiver operating characteristic of each class: all DIZ together, and each alone where that may be shown.

    Args:
        folder: The run's folder.
        found: Curves by class in ``validation`` (cross-validated) and ``overall`` (test samples of all DIZ), one of
            which may be missing, and by DIZ and class in ``by_site``; each has ``fpr``, ``tpr`` and ``auc``.
    """
    main = {"test samples": found.get("overall", {}), "cross-validation": found.get("validation", {})}
    classes = list(dict.fromkeys(level for curves in main.values() for level in curves))
    entries = []
    for number, level in enumerate(classes[:6]):
        name = "roc" if number == 0 else f"roc-{number + 1}"
        with figure(folder, name, 4.8, 4.6) as (axes,):
            for place, (site, curves) in enumerate(found.get("by_site", {}).items()):
                if level in curves:
                    colour = COLOURS[2 + place % (len(COLOURS) - 2)]
                    axes.plot(*_steps(curves[level]), lw=1, color=colour, label=f"{site} ({_area(curves[level])})")
            for (what, curves), colour in zip(main.items(), (BLUE, ORANGE), strict=True):
                if level in curves:
                    axes.plot(*_steps(curves[level]), lw=2, color=colour, label=f"{what} ({_area(curves[level])})")
            axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
            axes.set(xlabel="false positives", ylabel="true positives", aspect="equal")
            axes.legend(loc="lower right", fontsize=8)
        caption = "On samples that the model was not trained on, from counts in bins of the score; area in brackets."
        entries.append(entry(name, f"ROC: {level}", caption))
    return entries


def kaplan_meier(folder: Path, found: Mapping[str, Any]) -> list[Entry]:
    """Survival by group: all DIZ together, by predicted risk, and each DIZ where that may be shown.

    Args:
        folder: The run's folder.
        found: By what is shown (``overall``, and in ``by_site`` by DIZ), curves by group: ``time``, ``survival``,
            ``lower``, ``upper``.
    """
    shown = {"all DIZ": found["overall"]}
    shown |= {f"by risk, {name}": curves for name, curves in found.items() if name not in {"overall", "by_site"}}
    shown |= found.get("by_site", {})
    entries = []
    for number, (title, curves) in enumerate(list(shown.items())[:10]):
        name = "kaplan-meier" if number == 0 else f"kaplan-meier-{number + 1}"
        with figure(folder, name, 5.6, 3.8) as (axes,):
            for place, (label, curve) in enumerate(curves.items()):
                colour = COLOURS[place % len(COLOURS)]
                axes.step(curve["time"], curve["survival"], where="post", color=colour, label=str(label))
                if "lower" in curve:
                    ends = [np.asarray(curve[end], dtype=np.float64) for end in ("lower", "upper")]
                    axes.fill_between(curve["time"], *ends, step="post", color=colour, alpha=0.15, lw=0)
            axes.set(xlabel="time", ylabel="survival", ylim=(0, 1.02))
            axes.legend(fontsize=8)
        caption = "Counts on the declared grid of times; the band is the 95 % interval."
        entries.append(entry(name, f"Kaplan–Meier: {title}", caption))
    return entries


def stability(folder: Path, of: Mapping[str, Any]) -> list[Entry]:
    """How often each gene was chosen on halves of the patients.

    Args:
        folder: The run's folder.
        of: By what was predicted, ``genes`` and ``frequency``, the most frequent first.
    """
    entries = []
    for number, (what, found) in enumerate(list(of.items())[:6]):
        names, shares = found["genes"][:25], found["frequency"][:25]
        name = "stability" if number == 0 else f"stability-{number + 1}"
        with figure(folder, name, 5.6, 1.2 + 0.22 * max(len(names), 1)) as (axes,):
            axes.barh(range(len(names)), shares, 0.7, color=BLUE)
            axes.set_yticks(range(len(names)), names, fontsize=8)
            axes.invert_yaxis()
            axes.set(xlabel="share of halves in which the gene was chosen", xlim=(0, 1))
        caption = "The choice of genes repeated on random halves of the patients of all DIZ."
        entries.append(entry(name, f"Stability of the chosen genes: {what}", caption))
    return entries


@contextmanager
def figure(
    folder: Path, name: str, width: float, height: float, *, panels: int = 1, cloud: bool = False
) -> Iterator[Any]:
    """The panels of a figure, side by side; the file appears when the block ends without an error.

    Args:
        folder: The run's folder.
        name: Of the file in ``plots/``, without its ending.
        width: Inches.
        height: Inches.
        panels: How many.
        cloud: Whether there are thousands of dots: then it is a PNG.
    """
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        (FigureCanvasAgg if cloud else FigureCanvasSVG)(drawn)
        yield np.ravel(drawn.subplots(1, panels, squeeze=False))
        (folder / "plots").mkdir(exist_ok=True)
        kind = "png" if cloud else "svg"
        metadata = {"Software": None} if cloud else {"Date": None}
        drawn.savefig(folder / "plots" / f"{name}.{kind}", format=kind, dpi=150, metadata=metadata)


def entry(name: str, title: str, caption: str, *, cloud: bool = False) -> Entry:
    """A figure's entry for ``report.json``."""
    return {"file": f"plots/{name}.{'png' if cloud else 'svg'}", "title": title, "caption": caption}


def _cloud(
    axes: Any,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    up: npt.NDArray[np.bool_],
    down: npt.NDArray[np.bool_],
) -> None:
    rest = ~(up | down)
    axes.scatter(x[rest], y[rest], s=4, lw=0, color=GREY, alpha=0.4)
    axes.scatter(x[up], y[up], s=6, lw=0, color=RED, alpha=0.8, label=f"{int(up.sum())} up")
    axes.scatter(x[down], y[down], s=6, lw=0, color=BLUE, alpha=0.8, label=f"{int(down.sum())} down")


def _area(curve: Mapping[str, Any]) -> str:
    area = curve.get("auc")
    return "–" if area is None else f"{float(area):.3f}"


def _steps(curve: Mapping[str, Any]) -> tuple[Any, Any]:
    return curve["fpr"], curve["tpr"]
