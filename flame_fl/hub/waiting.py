"""Which of a hub's runs wait for stewards, and for how long they did: from the run's folder alone.

The wish was written by the SuperLink for the run's authenticated researcher; its bound is the hub's. That a run has
begun is its ServerApp's own word, and what depends on it is bounded too: one that lies gains no more than the waiting
that its researcher could have asked for.
"""

from flame_fl.flower.server_wish import read_wish
from flame_fl.hub.runs import RunFolder

_BEGUN = "begun"


def mark_begun(folder: RunFolder) -> None:
    """The run no longer waits. The first time counts.

    Raises:
        OSError: It cannot be written.
    """
    file = folder.path / _BEGUN
    if not file.exists():
        file.touch(mode=0o600)


def waits(folder: RunFolder, max_seconds: float, now: float) -> bool:
    """Whether the run waits.

    Args:
        folder: The run's.
        max_seconds: So long the hub lets a run wait.
        now: The hub's time, seconds since 1970.
    """
    kept = read_wish(folder.path)
    return kept is not None and now < kept.until(max_seconds) and _begun_at(folder) is None


def waited_seconds(folder: RunFolder, started: float, max_seconds: float, now: float) -> float:
    """How long a run that started then has waited since, 0 for one that was not to wait. Arguments as `waits`."""
    kept = read_wish(folder.path)
    if kept is None:
        return 0.0
    begun = _begun_at(folder)
    end = min(now if begun is None else begun, kept.until(max_seconds))
    return max(0.0, end - started)


def _begun_at(folder: RunFolder) -> float | None:
    try:
        return (folder.path / _BEGUN).stat().st_mtime
    except OSError:
        return None
