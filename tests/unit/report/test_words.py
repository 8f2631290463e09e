"""Numbers and characters as a person should read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.report import words


@given(st.text(alphabet=st.characters()))
def test_nothing_invisible_stays_invisible(text):
    """Whatever comes in, only printable characters and plain white space go out."""
    assert all(c.isprintable() or c in "\n\t\u00a0\u202f" for c in words.visible(text))


@given(st.text())
def test_printable_text_is_unchanged(text):
    """Names in any script are shown as they are."""
    printable = "".join(c for c in text if c.isprintable())
    assert words.visible(printable) == printable


def test_bidirectional_overrides_are_spelt_out():
    """A name cannot turn around the text beside it."""
    assert words.visible("a\u202eb\u200bc\x1b") == "a‹U+202E›b‹U+200B›c‹U+001B›"


@given(st.text(max_size=80), st.integers(3, 40))
def test_shortened_text_fits_and_keeps_both_ends(text, length):
    """Shortening holds its promise on the length and keeps the beginning and the end."""
    short = words.shortened(text, length)
    assert len(short) <= length
    assert short == text or (text.startswith(short[: length // 2]) and "…" in short)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0"), (7503, "7,503"), (-3, "−3"), (2.5, "2.5"), (0.98347, "0.9835"), (1e-5, "10⁻⁵"),
        (2.5e-7, "2.5 × 10⁻⁷"), (12345.6, "12,346"), (1e300, "10³⁰⁰"), (-1e-9, "−10⁻⁹"), (float("nan"), "not a number"),
        (float("inf"), "∞"), (float("-inf"), "−∞"), (8.0, "8"), (0.0001, "0.0001"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    """Four digits, thousands grouped, powers of ten for the extremes, and no raw ``nan``."""
    assert words.number(value) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (22_300_000, "22.3 MB")])
def test_sizes_are_decimal(count, text):
    """A kilobyte is a thousand bytes."""
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.421, "0.421 s"), (59.96, "1 min 00 s"), (151, "2 min 31 s"), (3600 * 3 + 299, "3 h 04 min")],
)
def test_durations(seconds, text):
    """Never sixty seconds in a minute's rest."""
    assert words.duration(seconds) == text


def test_moments_are_shown_in_utc():
    """The same instant reads the same from any zone."""
    here = datetime(2026, 3, 2, 15, 5, 9, tzinfo=timezone(timedelta(hours=1)))
    assert words.moment(here) == words.moment(here.astimezone(UTC)) == "2026-03-02 14:05:09 UTC"


def test_long_lists_are_counted():
    """A sentence names a few and counts the rest."""
    assert words.listed(["A"]) == "A"
    assert words.listed(["A", "B"]) == "A and B"
    assert words.listed(list("ABCDEFG")) == "A, B, C and 4 others"
