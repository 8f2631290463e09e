"""Figures of exact and late fusion: what each model scores, and whether probabilities mean what they say."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from multimodal_imaging.calibration import Reliability
from multimodal_imaging.plots import BLUE, GREY, ORANGE, Entry, entry, figure


def bars(folder: Path, name: str, values: Mapping[str, float], label: str, *, title: str, caption: str) -> Entry:
    """One measure of several models, the first one in another colour."""
    with figure(folder, name, 5.6, 1.2 + 0.35 * len(values)) as (axes,):
        places = np.arange(len(values))
        colours = [ORANGE if place == 0 else BLUE for place in places.tolist()]
        axes.barh(places, list(values.values()), 0.6, color=colours)
        axes.set_yticks(places, list(values))
        axes.invert_yaxis()
        axes.set(xlabel=label)
    return entry(name, title, caption)


def reliability(folder: Path, found: Reliability) -> Entry:
    """Share with the class against the mean probability, by bin; the dots' areas are patients."""
    some = found.n > 0
    with figure(folder, "reliability", 4.2, 4.0) as (axes,):
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        axes.scatter(
            found.mean[some],
            found.share[some],
            s=8 + 160 * found.n[some] / max(int(found.n.max()), 1),
            color=BLUE,
            alpha=0.7,
        )
        axes.set(xlabel="mean probability", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    return entry(
        "reliability",
        "Are probabilities what they say",
        f"By bin of the probability, over all DIZ; on the dotted line they are. Calibration error {found.error:.3f}.",
    )
