"""Numbers, times and invisible characters, written so that a person reads what is there.

Invariants: every function is pure and independent of locale and time zone; text that could rearrange or
hide other text is spelt out.
"""

import math
import re
from datetime import UTC, datetime

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_KEPT = "\n\t\u00a0\u202f"  # break or space, but hide nothing


def visible(text: str) -> str:
    """Spell out control, bidirectional, zero-width and other unprintable characters as ``‹U+202E›``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else f"‹U+{ord(c):04X}›" for c in text)


def shortened(text: str, length: int) -> str:
    """``text`` in at most ``length`` characters; the middle gives way, since names often differ at the end."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def number(value: float | None) -> str:
    """Four significant digits; whole numbers in full, grouped by thousands; ``–`` for nothing.

    Very small and very large values are powers of ten: ``10⁻⁵``, ``2.5 × 10⁻⁷``.
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        text = f"{int(value):,}"
    elif 1e-4 <= abs(value) < 1e4:
        text = f"{value:.4g}"
    elif abs(value) < 1e9 and abs(value) >= 1:
        text = f"{value:,.0f}"
    else:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        text = {"1": power, "-1": f"-{power}"}.get(mantissa, f"{mantissa} × {power}")
    return text.replace("-", "−")


def is_number(cell: object) -> bool:
    """Whether a table's cell is a number, a number written as text, or a dash for none."""
    return not isinstance(cell, str) or bool(re.fullmatch(r"–|[-−+]?[0-9][0-9.,]*(e[-+]?[0-9]+)?", cell))


def size(count_bytes: float) -> str:
    """Bytes in decimal units: ``12.3 MB``."""
    value = float(count_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.4g} TB"


def duration(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``2 min 31 s``, ``3 h 05 min``."""
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def moment(time: datetime | None) -> str:
    """``2026-03-02 14:05:09 UTC``; ``–`` for a time that never came."""
    return "–" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def counted(count: int, singular: str, plural: str = "") -> str:
    """``1 round``, ``2 rounds``, ``no rounds``."""
    name = singular if count == 1 else (plural or f"{singular}s")
    return f"{count:,} {name}" if count else f"no {name}"


def listed(names: list[str], at_most: int = 4) -> str:
    """``A``, ``A and B``, ``A, B and 3 others``."""
    shown = names if len(names) <= at_most else [*names[: at_most - 1], f"{len(names) - at_most + 1} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
