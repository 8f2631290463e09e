"""Figures of a network's run: how it learned, what each modality adds, and whether its outputs are calibrated."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from multimodal_imaging import plots
from multimodal_imaging.deep_scores import Scores, reliability
from multimodal_imaging.plots import Entry

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def learning(folder: Path, losses: Mapping[int, float]) -> Entry:
    """The DIZ's mean training loss by round."""
    with plots.figure(folder, "learning", 5.6, 3.2) as (axes,):
        axes.plot(list(losses), list(losses.values()), color=plots.BLUE, marker="o", ms=3)
        axes.set(xlabel="round", ylabel="training loss", ylim=(0, None))
    return plots.entry("learning", "Training", "Loss at the DIZ in the last pass of each round, mean by patients.")


def ablation(folder: Path, names: Sequence[str], scores: Sequence[Scores], measure: str) -> Entry:
    """A measure of the test patients by what the network may look at; views without patients are left out."""
    both = zip(names, scores, strict=True)
    shown = [(name, score) for name, score in both if score.patients and np.isfinite(score.measures[measure])]
    colours = {"all": plots.GREEN, "without": plots.ORANGE, "only": plots.BLUE}
    with plots.figure(folder, "ablation", 5.6, 1.0 + 0.34 * max(1, len(shown))) as (axes,):
        places = np.arange(len(shown))
        values = [s.measures[measure] for _, s in shown]
        axes.barh(places, values, 0.65, color=[colours[name.split()[0]] for name, _ in shown])
        axes.bar_label(axes.containers[0], labels=[f" {value:.3g} ({s.patients})" for value, (_, s) in zip(
            values, shown, strict=True)], fontsize=8)  # fmt: skip
        axes.set_yticks(places, [name for name, _ in shown])
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set(xlabel=f"{measure} on test patients ")
    return plots.entry(
        "ablation",
        "What each modality adds",
        "The same network with modalities hidden from it, without training it again. All test patients are in each "
        "view; of whom nothing is left, the network says its offset.",
    )


def calibration(folder: Path, before: Int, after: Int) -> Entry:
    """Reliability of probabilities, counts (C, 2, B) at temperature 1 and at the chosen one."""
    with plots.figure(folder, "calibration", 4.4, 4.0) as (axes,):
        axes.plot([0, 1], [0, 1], color=plots.GREY, lw=1, ls=":")
        for counts, colour, label in (
            (before, plots.ORANGE, "as trained"),
            (after, plots.BLUE, "with temperature"),
        ):
            middle, share, total = _merged(counts)
            axes.plot(middle, share, color=colour, marker="o", ms=3, lw=1, label=label)
            axes.scatter(middle, share, s=80 * total / max(total.max(), 1), color=colour, alpha=0.35, lw=0)
        axes.set(xlabel="probability said", ylabel="how often it was so", xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize=8, loc="upper left")
    return plots.entry(
        "calibration",
        "Calibration",
        "Over all classes of the test patients, in ten bins; the dots' area is the number of patients. The temperature "
        "was found on patients that were not trained on.",
    )


def errors(folder: Path, counts: Int, step: float, width: float, share: float) -> Entry:
    """How many test patients have an error of at most so much, and the calibrated width."""
    with plots.figure(folder, "errors", 5.6, 3.2) as (axes,):
        total = max(int(counts.sum()), 1)
        axes.step(step * np.arange(1, len(counts)), np.cumsum(counts)[:-1] / total, color=plots.BLUE, where="post")
        if np.isfinite(width):
            axes.axvline(width, color=plots.ORANGE, lw=1, ls="--", label=f"calibrated width {width:.3g}")
            axes.axhline(share, color=plots.GREY, lw=1, ls=":")
            axes.legend(fontsize=8, loc="lower right")
        axes.set(xlabel="absolute error", ylabel="share of test patients", ylim=(0, 1))
        axes.set_xlim(0, step * max(2, int(np.searchsorted(np.cumsum(counts), 0.995 * total)) + 2))
    return plots.entry(
        "errors",
        "Errors",
        f"Cumulative, of test patients; an interval of the width on both sides is meant to hold {share:.0%} of them.",
    )


def _merged(counts: Int, bins: int = 10) -> tuple[Float, Float, Int]:
    """`reliability` in about ten bins, without empty ones."""
    edges = np.unique(np.linspace(0, counts.shape[2], min(bins, counts.shape[2]) + 1).round().astype(int))
    merged = np.add.reduceat(counts, edges[:-1], axis=2)
    middle = (edges[:-1] + edges[1:]) / 2 / counts.shape[2]
    _, share, total = reliability(merged)
    return middle[total > 0], share[total > 0], total[total > 0]
