"""How far a run of many fits is: for the log, and for whoever watches the run."""

import time
from logging import getLogger

from flame_strategies.progress import Pace, round_line, tell
from flwr.serverapp import Grid

_log = getLogger("flwr")


class Steps:
    """Counts the fits of a run, each with its measuring.

    Args:
        grid: Flower's; None for a run that nobody watches.
    """

    def __init__(self, grid: Grid | None) -> None:
        self._grid = grid
        self._pace, self._begun = Pace(), time.monotonic()
        self._number = self._all = 0

    def expect(self, fits: int) -> None:
        """So many there are in all."""
        self._all = fits

    def done(self, name: str) -> None:
        """The next fit is over, or was left out."""
        self._number += 1
        now = time.monotonic()
        seconds, self._begun = now - self._begun, now
        self._pace.add(seconds)
        if self._grid is None:
            return
        left = self._pace.seconds_left(self._all - self._number)
        _log.info("%s: %s", name, round_line(self._number, self._all, seconds, left).replace("Round", "Fit", 1))
        said = {"round": self._number, "rounds": self._all, "seconds": seconds, "seconds_left": left}
        tell(self._grid, {**said, "resumed_round": 0})
