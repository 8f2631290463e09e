"""Which plots the page shows of the gates' facts, each with a text that stands for it.

Invariants: a plot is drawn only where there is something to see, and ε only where a bound is claimed;
every chart carries a text alternative with its main figures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flame_fl.report import plots
from flame_fl.report.facts import NodeFacts, RoundFacts, RunFacts
from flame_fl.report.story import claims_bound
from flame_fl.report.words import counted, duration, number, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_METRICS: Final = 12
_PANEL: Final = (340, 210)
_BYTE_UNITS: Final = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Chart:
    """A drawn plot. Sizes in CSS pixels; ``light`` and ``dark`` are SVG texts for the two kinds of page."""

    title: str
    unit: str
    alt: str
    width: int
    height: int
    light: str
    dark: str


def _chart(title: str, unit: str, alt: str, paint: Callable[["Axes"], None], extent: tuple[int, int] = _PANEL) -> Chart:
    light = plots.draw(*extent, paint)
    return Chart(title, unit, alt, *extent, light, plots.darkened(light))


def privacy_chart(facts: RunFacts) -> Chart | None:
    """ε spent against its cap, for every node that claims a bound; ``None`` if none does."""
    claims = [claim for node in facts.nodes if claims_bound(facts, node) for claim in _claims(node)]
    if not claims:
        return None
    names = [name for name, _, _ in claims]
    spent = [value for _, value, _ in claims]
    caps = [cap if cap is not None and math.isfinite(cap) else None for _, _, cap in claims]
    alt = "Privacy loss ε spent by DIZ. " + "; ".join(
        f"{name}: {number(value)} of {'no cap' if cap is None else number(cap)}"
        for name, value, cap in zip(names, spent, caps, strict=True)
    )

    def paint(axes: "Axes") -> None:
        plots.capped_bars(axes, names, spent, caps)

    return _chart("Privacy loss spent, by DIZ", "ε; the mark is the cap", alt, paint, (440, 52 + 30 * len(claims)))


def _claims(node: NodeFacts) -> list[tuple[str, float, float | None]]:
    """(name, spent, cap) of the accounts of the unit that the claim is about; the DIZ's name alone if it is one."""
    if node.epsilon_spent is None:
        return []
    own = [account for account in node.accounts if account.unit == node.unit]
    if len(own) < 2:
        return [(node.name, node.epsilon_spent, node.epsilon_cap)]
    return [(f"{node.name} {account.namespace}", account.epsilon_spent, account.epsilon_cap) for account in own]


def round_charts(facts: RunFacts) -> tuple[Chart, ...]:
    """Time, traffic and answers by round, then one small plot per metric."""
    if not facts.rounds:
        return ()
    legs = facts.rounds
    metrics = (_metric_chart(legs, name) for name in metric_names(facts)[:MAX_METRICS])
    return (_time_chart(legs), _traffic_chart(legs), _answers_chart(legs), *metrics)


def metric_names(facts: RunFacts) -> list[str]:
    """Names of all metrics of which at least one value can be drawn, in the order of the alphabet."""
    return sorted({name for leg in facts.rounds for name, value in leg.metrics.items() if _is_drawable(value)})


def _by_round(legs: Sequence[RoundFacts], value: Callable[[RoundFacts], float]) -> dict[int, float]:
    totals: dict[int, float] = {}
    for leg in legs:
        totals[leg.index] = totals.get(leg.index, 0.0) + value(leg)
    return dict(sorted(totals.items()))


def _time_chart(legs: Sequence[RoundFacts]) -> Chart:
    totals = _by_round(legs, lambda leg: leg.seconds)
    parts: list[tuple[str, list[float]]] = []
    for kind in sorted({leg.message_type for leg in legs}):
        seconds = _by_round([leg for leg in legs if leg.message_type == kind], lambda leg: leg.seconds)
        parts.append((kind, [seconds.get(index, 0.0) for index in totals]))
    whole, longest = duration(sum(totals.values())), duration(max(totals.values()))
    alt = f"Time by round: {whole} in {counted(len(totals), 'round')}; longest {longest}."

    def paint(axes: "Axes") -> None:
        colours = [plots.LIGHT.series[i % len(plots.LIGHT.series)] for i in range(len(parts))]
        plots.stacked_bars(axes, list(totals), parts, colours)

    return _chart("Time", "seconds by round", alt, paint)


def _traffic_chart(legs: Sequence[RoundFacts]) -> Chart:
    left = _by_round(legs, lambda leg: leg.bytes_out)
    came = _by_round(legs, lambda leg: leg.bytes_in)
    divisor, unit = next(((d, u) for d, u in _BYTE_UNITS if max(*left.values(), *came.values()) >= d), (1.0, "bytes"))
    alt = f"Traffic by round: {size(sum(left.values()))} left the DIZ, {size(sum(came.values()))} came to them."

    def paint(axes: "Axes") -> None:
        directions = (("left the DIZ", left), ("came to the DIZ", came))
        series = [(name, list(totals), [v / divisor for v in totals.values()]) for name, totals in directions]
        plots.lines(axes, series, from_zero=True)

    return _chart("Traffic", f"{unit} by round, all DIZ", alt, paint)


def _answers_chart(legs: Sequence[RoundFacts]) -> Chart:
    replied = _by_round(legs, lambda leg: leg.replied)
    refused = _by_round(legs, lambda leg: leg.refused)
    alt = f"Answers by round: {number(sum(replied.values()))} replies, {number(sum(refused.values()))} refusals."

    def paint(axes: "Axes") -> None:
        parts = [("replies", list(replied.values())), ("refusals", list(refused.values()))]
        plots.stacked_bars(axes, list(replied), parts, [plots.LIGHT.series[2], plots.LIGHT.alarm])
        plots.whole_values(axes)

    return _chart("Answers", "messages by round, all DIZ", alt, paint)


def _metric_chart(legs: Sequence[RoundFacts], name: str) -> Chart:
    series = [
        (kind, [index for index, _ in points], [value for _, value in points])
        for kind in sorted({leg.message_type for leg in legs if name in leg.metrics})
        if (points := _points(legs, kind, name))
    ]
    alt = f"{name} by round. " + "; ".join(
        f"{kind}: from {number(y[0])} in round {x[0]} to {number(y[-1])} in round {x[-1]}" for kind, x, y in series
    )

    def paint(axes: "Axes") -> None:
        plots.lines(axes, series, from_zero=False)

    kinds = series[0][0] if len(series) == 1 else "by message type"
    return _chart(name, f"{kinds}, by round", alt, paint)


def _points(legs: Sequence[RoundFacts], kind: str, name: str) -> list[tuple[int, float]]:
    return sorted(
        (leg.index, leg.metrics[name])
        for leg in legs
        if leg.message_type == kind and _is_drawable(leg.metrics.get(name, math.nan))
    )


def _is_drawable(value: float) -> bool:
    """Not diverged: a finite value far from where the arithmetic of an axis overflows."""
    return abs(value) < 1e100
