"""What a page or a terminal is given: sections of plain text, in which every character is visible."""

from dataclasses import dataclass

from flame_fl.node.sheet_model import Level
from flame_fl.node.sheet_words import Say


@dataclass(frozen=True)
class Table:
    """A table; every row has as many cells as there are columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Warned:
    """A warning."""

    level: Level
    text: str


@dataclass(frozen=True)
class Section:
    """One part of the page. `lines` are shown as they are, in letters of one width: a difference, an output."""

    key: str
    title: str
    rows: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()
    lines: tuple[str, ...] = ()


def titled(key: str, say: Say) -> str:
    """A section's title."""
    return say(f"title.{key}")
