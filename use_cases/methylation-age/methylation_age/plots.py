"""Figures, as SVG files that are the same bytes for the same numbers.

Each function draws one figure into a folder and returns its entry for ``report.json``. Colours are those of Okabe and
Ito, which most people tell apart; a DIZ has the same colour in every figure.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

Float = npt.NDArray[np.float64]
Entry = dict[str, str]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
GREY = "#8a8a8a"

_STYLE = {
    "svg.hashsalt": "methylation-age",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
}


def cv_curve(folder: Path, training: Mapping[str, Any]) -> Entry:
    """Cross-validated error over the penalties, with the one that was chosen.

    Args:
        folder: The run's folder.
        training: What `elastic_net_run` wrote into the model's description.
    """
    penalties, error, spread = (np.array(training[key]) for key in ("lambdas", "cv_mse", "cv_se"))
    with _figure(folder, "cv-curve", 6.4, 3.6) as axes:
        axes.errorbar(penalties, error, yerr=spread, fmt="o-", ms=3, lw=1, color=COLOURS[0], ecolor="#b8d4e6")
        axes.axvline(penalties[training["chosen"]], color=COLOURS[5], lw=1, label=f"chosen ({training['rule']})")
        axes.axvline(penalties[training["least_cv_error"]], color=GREY, lw=1, ls=":", label="least error")
        axes.set(xscale="log", yscale="log", xlabel="penalty λ", ylabel="mean squared error\n(transformed age)")
        axes.invert_xaxis()
        axes.legend()
    return _entry(
        "cv-curve",
        "Choosing the penalty",
        f"Cross-validated error of the elastic net in {training['folds']} folds of patients, from sums alone. "
        "Bars are one standard error. Test samples had no part in the choice.",
    )


def confidences(folder: Path, counts: Sequence[int], median: float) -> Entry:
    """How well the CpGs of a target are foretold.

    Args:
        folder: The run's folder.
        counts: CpGs by mean confidence, in bins of equal width from 0 to 1.
        median: Of the mean confidences.
    """
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    with _figure(folder, "confidences", 6.4, 3.2) as axes:
        axes.stairs(counts, edges, fill=True, color=COLOURS[4])
        axes.axvline(0.5, color=GREY, lw=1, ls=":", label="expected where nothing differs")
        axes.axvline(median, color=COLOURS[5], lw=1, label="median")
        axes.set(xlabel="mean confidence over the target's samples", ylabel="CpGs", xlim=(0, 1))
        axes.legend()
    caption = (
        "How far each CpG of the target agrees with what the other CpGs foretell, by the relations in the training "
        "samples. CpGs on the left are penalised."
    )
    return _entry("confidences", "The target's CpGs", caption)


def error_by_round(folder: Path, by_round: Mapping[int, float]) -> Entry:
    """Mean absolute error of the MLP on all DIZ's test samples after each round.

    Args:
        folder: The run's folder.
        by_round: Years, by round.
    """
    with _figure(folder, "error-by-round", 6.4, 3.4) as axes:
        axes.plot(list(by_round), list(by_round.values()), "o-", ms=4, color=COLOURS[2])
        axes.set(xlabel="round", ylabel="mean absolute error (years)", ylim=(0, None))
    caption = "The MLP on the DIZ's test samples after each round of federated averaging, from sums of errors."
    return _entry("error-by-round", "Error by round", caption)


def error_by_site(folder: Path, clocks: Mapping[str, Mapping[str, float]]) -> Entry:
    """Mean absolute error at each DIZ.

    Args:
        folder: The run's folder.
        clocks: For each clock the mean absolute error (years) by DIZ.
    """
    sites = sorted({site for by_site in clocks.values() for site in by_site})
    width = 0.8 / len(clocks)
    with _figure(folder, "error-by-site", 6.4, 3.4) as axes:
        for i, (name, by_site) in enumerate(clocks.items()):
            at = np.arange(len(sites)) + (i - (len(clocks) - 1) / 2) * width
            heights = [by_site.get(site, np.nan) for site in sites]
            axes.bar(at, heights, width * 0.92, color=COLOURS[2 * i % len(COLOURS)], label=name)
        axes.set(xticks=range(len(sites)), xticklabels=sites, ylabel="mean absolute error (years)")
        axes.grid(visible=False, axis="x")
        axes.legend()
    return _entry("error-by-site", "Error by DIZ", "On each DIZ's own test samples, from sums of errors.")


def decades(folder: Path, counts: npt.NDArray[np.int64]) -> Entry:
    """Test samples by decade of age and decade of predicted age.

    Args:
        folder: The run's folder.
        counts: (11, 11), chronological by predicted.
    """
    labels = ["<10", *(f"{10 * d}s" for d in range(1, 10)), "100+"]
    with _figure(folder, "decades", 4.8, 4.4) as axes:
        axes.imshow(np.ma.masked_equal(counts.T, 0), origin="lower", cmap="Blues", vmin=0)
        for (predicted, age), count in np.ndenumerate(counts.T):
            if count:
                colour = "white" if count > 0.6 * counts.max() else "black"
                axes.text(age, predicted, str(count), ha="center", va="center", fontsize=8, color=colour)
        axes.set(xlabel="age", ylabel="predicted age", xticks=range(11), yticks=range(11))
        axes.set_xticklabels(labels, rotation=60, fontsize=8)
        axes.set_yticklabels(labels, fontsize=8)
        axes.grid(visible=False)
    caption = "Test samples of all DIZ by decade; a DIZ reports fewer than three as none."
    return _entry("decades", "Age and predicted age by decade", caption)


def predicted_by_age(
    folder: Path, name: str, title: str, age: Mapping[str, Float], predicted: Mapping[str, Float]
) -> Entry:
    """Predicted against chronological age, coloured by DIZ. Shows persons: for simulations on public data only.

    Args:
        folder: The run's folder.
        name: Of the file.
        title: Which clock.
        age: Years, by DIZ.
        predicted: Years, by DIZ.
    """
    with _figure(folder, name, 5.2, 5.0) as axes:
        highest = max(100.0, *(float(values.max(initial=0.0)) for values in (*age.values(), *predicted.values())))
        axes.plot([0, highest], [0, highest], color=GREY, lw=1, zorder=1)
        for i, site in enumerate(age):
            colour = COLOURS[i % len(COLOURS)]
            axes.scatter(age[site], predicted[site], s=16, color=colour, alpha=0.8, lw=0, label=site)
        axes.set(xlabel="chronological age (years)", ylabel="predicted age (years)", aspect="equal")
        axes.legend()
    caption = "Test samples, one dot each. Drawn outside the gate, for a simulation on public data only."
    return _entry(name, title, caption)


def models(folder: Path, errors: Mapping[str, float], kinds: Mapping[str, str]) -> Entry:
    """Mean absolute error of every model on the same test samples.

    Args:
        folder: The run's folder.
        errors: Years, by model, in the order to show.
        kinds: The kind of each model, which gives its colour.
    """
    palette = {kind: COLOURS[i] for i, kind in enumerate(dict.fromkeys(kinds.values()))}
    names = list(errors)[::-1]
    with _figure(folder, "models", 6.8, 0.9 + 0.34 * len(names)) as axes:
        bars = axes.barh(names, [errors[n] for n in names], color=[palette[kinds[n]] for n in names], height=0.7)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set(xlabel="mean absolute error (years)")
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        for kind, colour in palette.items():
            axes.barh(names[0], 0, color=colour, label=kind)
        axes.figure.legend(loc="outside upper center", ncols=len(palette))  # above, not over the bars
    caption = "Test samples of all DIZ: federated, pooled and local training; outside the gate, simulation only."
    return _entry("models", "Federated, pooled, local", caption)


@contextmanager
def _figure(folder: Path, name: str, width: float, height: float) -> Iterator[Any]:
    """Axes to draw on; the file appears when the block ends without an error."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure.subplots()
        (folder / "plots").mkdir(exist_ok=True)
        figure.savefig(folder / "plots" / f"{name}.svg", metadata={"Date": None})


def _entry(name: str, title: str, caption: str) -> Entry:
    return {"file": f"plots/{name}.svg", "title": title, "caption": caption}
