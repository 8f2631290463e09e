"""The Manhattan plot of millions of tests: what is drawn is counted first, at the resolution of the picture.

A test falls into a pixel, and a picture of 10 million tests has as many pixels as one of ten thousand; each pixel with
a test is drawn as a small dot. The parts are read once and never held together. Tests beyond the genome-wide line are
drawn one by one, the clearest few thousand of them, and leads of loci carry their names.

-log10 p is drawn as it is up to `BREAK`. Where larger values occur, the axis goes on there as BREAK (1 + log(v /
BREAK)), which has no kink; its ticks say the values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgba

from gwas import plots
from gwas.clumping import GENOME_WIDE, SUGGESTIVE, Locus
from gwas.panel import Panel, chromosome_name
from gwas.plots import BLUE, GREY, RED, SKY
from gwas.results import Associations

Float = npt.NDArray[np.float64]

BREAK = 20.0
_SINGLE = 3_000
"""Tests that are drawn one by one, at most."""

_NAMED = 10
_GAP = 0.004
"""Between chromosomes, as a share of the genome."""

_COLUMNS, _ROWS = 2400, 900
"""Pixels of the cloud; the picture has about as many."""


@dataclass(frozen=True, eq=False)
class Axis:
    """Where variants are drawn: chromosomes side by side, each as long as its variants reach, or all in one.

    Attributes:
        codes: Chromosomes of the panel, ascending.
        first: Position of the first variant of each.
        offset: Where each begins, from 0 to 1.
        scale: Share of the picture per base.
    """

    codes: tuple[int, ...]
    first: npt.NDArray[np.int64]
    offset: Float
    scale: float

    @classmethod
    def of(cls, panel: Panel) -> "Axis":
        """Of a panel's chromosomes."""
        stretches = panel.stretches()
        first = np.array([panel.position[start] for start, _ in stretches], dtype=np.int64)
        last = np.array([panel.position[stop - 1] for _, stop in stretches], dtype=np.int64)
        length = (last - first + 1).astype(np.float64)
        room = 1 - _GAP * (len(stretches) - 1)
        ends = np.cumsum(length) / length.sum() * room + _GAP * np.arange(len(stretches))
        offset = ends - length / length.sum() * room
        codes = tuple(int(panel.chromosome[start]) for start, _ in stretches)
        return cls(codes, first, offset, float(room / length.sum()))

    def x(self, chromosome: npt.NDArray[Any], position: npt.NDArray[Any]) -> Float:
        """From 0 to 1."""
        at = np.searchsorted(self.codes, chromosome)
        return np.asarray(self.offset[at] + (position - self.first[at]) * self.scale)

    def middles(self) -> Float:
        """Of each chromosome."""
        ends = np.append(self.offset[1:] - _GAP, 1.0)
        return np.asarray((self.offset + ends) / 2)


def manhattan(
    folder: Path, associations: Associations, panel: Panel, loci: Sequence[Locus], largest: float, *, mark: str = ""
) -> plots.Entry:
    """-log10 p of every test by its place in the genome.

    Args:
        folder: The run's folder.
        associations: The tests.
        panel: Whose variants they are of.
        loci: Whose leads are named, the clearest first.
        largest: The largest finite -log10 p.
        mark: See `plots.figure`.
    """
    axis, top = Axis.of(panel), float(height(max(largest, 9.0))) * 1.04
    cells = np.zeros((_ROWS, _COLUMNS), dtype=np.uint8)
    single: list[tuple[float, float]] = []
    line, least = -math.log10(GENOME_WIDE), 0.0
    for part in associations.tested(("index", "log10p")):
        index = part["index"].astype(np.int64)
        chromosome = panel.chromosome[index]
        x, y = axis.x(chromosome, panel.position[index]), height(np.minimum(part["log10p"], largest))
        column = np.minimum((x * _COLUMNS).astype(np.int64), _COLUMNS - 1)
        row = np.minimum((y / top * _ROWS).astype(np.int64), _ROWS - 1)
        cells[row, column] = 1 + np.searchsorted(axis.codes, chromosome) % 2
        beyond = part["log10p"] >= max(line, least)
        single += zip(y[beyond].tolist(), x[beyond].tolist(), strict=True)
        if len(single) > 2 * _SINGLE:
            single = sorted(single, reverse=True)[:_SINGLE]
            least = float(value(single[-1][0]))
    single = sorted(single, reverse=True)[:_SINGLE]
    with plots.figure(folder, "manhattan", 12.0, 4.6, cloud=True, mark=mark) as (axes,):
        _cloud(axes, cells, (0.0, 1.0, 0.0, top), (BLUE, SKY))
        if single:
            y, x = np.array(single).T
            axes.scatter(x, y, s=9, lw=0, color=RED, zorder=3)
        for p, style in ((GENOME_WIDE, "--"), (SUGGESTIVE, ":")):
            axes.axhline(height(-math.log10(p)), color=GREY, lw=1, ls=style, label=f"p = {p:.0e}")
        _names(axes, axis, panel, [locus for locus in loci if locus.row["log10p"] >= line][:_NAMED], top)
        axes.set(xlim=(-0.005, 1.005), ylim=(0, top), xlabel="chromosome", ylabel="−log10 p")
        axes.set_xticks(*_labels(axis))
        ticks(axes, largest)
        axes.tick_params(axis="x", length=0)
        axes.legend(loc="upper right", fontsize=8, ncols=2, bbox_to_anchor=(1, 1.08))
    more = f" Above {BREAK:.0f} the axis is logarithmic." if largest > BREAK else ""
    caption = (
        "One dot per variant, from sums over all DIZ. Red: genome-wide significant; named: the leads of the clearest "
        f"loci.{more}"
    )
    return plots.entry("manhattan", "Manhattan plot", caption, cloud=True)


def height(values: npt.ArrayLike) -> Float:
    """Where -log10 p is drawn."""
    v = np.asarray(values, dtype=np.float64)
    return np.where(v <= BREAK, v, BREAK * (1 + np.log(np.maximum(v, BREAK) / BREAK)))


def value(heights: npt.ArrayLike) -> Float:
    """The -log10 p that is drawn there."""
    h = np.asarray(heights, dtype=np.float64)
    return np.where(h <= BREAK, h, BREAK * np.exp(np.maximum(h, BREAK) / BREAK - 1))


def _cloud(
    axes: Any, cells: npt.NDArray[np.uint8], extent: tuple[float, float, float, float], colours: tuple[str, ...]
) -> None:
    """Cells with a test, each as a dot of about 5 pixels across."""
    thick = cells.copy()
    for down, right in (
        (1, 0),
        (-1, 0),
        (0, 1),
        (0, -1),
        (2, 0),
        (-2, 0),
        (0, 2),
        (0, -2),
        (1, 1),
        (1, -1),
        (-1, 1),
        (-1, -1),
    ):
        moved = np.roll(cells, (down, right), axis=(0, 1))
        moved[: max(down, 0)] = 0
        moved[:, : max(right, 0)] = 0
        if down < 0:
            moved[down:] = 0
        if right < 0:
            moved[:, right:] = 0
        np.copyto(thick, moved, where=thick == 0)
    shades = np.array([(1, 1, 1, 0), *(to_rgba(colour) for colour in colours)])
    picture = (shades[thick] * 255).astype(np.uint8)
    axes.imshow(picture, extent=extent, origin="lower", aspect="auto", interpolation="antialiased", zorder=1)


def _labels(axis: Axis) -> tuple[list[float], list[str]]:
    """Ticks of the chromosomes, without names where they would overlap."""
    found: list[tuple[float, str]] = []
    for middle, code in zip(axis.middles().tolist(), axis.codes, strict=True):
        if not found or middle - found[-1][0] > 0.018:
            found.append((middle, chromosome_name(code)))
    return [middle for middle, _ in found], [name for _, name in found]


def _names(axes: Any, axis: Axis, panel: Panel, loci: Sequence[Locus], top: float) -> None:
    taken: list[tuple[float, float]] = []
    for locus in loci:
        x = float(axis.x(panel.chromosome[[locus.index]], panel.position[[locus.index]])[0])
        y = min(float(height(locus.row["log10p"])), top)
        if any(abs(x - a) < 0.07 and abs(y - b) < 0.05 * top for a, b in taken):
            continue  # a name on a name says nothing
        taken.append((x, y))
        axes.annotate(
            str(panel.id[locus.index]),
            (x, y),
            fontsize=7,
            xytext=(-4 if x > 0.9 else 4, -1),
            ha="right" if x > 0.9 else "left",
            textcoords="offset points",
            zorder=4,
        )


def ticks(axes: Any, largest: float) -> None:
    """Values of -log10 p at their heights."""
    step = next(step for step in (1, 2, 5) if min(largest, BREAK) / step <= 12)
    values = [float(tick) for tick in range(0, int(min(max(largest, 9), BREAK)) + 1, step)]
    values += [tick for tick in (30.0, 50.0, 100.0, 200.0, 500.0, 1000.0) if tick <= largest]
    axes.set_yticks([float(height(tick)) for tick in values], [f"{tick:.0f}" for tick in values])
