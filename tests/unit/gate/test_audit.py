"""The audit chain: what changing it looks like, and what it cannot show."""

import sqlite3
from pathlib import Path

import pytest

from flame_fl.contract.errors import VerificationError
from flame_fl.gate.audit import GENESIS, plain
from flame_fl.gate.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state.db", durable=False)
    for n in range(5):
        store.record("kind", {"n": n})
    return store


def alter(store: Store, sql: str) -> None:
    with sqlite3.connect(store.path) as other:
        other.execute(sql)


def test_a_chain_holds_and_ends_in_its_last_hash(store: Store) -> None:
    assert store.verify_audit() == (5, list(store.audit_rows())[-1][1])


def test_an_empty_chain_is_its_genesis(tmp_path: Path) -> None:
    assert Store(tmp_path / "x.db").verify_audit() == (0, GENESIS)


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        ("UPDATE audit SET entry=replace(entry, '\"n\":2', '\"n\":9') WHERE seq=3", 3),
        ("UPDATE audit SET entry=replace(entry, 'kind\":\"kind', 'kind\":\"kinds') WHERE seq=1", 1),
        ("UPDATE audit SET entry=entry || ' ' WHERE seq=4", 4),
        ("UPDATE audit SET hash=(SELECT hash FROM audit WHERE seq=2) WHERE seq=3", 3),
        ("DELETE FROM audit WHERE seq=1", 1),
        ("DELETE FROM audit WHERE seq=3", 3),
        ("UPDATE audit SET entry=(SELECT entry FROM audit WHERE seq=2) WHERE seq=3", 3),
        ("UPDATE audit SET entry='{}' WHERE seq=2", 2),
        ("UPDATE audit SET entry='[]' WHERE seq=2", 2),
        ("UPDATE audit SET entry='not JSON' WHERE seq=2", 2),
        ("UPDATE audit SET entry=replace(hex(zeroblob(60000)), '00', '[') WHERE seq=2", 2),
        ("UPDATE audit SET entry=x'ff' WHERE seq=2", 2),
    ],
)
def test_a_change_is_found_at_its_entry(store: Store, sql: str, where: int) -> None:
    alter(store, sql)
    with pytest.raises(VerificationError, match=f"entry {where}"):
        store.verify_audit()


def test_swapping_two_entries_is_found(store: Store) -> None:
    for sql in ("seq=99 WHERE seq=2", "seq=2 WHERE seq=3", "seq=3 WHERE seq=99"):
        alter(store, f"UPDATE audit SET {sql}")
    with pytest.raises(VerificationError, match="entry 2"):
        store.verify_audit()


def test_a_dropped_tail_shows_only_against_a_head_that_left(store: Store) -> None:
    """What the chain alone cannot show, and what does."""
    _, head = store.verify_audit()
    alter(store, "DELETE FROM audit WHERE seq>3")
    assert store.verify_audit()[0] == 3
    assert head not in [stored for _, stored in store.audit_rows()]


def test_the_same_entry_twice_has_two_hashes(store: Store) -> None:
    """The salt: a head that leaves confirms no guess about what was recorded."""
    salts = [entry["salt"] for entry, _ in store.audit_rows()]
    assert len(set(salts)) == 5
    assert all(len(salt) == 64 for salt in salts)


@pytest.mark.parametrize("text", ["\x1b[2J", "\ud800", "\u202eabc", "a\nb", "\x00"])
def test_text_from_outside_becomes_plain(text: str) -> None:
    assert plain(text).isprintable()


def test_long_text_from_outside_is_cut() -> None:
    assert len(plain("x" * 10_000)) == 201
