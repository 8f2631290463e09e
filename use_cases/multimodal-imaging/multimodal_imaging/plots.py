"""Figures that are the same bytes for the same numbers: pictures as PNG, curves and bars as SVG.

Colours are those of Okabe and Ito, which most people tell apart. What belongs to one analysis is in its own module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from multimodal_imaging.counts import Cohort

Entry = dict[str, str]

_CORNER: ContextVar[str] = ContextVar("corner", default="")

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

_STYLE: Any = {
    "svg.hashsalt": "multimodal-imaging",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def availability(folder: Path, cohort: Cohort) -> list[Entry]:
    """How many patients have each modality, and how many all of them."""
    counts = {**cohort.modality, "all of them": cohort.complete}
    train, test = ([count[side] for count in counts.values()] for side in (0, 1))
    with figure(folder, "availability", 5.6, 1.4 + 0.4 * len(counts)) as (axes,):
        places = np.arange(len(counts))
        axes.barh(places, train, 0.6, color=BLUE, label="train")
        axes.barh(places, test, 0.6, left=train, color=SKY, label="test")
        axes.axvline(sum(cohort.patients), color=GREY, lw=1, ls=":")
        axes.set_yticks(places, list(counts))
        axes.invert_yaxis()
        axes.set(xlabel="patients (dotted: all)")
        axes.legend(fontsize=8, loc="lower right")
    return [entry("availability", "Who has what", "Patients with each modality, summed over the DIZ.")]


@contextmanager
def marked(word: str) -> Iterator[None]:
    """Figures that are drawn in the block have a word in a corner, such as that their data are synthetic."""
    before = _CORNER.set(word)
    try:
        yield
    finally:
        _CORNER.reset(before)


@contextmanager
def figure(
    folder: Path, name: str, width: float, height: float, *, panels: int = 1, rows: int = 1, picture: bool = False
) -> Iterator[Any]:
    """The panels of a figure, row by row; the file appears when the block ends without an error.

    Args:
        folder: The run's folder.
        name: Of the file in ``plots/``, without its ending.
        width: Inches.
        height: Inches.
        panels: Side by side.
        rows: Below each other.
        picture: Whether it shows pixels: then it is a PNG.
    """
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        (FigureCanvasAgg if picture else FigureCanvasSVG)(drawn)
        yield np.ravel(drawn.subplots(rows, panels, squeeze=False))
        if corner := _CORNER.get():
            strip = 0.14 / height  # below everything else
            drawn.set_layout_engine("constrained", rect=(0, strip, 1, 1 - strip))
            drawn.text(0.995, 0.02 / height, corner, ha="right", va="bottom", fontsize=7, color=GREY)
        (folder / "plots").mkdir(exist_ok=True)
        kind = "png" if picture else "svg"
        metadata = {"Software": None} if picture else {"Date": None}
        drawn.savefig(folder / "plots" / f"{name}.{kind}", format=kind, dpi=150, metadata=metadata)


def entry(name: str, title: str, caption: str, *, picture: bool = False) -> Entry:
    """A figure's entry for ``report.json``."""
    return {"file": f"plots/{name}.{'png' if picture else 'svg'}", "title": title, "caption": caption}
