"""Small pictures of numbers over time, as values for a template: the page draws them with classes, without styles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 720, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 20, 44
_MOST_POINTS = 400


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, in the picture's units, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class StepPlot:
    """A staircase with its axes and, if it fits into the picture, the line of a cap."""

    path: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    cap: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def step_plot(points: Sequence[tuple[datetime, float]], now: datetime, cap: float | None) -> StepPlot | None:
    """A plot of values that hold from their moment to the next one; None without any.

    Args:
        points: Oldest first; values from 0.
        now: Where the last value's line ends.
        cap: Drawn if given; the picture reaches to it.
    """
    if not points:
        return None
    kept = _thinned(points)
    begin = kept[0][0]
    seconds = max((now - begin).total_seconds(), 1.0)
    top = nice_ceiling(max(*(value for _, value in kept), cap or 0.0, 1e-9))

    def x(moment: datetime) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, (moment - begin).total_seconds() / seconds), 2)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / top, 2)

    parts = [f"M{x(begin)} {y(0)}"]
    for moment, value in kept:
        parts.append(f"H{x(moment)} V{y(value)}")
    parts.append(f"H{WIDTH - _RIGHT}")
    times = [begin + (now - begin) * share for share in (0.0, 0.5, 1.0)]
    form = "%d.%m. %H:%M" if seconds < 3 * 86400 else "%d.%m.%Y"
    return StepPlot(
        path=" ".join(parts),
        x_ticks=tuple(Tick(x(moment), f"{moment:{form}}") for moment in times),
        y_ticks=tuple(Tick(y(top * share), f"{top * share:.3g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        cap=None if cap is None else y(cap),
    )


def nice_ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    base = 10.0 ** math.floor(math.log10(value))
    return next(base * step for step in (1.0, 2.0, 2.5, 5.0, 10.0) if value <= base * step * (1 + 1e-12))


def _thinned(points: Sequence[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """At most so many of them, evenly, the last one always: values only grow, so nothing between two is hidden."""
    every = math.ceil(len(points) / _MOST_POINTS)
    return [point for at, point in enumerate(points) if at % every == 0 or at == len(points) - 1]
