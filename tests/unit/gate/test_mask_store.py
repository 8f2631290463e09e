"""The table of keys: one row per run, replaced whole, and emptied but for the number of its set-up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flame_fl.gate.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty state with two runs of one analysis."""
    store = Store(tmp_path / "state.db", durable=False)
    for run in ("1", "2"):
        store.open_run(run, "d" * 64, "f" * 64, {}, 9)
    yield store
    store.close()


def test_there_is_none_at_first(store: Store) -> None:
    """Number 0, so that the first set-up has a larger one."""
    assert store.mask_state("1") == (0, "")


def test_a_later_state_takes_the_place_of_an_earlier(store: Store) -> None:
    """Of the same run alone."""
    store.put_mask_state("1", 1, "one")
    store.put_mask_state("2", 5, "other")
    store.put_mask_state("1", 2, "two")
    assert (store.mask_state("1"), store.mask_state("2")) == ((2, "two"), (5, "other"))


def test_what_is_erased_leaves_its_number(store: Store) -> None:
    """Or an old set-up could be begun again."""
    store.put_mask_state("1", 3, "keys")
    store.erase_masks("1")
    store.erase_masks("2")  # nothing there
    assert (store.mask_state("1"), store.mask_state("2")) == ((3, ""), (0, ""))


def test_runs_that_have_keys_are_known_with_their_analysis(store: Store) -> None:
    """And no others."""
    for run in ("1", "2"):
        store.put_mask_state(run, 1, "keys")
    store.erase_masks("2")
    assert store.masked_runs() == [("1", "d" * 64)]


def test_a_transaction_that_fails_changes_nothing(store: Store) -> None:
    """Neither a new state nor an erased one."""
    store.put_mask_state("1", 1, "keys")

    def fails() -> None:
        with store.transaction():
            store.put_mask_state("1", 2, "more")
            store.erase_masks("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert store.mask_state("1") == (1, "keys")


@pytest.mark.parametrize("size", [64, 5000, 300_000])
def test_what_is_replaced_or_erased_is_gone_from_the_disk(size: int, store: Store) -> None:
    """States of a part of a page, of several, and of many: after a run's end no byte of them is left, log and all."""
    old, new = b"a5" * (size // 2), b"c7" * (size // 2)
    store.put_mask_state("1", 1, old.decode())
    store.put_mask_state("1", 1, new.decode())

    def raw() -> bytes:
        return b"".join(path.read_bytes() for path in store.path.parent.glob("state.db*"))

    assert new[:60] in raw()
    store.forget_replies("1")
    assert (old[:60] in raw(), new[:60] in raw()) == (False, False)
    store.close()
    assert (old[:60] in raw(), new[:60] in raw()) == (False, False)
