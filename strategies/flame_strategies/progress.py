"""How far a fit is and how long it will take: for the log, and for whoever watches the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flwr.serverapp import Grid

_LAST = 5  # the pace of the last few rounds: a run whose nodes come and go does not keep its first one


@dataclass
class Pace:
    """Seconds of this process's rounds. Rounds before a restart took place in another one."""

    _seconds: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        """A round is over."""
        self._seconds.append(seconds)

    def seconds_left(self, rounds: int) -> float:
        """How long so many more rounds take; 0 before the first is over."""
        last = self._seconds[-_LAST:]
        return rounds * sum(last) / len(last) if last else 0.0


def round_line(server_round: int, rounds: int, seconds: float, left: float, now: datetime | None = None) -> str:
    """A line for the log.

    >>> round_line(3, 10, 12.3, 84.0, datetime(2025, 1, 1, 12, 0, tzinfo=UTC))
    'Round 3 of 10 took 12 s; about 1 m 24 s left, until 12:01 UTC'
    """
    line = f"Round {server_round} of {rounds} took {span(seconds)}"
    if server_round >= rounds:
        return line
    end = (now or datetime.now(UTC)) + timedelta(seconds=left)
    when = f"{end:%H:%M} UTC" if left < 86400 else f"{end:%Y-%m-%d %H:%M} UTC"
    return f"{line}; about {span(left)} left, until {when}"


def span(seconds: float) -> str:
    """The two largest units of a span of time.

    >>> span(0.41), span(61), span(7200), span(100_000)
    ('0.4 s', '1 m 1 s', '2 h', '1 d 3 h')
    """
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def tell(grid: Grid, said: Mapping[str, Any]) -> None:
    """Tell the grid how far a fit is, where it wants to know (``flame_progress``): a hub's does, and a simulation's.

    Args:
        grid: Flower's grid.
        said: ``round``, ``rounds``, ``seconds`` of the round, ``seconds_left``, and ``resumed_round`` (0 if the fit
            was not taken up again).
    """
    listener = getattr(grid, "flame_progress", None)
    if callable(listener):
        listener(dict(said))
