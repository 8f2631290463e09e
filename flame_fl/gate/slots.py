"""Turns of a fixed length: how long a block really worked is then no output.

Turn 0 is for what comes before the first block: views. Every block has the same time to work, from its own beginning;
one that is done early, is empty, or died, leaves the rest of its turn unused. What overruns its turn, such as ending a
sandbox or making views, moves all later turns by whole ones and shortens none: it shows as time, never as a value.
"""

import time
from collections.abc import Callable

_LOOK_UP_SECONDS = 0.2
_FOR_THE_APP = 0.9


class Slots:
    """Counts from the moment it is made.

    Args:
        seconds: Length of a turn.
        over: Whether waiting has no more sense.
        fixed: False does not wait at all: a simulation on one's own data.
    """

    def __init__(self, seconds: float, over: Callable[[], bool], *, fixed: bool) -> None:
        self._seconds, self._over, self._fixed = seconds, over, fixed
        self._began = time.monotonic()

    def wait(self) -> None:
        """Return when the next turn begins: as many whole turns after the last one as it took."""
        until = self._began + self._seconds
        while until < time.monotonic():
            until += self._seconds
        while self._fixed and not self._over() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_UP_SECONDS))
        self._began = until if self._fixed else time.monotonic()

    def left(self) -> float:
        """Seconds that the app has in this turn: a tenth is for ending it."""
        return max(0.0, self._began + _FOR_THE_APP * self._seconds - time.monotonic())
