"""How numbers are written in reports."""

from math import isfinite


def number(value: float, digits: int = 2) -> str:
    """A number as text, a dash where there is none."""
    return f"{value:.{digits}f}" if isfinite(value) else "–"
