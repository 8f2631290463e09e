"""How far a fit of many exchanges is, for whoever watches the run."""

import time
from typing import Any

from flame_strategies.progress import Pace, tell


class Steps:
    """Counts the exchanges of a fit.

    Args:
        grid: Flower's; none for a fit that nobody watches.
        steps: How many there are, at most.
    """

    def __init__(self, grid: Any, steps: int) -> None:
        self._grid, self._steps = grid, steps
        self._pace, self._begun = Pace(), time.monotonic()

    def done(self, number: int, **more: float) -> None:
        """Step `number`, from 1, is over; `more` goes along."""
        seconds = time.monotonic() - self._begun
        self._pace.add(seconds)
        self._begun = time.monotonic()
        if self._grid is not None:
            left = self._pace.seconds_left(self._steps - number)
            said = {"round": number, "rounds": self._steps, "seconds": seconds, "seconds_left": left}
            tell(self._grid, {**said, "resumed_round": 0, **more})
