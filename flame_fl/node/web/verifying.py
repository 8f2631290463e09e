"""Checks the whole audit chain and its checkpoints beside the pages, in a thread; what was found is kept."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flame_fl.contract.errors import VerificationError


@dataclass(frozen=True)
class Verdict:
    """What the last check found. `fault` is empty if the chain holds."""

    entries: int
    head: str
    at: str
    fault: str = ""


@dataclass
class ChainCheck:
    """One check at a time, whoever asks.

    Args:
        check: Checks everything and returns how many entries, and the head.
    """

    check: Callable[[], tuple[int, str]]
    verdict: Verdict | None = None
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_running(self) -> bool:
        """Whether a check goes on."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> bool:
        """Start one, unless one goes on. Returns whether it did."""
        with self._lock:
            if self.is_running:
                return False
            self._thread = threading.Thread(target=self._run, name="audit check", daemon=True)
            self._thread.start()
            return True

    def wait(self, seconds: float) -> None:
        """Until it has ended, at most so long: short chains need no second look."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self.verdict = Verdict(*self.check(), at)
        except VerificationError as err:
            self.verdict = Verdict(0, "", at, err.message)
        except Exception:  # the file itself: whatever it is, the chain could not be shown to hold
            self.verdict = Verdict(0, "", at, "The chain could not be read to its end.")
