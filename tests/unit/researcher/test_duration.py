"""Spans of time, read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.researcher.duration import in_words, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("2d", 172_800), (" 1d ", 86_400)]
)
def test_what_people_write(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "2", "d", "0s", "-1d", "2 d", "2w", "1.5h", "1d12h", "2D", "inf", "999d", "9" * 30 + "s", "2d\n3", "٣d"],
)
def test_what_is_no_span_is_said_to_be_none(text: str) -> None:
    """With what to write."""
    with pytest.raises(InputError, match="no span of time") as raised:
        parse_duration(text)
    assert "2d" in raised.value.mend


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (172_799, "1 d 23 h"), (86_400, "1 d"), (86_401, "1 d"), (3_660, "1 h 1 m"), (61.9, "1 m 1 s"), (59, "59 s"),
        (0, "0 s"), (-3, "0 s"),
    ],
)  # fmt: skip
def test_what_people_read(seconds: float, words: str) -> None:
    """Two units at the most."""
    assert in_words(seconds) == words


@given(st.integers(1, 366), st.sampled_from("smhd"))
def test_what_is_written_is_read(count: int, unit: str) -> None:
    """Words never claim more time than there is."""
    seconds = parse_duration(f"{count}{unit}")
    parts = in_words(seconds).split()
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    said = sum(int(n) * units[u] for n, u in zip(parts[::2], parts[1::2], strict=True))
    assert 0 <= seconds - said < units[parts[1]]
