"""Text from outside as a web page or a terminal may show it: every character is visible, and none moves the others.

A page escapes its own markup (`<`, `&`) after this, as a terminal does its; this is about characters only.
"""

import unicodedata

MAX_CHARS = 4000
_MARKS_IN_A_ROW = 2
# Letters, marks and symbols by their category, yet without a shape: fillers, joiners, variation selectors, a blank
# braille cell.
_BLANK = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


def shown(text: object, most: int = MAX_CHARS) -> str:
    r"""One line of text without anything a terminal or browser could obey or hide.

    Control, bidirectional, invisible and unassigned characters and spaces other than U+0020 become `\uXXXX` (above
    U+FFFF `\UXXXXXXXX`), line ends and tabs included; so does every third combining mark in a row.

    Args:
        text: Anything; `str` of it is taken.
        most: Characters of the result, of which the last is `…` if something was cut. An escape is never cut in two.
    """
    whole = str(text)
    if len(whole) <= most and whole.isascii() and whole.isprintable():
        return whole
    parts: list[str] = []
    length = marks = 0
    for character in whole[: most + 1]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        part = character if visible(character) and marks <= _MARKS_IN_A_ROW else escape(character)
        if length + len(part) > most:
            break
        parts.append(part)
        length += len(part)
    if len(parts) == len(whole):
        return "".join(parts)
    while parts and length >= most:
        length -= len(parts.pop())
    return "".join(parts) + "…"


def visible(character: str) -> bool:
    """Whether a character has a shape of its own, or is the plain space."""
    return character.isprintable() and character not in _BLANK


def escape(character: str) -> str:
    """The character's code point, as Python writes it."""
    point = ord(character)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
