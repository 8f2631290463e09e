"""How long a run may wait for the stewards: its researcher's wish, kept by the hub in the run's folder.

The wish is about when a run begins, never about what it computes: it is in neither the bundle nor the run config, which
a DIZ's approval covers. The researcher sends it to the SuperLink (`superlink_routes`), the run's relay tells the runner
how much of it is left (`flame_fl.hub.relay`). This module needs nothing of Flower's.
"""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from flame_fl.contract.words import Frozen

WISH: Final = "wait.json"
WAIT_PATH: Final = "/flame/wait"
BEGUN_PATH: Final = "/flame/begun"
MAX_WISH_BYTES: Final = 1024
MAX_WISH_SECONDS: Final = 366 * 86400.0
Seconds = Annotated[float, Field(ge=0, le=MAX_WISH_SECONDS)]


class Wish(Frozen):
    """What a researcher asks for. Zero seconds is a wish, too: not to wait."""

    seconds: Seconds = 0.0
    """How long the run waits for DIZ that have not decided."""
    min_only: bool = False
    """Begin as soon as `min_sites` approved, rather than when all have decided."""


class KeptWish(Frozen):
    """A wish with the hub's time (seconds since 1970) at which it came, and at which the run's first one came."""

    wish: Wish
    asked: Annotated[float, Field(ge=0)]
    first: Annotated[float, Field(ge=0)]

    def until(self, max_seconds: float) -> float:
        """When the waiting ends, at a hub that lets a run wait `max_seconds`, however often it is asked again."""
        return min(self.asked + self.wish.seconds, self.first + max_seconds)


class WaitLeft(Frozen):
    """What the relay tells the runner. `known` is false as long as nobody said whether to wait."""

    known: bool = False
    seconds_left: Seconds = 0.0
    min_only: bool = False


def parse_wish(raw: bytes) -> Wish:
    """A wish from a request's body.

    Raises:
        ValueError: It is none.
    """
    if len(raw) > MAX_WISH_BYTES:
        raise ValueError("a wish is short")
    return Wish.model_validate_json(raw)


def keep_wish(folder: Path, wish: Wish, now: float) -> KeptWish:
    """Write it into a run's folder, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    before = read_wish(folder)
    kept = KeptWish(wish=wish, asked=now, first=now if before is None else before.first)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f".{WISH}.new"
    with temporary.open("w", encoding="ascii") as file:
        file.write(kept.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / WISH)
    return kept


def read_wish(folder: Path) -> KeptWish | None:
    """The wish of a run's folder, None if there is none that can be read."""
    try:
        return KeptWish.model_validate_json((folder / WISH).read_bytes())
    except (OSError, ValidationError):
        return None


def wait_left(kept: KeptWish | None, max_seconds: float, now: float) -> WaitLeft:
    """What is left of a wish."""
    if kept is None:
        return WaitLeft()
    left = min(max(0.0, kept.until(max_seconds) - now), MAX_WISH_SECONDS)
    return WaitLeft(known=True, seconds_left=left, min_only=kept.wish.min_only)
