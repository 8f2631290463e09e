"""The drawing style: how every plot of the gates' facts looks, and how it becomes SVG text.

Invariants: the same input gives the same text (fixed ids, no dates, no versions); text stays text, so that
the reader's fonts apply; labels are never parsed as formulae; nothing global in matplotlib is changed.
Colours are Okabe and Ito's, which readers with any common colour vision tell apart (Okabe & Ito 2008, "Color
Universal Design"); every series differs in more than colour. A plot is drawn in the colours of a light page;
`darkened` exchanges them, so that both are the same drawing.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flame_fl.report.extras import load
from flame_fl.report.words import number, shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONTS: Final = "-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',Arial,sans-serif"
_CSS_PIXELS_PER_INCH: Final = 96
_POINT: Final = 72 / _CSS_PIXELS_PER_INCH  # one CSS pixel in matplotlib's points


@dataclass(frozen=True)
class Theme:
    """Colours of one kind of page; ``series`` in the order in which they are used."""

    text: str
    muted: str
    grid: str
    track: str
    alarm: str
    series: tuple[str, ...]


LIGHT: Final = Theme(
    text="#1b2733",
    muted="#55626f",
    grid="#e3e8ec",
    track="#dde4ea",
    alarm="#d55e00",
    series=("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"),
)
DARK: Final = Theme(
    text="#e6ebf0",
    muted="#a3afba",
    grid="#2f3a45",
    track="#35414d",
    alarm="#f08a4b",
    series=("#56b4e9", "#e69f00", "#2fc79a", "#dd9cc0", "#0f86c9", "#f08a4b", "#f0e442", "#a0a0a0"),
)
MARKERS: Final = "osD^vPX*"
MOST_BARS: Final = 60
DASHES: Final = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)))


def draw(width: int, height: int, paint: Callable[["Axes"], None]) -> str:
    """Let ``paint`` draw on one pair of axes and return the SVG element as text, in `LIGHT` colours.

    Args:
        width: in CSS pixels, at which the text has its natural size.
        height: in CSS pixels.
        paint: draws the data; the frame, ticks and grid are already styled.
    """
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    text = _drawn(width, height, paint, format="svg", transparent=True, metadata=nothing).decode()
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, text)
    return text[text.index("<svg") :]


def draw_png(width: int, height: int, paint: Callable[["Axes"], None]) -> bytes:
    """The same as a PNG on white, twice as fine as the screen."""
    metadata = {"Software": None}
    return _drawn(
        width, height, paint, format="png", facecolor="white", metadata=metadata, dpi=2 * _CSS_PIXELS_PER_INCH
    )


def _drawn(width: int, height: int, paint: Callable[["Axes"], None], **how: object) -> bytes:
    matplotlib = load("matplotlib")
    inches = (width / _CSS_PIXELS_PER_INCH, height / _CSS_PIXELS_PER_INCH)
    with matplotlib.rc_context(_settings()), warnings.catch_warnings():
        # The reader's fonts draw the text, so a glyph that the measuring font lacks is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure = load("matplotlib.figure").Figure(figsize=inches, layout="constrained")
        paint(figure.add_subplot())
        target = io.BytesIO()
        figure.savefig(target, **how)
    return target.getvalue()


def darkened(svg: str) -> str:
    """The same drawing in `DARK` colours. Only tags are touched: a label that spells a colour keeps it."""
    swaps = dict(zip(_colours(LIGHT), _colours(DARK), strict=True))
    colour = re.compile("|".join(swaps))
    return re.sub(r"<[^>]*>", lambda tag: colour.sub(lambda found: swaps[found[0]], tag[0]), svg)


def _colours(theme: Theme) -> tuple[str, ...]:
    return (theme.text, theme.muted, theme.grid, theme.track, theme.alarm, *theme.series)


def _settings() -> dict[str, object]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "flame_fl.report",
        "text.parse_math": False,
        "axes.formatter.use_mathtext": False,
        "axes.unicode_minus": True,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 11.5 * _POINT,
        "text.color": LIGHT.text,
        "axes.edgecolor": LIGHT.muted,
        "axes.labelcolor": LIGHT.muted,
        "axes.facecolor": "none",
        "axes.linewidth": 0.8 * _POINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": LIGHT.grid,
        "grid.linewidth": 1.0 * _POINT,
        "xtick.color": LIGHT.muted,
        "ytick.color": LIGHT.muted,
        "xtick.major.size": 3 * _POINT,
        "xtick.major.width": 0.8 * _POINT,
        "ytick.major.size": 0,
        "lines.linewidth": 2 * _POINT,
        "lines.markersize": 4.5 * _POINT,
        "figure.constrained_layout.h_pad": 4 / _CSS_PIXELS_PER_INCH,
        "figure.constrained_layout.w_pad": 4 / _CSS_PIXELS_PER_INCH,
        "legend.frameon": False,
    }


def stacked_bars(
    axes: "Axes", x: Sequence[int], parts: Sequence[tuple[str, Sequence[float]]], colours: Sequence[str]
) -> None:
    """One bar per ``x``, split into named ``parts``; the first lies at the bottom. Many bars merge to an area."""
    base = [0.0] * len(x)
    for (name, heights), colour in zip(parts, colours, strict=True):
        top = [b + h for b, h in zip(base, heights, strict=True)]
        if len(x) <= MOST_BARS:
            axes.bar(list(x), list(heights), bottom=base, width=0.78, color=colour, label=label(name), linewidth=0)
        else:
            axes.fill_between(list(x), base, top, step="mid", color=colour, label=label(name), linewidth=0)
        base = top
    axes.set_ylim(0, max([*base, 0.0]) * 1.08 or 1.0)
    axes.set_xlim(min(x) - 0.7, max(x) + 0.7)
    whole_rounds(axes)
    if len(parts) > 1:
        legend(axes)


def lines(axes: "Axes", series: Sequence[tuple[str, Sequence[int], Sequence[float]]], *, from_zero: bool) -> None:
    """Named lines over rounds; each ends in its last value, where those do not cover each other.

    Amounts start ``from_zero``, scores need not.
    """
    values = [value for _, _, y in series for value in y]
    room = (max(values) - (0.0 if from_zero else min(values))) / 8  # about a line of text
    labelled: list[float] = []
    for position, (name, x, y) in enumerate(series):
        colour = LIGHT.series[position % len(LIGHT.series)]
        marker = MARKERS[position % len(MARKERS)] if len(x) <= 40 else ""
        dashes = DASHES[position % len(DASHES)]  # a line that covers another one lets it show through
        axes.plot(list(x), list(y), color=colour, marker=marker, linestyle=dashes, label=label(name))
        if all(abs(y[-1] - other) >= room for other in labelled):
            at = (x[-1], y[-1])
            axes.annotate(number(y[-1]), at, (6, 0), textcoords="offset points", va="center", color=LIGHT.text)
            labelled.append(y[-1])
    axes.margins(y=0.12)
    if from_zero:
        axes.set_ylim(0, max(values) * 1.12 or 1.0)
    rounds = [place for _, x, _ in series for place in x]
    axes.set_xlim(min(rounds) - 0.7, max(rounds) + 0.7)
    whole_rounds(axes)
    if len(series) > 1:
        legend(axes)


def capped_bars(axes: "Axes", names: Sequence[str], values: Sequence[float], caps: Sequence[float | None]) -> None:
    """Horizontal bars, the first on top, each on a track that ends at its cap."""
    rows = range(len(names))
    longest = max([*values, *(cap for cap in caps if cap is not None), 1e-12])
    axes.barh(list(rows), [cap or 0.0 for cap in caps], height=0.52, color=LIGHT.track, linewidth=0)
    colours = [
        LIGHT.alarm if cap is not None and value > cap else LIGHT.series[0]
        for value, cap in zip(values, caps, strict=True)
    ]
    axes.barh(list(rows), list(values), height=0.52, color=colours, linewidth=0)
    for row, value, cap in zip(rows, values, caps, strict=True):
        if cap is not None:
            axes.plot([cap, cap], [row - 0.36, row + 0.36], color=LIGHT.text, linewidth=1.6 * _POINT)
        text = number(value) if cap is None else f"{number(value)} of {number(cap)}"
        axes.annotate(
            text, (max(value, cap or 0.0), row), (6, 0), textcoords="offset points", va="center", color=LIGHT.text
        )
    axes.set_xlim(0, longest * 1.32)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(list(rows), [label(name) for name in names], color=LIGHT.text)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    axes.locator_params(axis="x", nbins=5)


def whole_rounds(axes: "Axes") -> None:
    """Round numbers on the x axis are whole."""
    axes.xaxis.set_major_locator(
        load("matplotlib.ticker").MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )


def whole_values(axes: "Axes") -> None:
    """Counts on the y axis are whole."""
    axes.yaxis.set_major_locator(load("matplotlib.ticker").MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def legend(axes: "Axes") -> None:
    """Names above the plot, in one or more rows, never over data."""
    axes.figure.legend(
        loc="outside upper left",
        ncols=3,
        labelcolor=LIGHT.text,
        handlelength=1.1,
        handleheight=0.8,
        columnspacing=1.4,
        borderpad=0,
    )


def label(name: str) -> str:
    """A name that fits beside a plot. Matplotlib hides labels that begin with an underscore, so none does."""
    text = shortened(visible(name), 22)
    return f"\u00a0{text}" if text.startswith("_") else text
