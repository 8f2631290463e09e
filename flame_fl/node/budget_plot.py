"""The plot of an account: what each project debited over time, stacked, and the cap as a line.

The height is the share of the filter, which adds up over debits; epsilon does not.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flame_fl.contract.errors import InputError
from flame_fl.gate.ledger_store import LedgerEntry
from flame_fl.node.budget import known_event
from flame_fl.privacy.accounting import PrivacyEvent
from flame_fl.privacy.filters import Filter
from flame_fl.report import plots
from flame_fl.report.extras import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 760, 400
_MOST_SERIES = 7


def write_plot(path: Path, name: str, entries: Sequence[LedgerEntry], lifetime: Filter, now: datetime) -> None:
    """Draw an account into a file, whose name ends in .svg or .png.

    Args:
        path: The file.
        name: The account's.
        entries: Its debits, oldest first; none is fine.
        lifetime: Its filter.
        now: Where the picture ends.

    Raises:
        InputError: The file's name ends otherwise, or it cannot be written.
        FlameError: matplotlib is not installed.
    """
    if path.suffix.lower() not in {".svg", ".png"}:
        raise InputError(f"{path} is neither .svg nor .png.", mend="Give --plot a file that ends in one of them.")

    def paint(axes: "Axes") -> None:
        _paint(axes, name, stacked(entries, lifetime, now), lifetime)

    draw = plots.draw if path.suffix.lower() == ".svg" else plots.draw_png
    drawn = draw(WIDTH, HEIGHT, paint)
    try:
        path.write_bytes(drawn.encode() if isinstance(drawn, str) else drawn)
    except OSError as err:
        raise InputError(f"{path} cannot be written ({err.strerror}).", mend="Choose another file.") from err


def stacked(
    entries: Sequence[LedgerEntry], lifetime: Filter, now: datetime
) -> tuple[list[datetime], dict[str, list[float]]]:
    """Moments, and for each project its share of the filter from each moment on; the one with most first.

    Projects beyond the seventh are one series, "others".
    """
    costs: dict[PrivacyEvent, float] = {}
    found: list[tuple[datetime, str, float]] = []
    for entry in entries:
        if (event := known_event(entry.event)) is not None:
            cost = costs.setdefault(event, event.rdp(lifetime.order) / lifetime.most if lifetime.most > 0 else 1.0)
            found.append((datetime.fromisoformat(entry.at), entry.project, cost))
    sums: dict[str, float] = {}
    for _, project, cost in found:
        sums[project] = sums.get(project, 0.0) + cost
    ranked = sorted(sums, key=lambda project: (-sums[project], project))
    names = {
        p: p if place < _MOST_SERIES or len(ranked) == _MOST_SERIES + 1 else "others" for place, p in enumerate(ranked)
    }
    moments = [at for at, _, _ in found]
    series: dict[str, list[float]] = {}
    for name in dict.fromkeys(names[project] for project in ranked):
        height, heights = 0.0, []
        for _, project, cost in found:
            height += cost if names[project] == name else 0.0
            heights.append(height)
        series[name] = [*heights, height]
    return ([*moments, max(now, moments[-1])], series) if moments else ([], {})


def _paint(axes: "Axes", name: str, drawn: tuple[list[datetime], dict[str, list[float]]], lifetime: Filter) -> None:
    moments, series = drawn
    base = [0.0] * len(moments)
    for (project, heights), colour in zip(series.items(), plots.LIGHT.series, strict=False):
        top = [low + 100.0 * height for low, height in zip(base, heights, strict=True)]
        axes.fill_between(moments, base, top, step="post", color=colour, label=plots.label(project), linewidth=0)  # type: ignore[arg-type]
        base = top
    cap = f"cap: ε = {lifetime.epsilon:g} at δ = {lifetime.delta:g}"
    axes.axhline(100.0, color=plots.LIGHT.alarm, linestyle=(0, (4, 2)), label=cap)
    axes.set_ylim(0, max([108.0, *(1.08 * height for height in base)]))
    axes.set_ylabel(f"% of {name} (Rényi divergence of order {lifetime.order:.3g})")
    if moments:
        dates = load("matplotlib.dates")
        locator = dates.AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    else:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "Nothing was debited yet.", transform=axes.transAxes, ha="center", color=plots.LIGHT.muted)
    plots.legend(axes)
