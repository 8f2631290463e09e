"""Spans of time as people write and read them: 90s, 30m, 12h, 2d. Pure."""

import re
from typing import Final

from flame_fl.contract.errors import InputError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_SECONDS: Final = 366 * 86400


def parse_duration(text: str) -> float:
    """Seconds of a text such as `90s`, `30m`, `12h` or `2d`.

    Raises:
        InputError: It is no such text, is nothing, or more than a year.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= _MOST_SECONDS:
        raise InputError(f"{text[:40]!r} is no span of time.", mend="Write it as 90s, 30m, 12h or 2d; a year at most.")
    return float(seconds)


def in_words(seconds: float) -> str:
    """The two largest units that matter: `1 d 23 h`, `12 m`, `45 s`. Nothing below zero.

    >>> in_words(172_000), in_words(3600), in_words(61), in_words(-5)
    ('1 d 23 h', '1 h', '1 m 1 s', '0 s')
    """
    parts: list[str] = []
    left = max(0, int(seconds))
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _UNITS[unit])
        if parts:
            return f"{parts[0]} {count} {unit}" if count else parts[0]
        if count:
            parts.append(f"{count} {unit}")
    return parts[0] if parts else "0 s"
