"""The audit chain: what changing it looks like, and what it cannot show."""

import sqlite3
from pathlib import Path

import pytest

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import VerificationError
from flame_fl.gate.audit import GENESIS, BrokenChainError, Checked, Mark, check, plain, verify
from flame_fl.gate.store import Store
from tests.support.chains import Row, chain


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


def broken(rows: list[Row], *marks: Mark) -> tuple[int, str]:
    """Where and how a chain is found broken."""
    with pytest.raises(BrokenChainError) as caught:
        check(rows, marks)
    assert f"broken at entry {caught.value.number} ({caught.value.kind})" in caught.value.message
    return caught.value.number, caught.value.kind


class TestDamageIsNamed:
    """The number of the first entry that does not hold, and what it looks like."""

    def test_an_edited_entry(self) -> None:
        rows = chain(5)
        rows[2] = (rows[2][0].replace("kind", "kinc"), rows[2][1])
        assert broken(rows) == (3, "edited")

    @pytest.mark.parametrize("first", [1, 3])
    @pytest.mark.parametrize("count", [1, 2])
    def test_dropped_entries(self, first: int, count: int) -> None:
        rows = chain(6)
        del rows[first - 1 : first - 1 + count]
        assert broken(rows) == (first, "dropped")

    def test_exchanged_entries(self) -> None:
        rows = chain(5)
        rows[1], rows[3] = rows[3], rows[1]
        assert broken(rows) == (2, "reordered")

    def test_an_entry_that_stands_twice(self) -> None:
        rows = chain(5)
        assert broken([*rows[:3], rows[2], *rows[3:]]) == (4, "reordered")
        assert broken([*rows, rows[4]]) == (6, "repeated")

    def test_one_entry_replaced_with_its_hash(self) -> None:
        """The next one still names the old hash: one of both is not what it was."""
        rows = chain(5)
        text = rows[2][0].replace("kind", "kinc")
        rows[2] = (text, sha256_hex(text.encode()))
        assert broken(rows) == (4, "replaced")

    def test_a_number_that_only_equals_one(self) -> None:
        """JSON's true is Python's 1."""
        text = chain(1)[0][0].replace('"seq":1', '"seq":true')
        assert broken([(text, sha256_hex(text.encode()))]) == (1, "edited")


class TestMarks:
    """What the chain alone cannot show."""

    def test_in_the_chain_vouch_for_all_before(self) -> None:
        rows = chain(6)
        marks = [Mark(rows[1][1], "a hub"), Mark(rows[3][1], "a checkpoint", 4)]
        assert check(rows, marks) == Checked(6, rows[5][1], 4)
        assert verify(rows, marks) == (6, rows[5][1])

    def test_none_vouch_for_nothing(self) -> None:
        assert check(chain(3)).confirmed == 0

    @pytest.mark.parametrize("seq", [None, 6])
    def test_find_a_dropped_tail(self, seq: int | None) -> None:
        """The number of the first entry that is missing."""
        rows = chain(6)
        marks = [Mark(rows[3][1], "a hub"), Mark(rows[5][1], "somebody", seq)]
        assert broken(rows[:4], *marks) == (5, "truncated")

    def test_find_an_edit_whose_later_hashes_were_all_made_to_fit(self) -> None:
        """Between the last mark that holds and the first that does not."""
        was = chain(9)
        now = chain(5, after=was[:4], note="changed")
        marks = [Mark(was[n - 1][1], f"checkpoint {n}", n) for n in (3, 6, 9)]
        assert broken(now, *marks) == (4, "rewritten")
        with pytest.raises(
            BrokenChainError, match=r"entries 4 to 6 are not those of checkpoint 6; entry 3 is the last"
        ):
            check(now, marks)

    def test_without_a_number_find_it_too(self) -> None:
        was = chain(9)
        now = chain(5, after=was[:4], note="changed")
        assert broken(now, Mark(was[1][1], "a hub"), Mark(was[7][1], "a hub")) == (3, "rewritten")

    def test_that_contradict_later_ones_are_wrong_themselves(self) -> None:
        """What a later mark vouches for was not changed before it."""
        rows = chain(6)
        assert broken(rows, Mark("ab" * 32, "a checkpoint", 2), Mark(rows[4][1], "a hub")) == (2, "forged")

    def test_of_the_node_itself_do_not_outweigh_those_of_others(self) -> None:
        """Who has the key can sign what was rewritten."""
        was = chain(9)
        now = chain(5, after=was[:4], note="changed")
        marks = [Mark(was[2][1], "a hub"), Mark(was[6][1], "a hub"), Mark(now[8][1], "a checkpoint", 9)]
        assert broken(now, *marks) == (4, "rewritten")
        with pytest.raises(BrokenChainError, match="checkpoints up to 9, which hold unless its key was used"):
            check(now, marks)

    def test_of_an_empty_chain(self) -> None:
        assert broken([], Mark("ab" * 32, "a hub")) == (1, "truncated")

    def test_do_not_hide_a_broken_link(self) -> None:
        rows = chain(4)
        head = rows[3][1]
        rows[1] = (rows[1][0] + " ", rows[1][1])
        assert broken(rows, Mark(head, "a hub")) == (2, "edited")
