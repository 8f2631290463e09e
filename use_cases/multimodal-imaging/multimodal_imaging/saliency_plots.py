"""Pictures of what a network looks at: means over test patients of |gradient x input|, on their mean image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from multimodal_imaging import plots
from multimodal_imaging.plots import Entry

Float = npt.NDArray[np.float64]

_SLICES = 6
_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
_FAINT, _STRONG = 75.0, 99.5
"""Percentiles of the map within the image: below the first nothing is drawn, at the second the colour is fullest."""
_SHOWN = 0.1
"""Of the mean image's maximum: what is darker is no part of the body."""
_MOST_BARS = 12


def image(folder: Path, name: str, said: Float, behind: Float, patients: int) -> Entry:
    """A modality of images.

    Args:
        folder: The run's folder.
        name: The modality.
        said: (D, H, W) or (H, W) mean map over patients.
        behind: The same of images; a template on the grid will do.
        patients: Of how many.
    """
    file = f"saliency-{name}"
    inside = behind > _SHOWN * behind.max() if behind.max() > 0 else np.ones_like(behind, dtype=np.bool_)
    box = tuple(slice(max(0, int(w.min()) - 1), int(w.max()) + 2) for w in np.nonzero(inside))
    said, behind, inside = smooth(said)[box], behind[box], inside[box]
    strength = said[inside & (said > 0)]
    low, high = np.percentile(strength, (_FAINT, _STRONG)) if strength.size else (0.0, 1.0)
    high = high if high > low else low + 1e-12
    views = _views(said, behind)
    across = max(image.shape[1] / image.shape[0] for _, _, image in views)
    size = 1.33 * across + 0.9, 1.5 * len(views) + 0.4
    with plots.figure(folder, file, *size, rows=len(views), picture=True) as axes:
        drawn: Any = None
        for panel, (label, strong, seen) in zip(axes, views, strict=True):
            panel.imshow(seen, cmap="gray", vmin=0, vmax=max(behind.max(), 1e-12), origin="lower")
            alpha = 0.75 * np.clip((strong - low) / (high - low), 0, 1)
            drawn = panel.imshow(
                strong * 1000, cmap="autumn", vmin=low * 1000, vmax=high * 1000, alpha=alpha, origin="lower"
            )
            panel.set_title(label, fontsize=8, loc="left")
            panel.set_axis_off()
        bar = axes[0].figure.colorbar(drawn, ax=list(axes), shrink=0.6, pad=0.01)
        bar.set_label("share of a patient's total, per mille", fontsize=7)
        bar.ax.tick_params(labelsize=7)
    return plots.entry(
        file,
        f"What the network looks at in {name}",
        f"|gradient x input|, each patient's divided by its total, mean over {patients} test patients and over boxes "
        f"of voxels and their neighbours; behind it their mean image, left on the left. Below the {_FAINT:.0f}th "
        "percentile nothing is drawn. It shows what this network reacts to, not what causes the outcome.",
        picture=True,
    )


def tables(folder: Path, said: Mapping[str, tuple[Sequence[str], Float]]) -> Entry | None:
    """The tables' features: for each modality the strongest, with their share of the modality; None without any."""
    shown = {name: found for name, found in said.items() if len(found[0]) > 1 and found[1].sum() > 0}
    if not shown:
        return None
    most = max(min(len(names), _MOST_BARS) for names, _ in shown.values())
    with plots.figure(folder, "saliency-tables", 3.6 * len(shown), 1.0 + 0.26 * most, panels=len(shown)) as axes:
        for panel, (modality, (names, shares)) in zip(axes, shown.items(), strict=True):
            best = np.argsort(-shares, kind="stable")[:_MOST_BARS]
            panel.barh(np.arange(len(best)), shares[best] * 100, 0.7, color=plots.BLUE)
            panel.set_yticks(np.arange(len(best)), [names[place] for place in best.tolist()], fontsize=8)
            panel.invert_yaxis()
            panel.set(title=modality, xlabel="share of the modality, %")
    return plots.entry(
        "saliency-tables",
        "What the network looks at in tables",
        "|gradient x input| by feature, each patient's divided by the total of the modality, mean over test patients.",
    )


def fusion_weights(folder: Path, modalities: Sequence[str], weights: Float) -> Entry:
    """How much the fusion counts each modality, (M, M): row m over the patients who have m."""
    with plots.figure(folder, "fusion-weights", 5.6, 1.2 + 0.45 * len(modalities)) as (axes,):
        left = np.zeros(len(modalities))
        places = np.arange(len(modalities))
        for column, name in enumerate(modalities):
            axes.barh(places, weights[:, column], 0.6, left=left, color=plots.COLOURS[column], label=name)
            left += weights[:, column]
        axes.set_yticks(places, [f"who has {name}" for name in modalities])
        axes.invert_yaxis()
        axes.set(xlabel="mean weight in the fusion", xlim=(0, 1))
        axes.legend(fontsize=8, ncols=len(modalities), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return plots.entry(
        "fusion-weights",
        "How the fusion weighs modalities",
        "Mean over the test patients who have each of them.",
    )


def _views(said: Float, behind: Float) -> list[tuple[str, Float, Float]]:
    """Strips of (label, map, image), each (rows, columns) with the origin below: slices through what is there."""
    if said.ndim == 2:
        return [("", said[::-1], behind[::-1])]
    strips, largest = [], (max(said.shape[1:]), max(said.shape[:2]))
    for plane, axis in _PLANES:
        places = np.linspace(0, said.shape[axis] - 1, _SLICES + 2)[1:-1].round().astype(int).tolist()
        both = (np.hstack([_framed(of.take(place, axis).T, largest) for place in places]) for of in (said, behind))
        strips.append((plane, *both))
    return strips


def _framed(cell: Float, sides: tuple[int, int]) -> Float:
    """A slice in the middle of a frame of (rows, columns), so that strips of all planes line up."""
    gaps = [side - have for side, have in zip(sides, cell.shape, strict=True)]
    return np.pad(cell, [(gap // 2, gap - gap // 2) for gap in gaps])


def smooth(values: Float) -> Float:
    """The mean over each voxel and its neighbours along all axes: gradients of strided convolutions are a grid."""
    for axis in range(values.ndim):
        wide = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in range(values.ndim)], mode="edge")
        parts = [wide.take(range(start, start + values.shape[axis]), axis) for start in range(3)]
        values = np.mean(parts, axis=0)
    return values


def split_maps(flat: npt.NDArray[Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Float]:
    """The modalities' maps out of one flat array, in the order of `shapes`."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    parts = np.split(np.asarray(flat, dtype=np.float64), np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
