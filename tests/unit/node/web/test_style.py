"""The style sheet: readable in both schemes, and nothing in it from elsewhere."""

import re
from importlib.resources import files

import pytest

CSS = (files("flame_fl.node.web") / "static" / "flame.css").read_text()
PAIRS = [
    ("ink", "paper"), ("ink", "ground"), ("muted", "paper"), ("muted", "ground"), ("muted", "soft"),
    ("accent", "paper"),
    ("accent", "ground"), ("on-accent", "accent"), ("yes", "yes-paper"), ("no", "no-paper"), ("wait", "wait-paper"),
    ("ink", "yes-paper"), ("ink", "no-paper"), ("ink", "wait-paper"), ("ink", "soft"),
    ("yes", "paper"), ("no", "paper"),
]  # fmt: skip


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


LIGHT, DARK = (colours(block) for block in CSS.split("@media (prefers-color-scheme: dark)")[:2])


def test_the_formula() -> None:
    """Black on white is 21."""
    assert round(contrast("#000000", "#ffffff"), 3) == 21
    assert contrast("#777777", "#ffffff") < 4.5


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
def test_every_text_has_contrast(scheme: dict[str, str], pair: tuple[str, str]) -> None:
    """At least 4.5 to 1, in both schemes."""
    assert contrast(scheme[pair[0]], scheme[pair[1]]) >= 4.5


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_borders_of_fields_have_contrast(scheme: dict[str, str]) -> None:
    """At least 3 to 1."""
    assert contrast(scheme["field"], scheme["paper"]) >= 3


def test_nothing_is_loaded() -> None:
    """No font, no picture, no other sheet; what has the focus is seen."""
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert ":focus-visible" in CSS
