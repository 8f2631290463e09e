"""How far a run told that it is, and how often its ServerApp was started again. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flame_fl.researcher.duration import in_words

_MOST_ROUNDS = 1_000_000_000
_MOST_SECONDS = 366 * 86400.0
_MOST_TEXT = 200


@dataclass(frozen=True)
class Progress:
    """The last that a strategy told.

    Attributes:
        done: Rounds that are complete.
        rounds: How many there will be at the most.
        seconds: What the last one took.
        seconds_left: What the others will take, 0 if that is not known.
        resumed: The round after which a ServerApp that was started again took the run up, 0 if none was.
    """

    done: int
    rounds: int
    seconds: float
    seconds_left: float
    resumed: int = 0

    @property
    def in_words(self) -> str:
        """For a line that moves: `round 3 of 10, about 1 m 24 s left`."""
        said = f"round {self.done} of {self.rounds}"
        if self.done < self.rounds and self.seconds_left > 0:
            said += f", about {in_words(max(1.0, self.seconds_left))} left"
        return said


@dataclass(frozen=True)
class Restart:
    """A ServerApp that died was started again by its hub."""

    why: str
    count: int
    most: int

    @property
    def in_words(self) -> str:
        """For a person."""
        return f"its ServerApp died ({self.why}) and was started again, {self.count} of {self.most} times"


def progress_of(event: Mapping[str, Any]) -> Progress:
    """Read a `round` event.

    Raises:
        ValueError, KeyError, TypeError: It is malformed.
    """
    done, rounds, resumed = (_count(event[name]) for name in ("round", "rounds", "resumed_round"))
    return Progress(done, max(done, rounds), _seconds(event["seconds"]), _seconds(event["seconds_left"]), resumed)


def restart_of(event: Mapping[str, Any]) -> Restart:
    """Read a `restart` event.

    Raises:
        ValueError, KeyError, TypeError: It is malformed.
    """
    return Restart(str(event["why"])[:_MOST_TEXT], _count(event["count"]), _count(event["most"]))


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= _MOST_ROUNDS:
        raise ValueError("no number of rounds")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no span of time")
    return min(max(0.0, float(value)), _MOST_SECONDS)
