"""The heads of peers that a node keeps: each once, within bounds."""

from pathlib import Path

import pytest

from flame_fl.gate import witnesses
from flame_fl.gate.heads import Head
from flame_fl.gate.witnesses import Kept, Witnesses
from tests.support.chains import AT, State


@pytest.fixture
def kept(tmp_path: Path) -> Witnesses:
    return Witnesses(State(tmp_path).database)


def heads(count: int, first: int = 0) -> list[Head]:
    return [Head("DIZ-1", f"{n:064x}") for n in range(first, first + count)]


def test_each_head_is_kept_once_in_the_order_it_came(kept: Witnesses) -> None:
    told = [Head("DIZ-2", "ab" * 32, "s"), *heads(2)]
    assert (kept.keep(told, "7", AT), kept.keep([*told, *heads(1, 9)], "8", "later")) == (3, 1)
    assert list(kept.all()) == [*(Kept(h, "7", AT) for h in told), Kept(heads(1, 9)[0], "8", "later")]


def test_a_run_brings_so_many_and_no_more(kept: Witnesses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "MOST_PER_RUN", 5)
    assert [kept.keep(heads(4, first), run, AT) for first, run in ((0, "1"), (4, "1"), (8, "1"), (12, "2"))] == [
        4,
        1,
        0,
        4,
    ]


def test_in_all_there_are_so_many_and_the_oldest_go(kept: Witnesses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "MOST", 3)
    kept.keep(heads(2), "1", AT)
    kept.keep(heads(3, 2), "2", AT)
    assert [k.head for k in kept.all()] == heads(3, 2)
