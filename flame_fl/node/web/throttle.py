"""How fast passwords may be tried: each further failure of an account, or from an address, costs twice the waiting.

An account's waiting is short at most, so that somebody who knows a steward's name cannot lock the steward out for long;
an address's is long.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_FORGET_SECONDS = 3600.0
_MOST_KEYS = 10_000


@dataclass(frozen=True)
class Rule:
    """`free` failures cost nothing; then 1, 2, 4 … seconds, `most_seconds` at most."""

    free: int
    most_seconds: float

    def wait(self, failures: int) -> float:
        """Seconds after so many failures."""
        return 0.0 if failures < self.free else min(self.most_seconds, 2.0 ** min(failures - self.free, 20))


ACCOUNT, ADDRESS = Rule(5, 60.0), Rule(15, 900.0)


class Throttle:
    """Counts failures by key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[int, float]] = {}

    def take(self, keys: dict[str, Rule]) -> float:
        """Count an attempt as failed, before it is looked at: attempts at the same time all count.

        Returns:
            0 if it may be looked at; else how many seconds to wait, and nothing is counted.
        """
        now = self._clock()
        with self._lock:
            waits = [self._left(key, rule, now) for key, rule in keys.items()]
            if (longest := max(waits)) > 0:
                return longest
            if len(self._failed) > _MOST_KEYS:
                self._failed = {k: v for k, v in self._failed.items() if now - v[1] < _FORGET_SECONDS / 4}
            for key in keys:
                count, last = self._failed.get(key, (0, now))
                self._failed[key] = (1 if now - last > _FORGET_SECONDS else count + 1, now)
        return 0.0

    def good(self, keys: dict[str, Rule]) -> None:
        """It was no failure: forget what was counted for these."""
        with self._lock:
            for key in keys:
                self._failed.pop(key, None)

    def _left(self, key: str, rule: Rule, now: float) -> float:
        count, last = self._failed.get(key, (0, now))
        return 0.0 if now - last > _FORGET_SECONDS else max(0.0, last + rule.wait(count) - now)
