"""How long a fit will take."""

import pytest
from flame_strategies.progress import Pace, round_line, span, tell


def test_the_pace_is_that_of_the_last_rounds() -> None:
    """A fit whose slow node went is not slow for ever."""
    pace = Pace()
    assert pace.seconds_left(3) == 0.0
    for seconds in (100.0, 100.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        pace.add(seconds)
    assert pace.seconds_left(10) == pytest.approx(20.0)
    assert pace.seconds_left(0) == 0.0


def test_the_line_says_when_it_ends() -> None:
    """Not for the last round."""
    assert round_line(3, 3, 12.0, 0.0) == "Round 3 of 3 took 12 s"
    assert "about 2 d" in round_line(1, 3, 90000.0, 180000.0)


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0.0 s"), (59.6, "1 m"), (3600, "1 h"), (3601, "1 h"), (90061, "1 d 1 h")]
)
def test_spans(seconds: float, said: str) -> None:
    """Two units at the most."""
    assert span(seconds) == said


def test_a_grid_that_does_not_listen_is_not_told() -> None:
    """Flower's own."""
    tell(object(), {"round": 1})  # type: ignore[arg-type]
