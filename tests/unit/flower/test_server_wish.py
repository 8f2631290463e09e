"""The wish to wait: what is taken for one, how it is kept, what is left of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.flower.server_wish import KeptWish, Wish, keep_wish, parse_wish, read_wish, wait_left


def test_a_wish_is_kept_and_read(tmp_path) -> None:
    """In a folder that need not be there yet; a second one replaces it, but for when the first came."""
    folder = tmp_path / "7"
    assert read_wish(folder) is None
    assert not wait_left(None, 100.0, 5.0).known
    keep_wish(folder, Wish(seconds=60), 1000.0)
    kept = keep_wish(folder, Wish(seconds=90, min_only=True), 1010.0)
    assert read_wish(folder) == kept == KeptWish(wish=Wish(seconds=90, min_only=True), asked=1010.0, first=1000.0)
    assert [path.name for path in folder.iterdir()] == ["wait.json"]


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{", b'{"seconds": -1}', b'{"seconds": NaN}', b'{"seconds": 1e99}', b'{"second": 1}', b"\xff",
        b'{"seconds": 1}' + b" " * 2000, b"[" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_wish_is_refused(raw: bytes) -> None:
    """It comes from outside."""
    with pytest.raises(ValueError, match=r".+"):
        parse_wish(raw)


def test_a_file_that_is_no_wish_is_none(tmp_path) -> None:
    """A run without a wish does not wait."""
    (tmp_path / "wait.json").write_text("{")
    assert read_wish(tmp_path) is None


def test_what_is_left() -> None:
    """Nothing below zero, and no more than the hub allows from the first wish on."""
    kept = KeptWish(wish=Wish(seconds=100), asked=50.0, first=0.0)
    assert wait_left(kept, 1000.0, 60.0).seconds_left == 90.0
    assert wait_left(kept, 100.0, 60.0).seconds_left == 40.0
    late = wait_left(kept, 100.0, 600.0)
    assert (late.known, late.seconds_left) == (True, 0.0)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e5)), min_size=1, max_size=6), st.floats(0, 1e5))
def test_asking_again_and_again_gains_nothing(wishes: list[tuple[float, float]], most: float) -> None:
    """The bound is from the first wish on."""
    now, first = 0.0, wishes[0][1]
    for seconds, pause in wishes:
        now += pause
        kept = KeptWish(wish=Wish(seconds=seconds), asked=now, first=first)
        assert kept.until(most) <= first + most
