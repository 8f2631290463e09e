"""Pseudonyms, shifted dates and blocks: the same within a project, unlinkable across projects, stable for ever."""

import hmac
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from flame_fl.data.disguise import KEY_BYTES, Disguise, block_of, derived_key

NODE_KEY = bytes(range(32))
KEY, OTHER = derived_key(NODE_KEY, "pseudonyms p1"), derived_key(NODE_KEY, "pseudonyms p2")
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_values_that_views_of_past_runs_have() -> None:
    """Another value here is another pseudonym for every patient of every running study."""
    assert KEY.hex() == "2d38a5928136cd2196982897261aeb52538909fd6bb73e01a6864c8e3be28a51"
    shown = Disguise(KEY, 30)
    assert shown.patient("p1") == "f7d7b39ae54eda7cfce6" == hmac.new(KEY, b"patient\0p1", sha256).digest()[:10].hex()
    assert (shown.record("p1"), shown.days("p1"), block_of(KEY, "p1", 7)) == ("148941b1324bfaa40323", -30, 5)


@given(ids)
def test_a_pseudonym_is_20_hexadecimal_digits_and_always_the_same(word: str) -> None:
    found = Disguise(KEY).patient(word)
    assert len(found) == 20
    assert set(found) <= set("0123456789abcdef")
    assert found == Disguise(KEY, 30).patient(word)


@given(ids)
def test_pseudonyms_of_projects_and_of_kinds_of_ids_cannot_be_linked(word: str) -> None:
    one = Disguise(KEY)
    assert len({one.patient(word), one.record(word), Disguise(OTHER).patient(word), Disguise(OTHER).record(word)}) == 4


@given(st.sets(ids, min_size=2, max_size=50))
def test_no_two_patients_share_a_pseudonym(words: set[str]) -> None:
    assert len({Disguise(KEY).patient(word) for word in words}) == len(words)


def test_what_separates_the_parts_cannot_be_moved() -> None:
    """`patient` + `x` is never `patientx` + nothing."""
    assert Disguise(KEY).patient("a\0b") != Disguise(KEY).patient("a") != Disguise(KEY).patient("b")
    assert Disguise(KEY)._mac("patient", "x") != Disguise(KEY)._mac("patientx", "")


@given(ids)
def test_without_a_key_nothing_is_hidden(word: str) -> None:
    plain = Disguise(None, 30)
    assert (plain.patient(word), plain.record(word), plain.days(word)) == (word, word, 0)


@given(ids, st.integers(0, 5000))
def test_dates_move_by_no_more_than_was_said(word: str, most: int) -> None:
    days = Disguise(KEY, most).days(word)
    assert -most <= days <= most
    assert days == Disguise(KEY, most).days(word)


def test_all_shifts_occur_and_evenly() -> None:
    """7 shifts, 7000 patients: each about a thousand times (six standard deviations)."""
    days = [Disguise(KEY, 3).days(f"p{i}") for i in range(7000)]
    assert {days.count(d) for d in range(-3, 4)} <= set(range(1000 - 176, 1000 + 177))


def test_a_key_is_in_no_text() -> None:
    shown = f"{Disguise(KEY, 5)!r} {Disguise(KEY, 5)} {Disguise()}"
    assert shown == "Disguise(key=set, shift_days=5) Disguise(key=set, shift_days=5) Disguise(key=None, shift_days=0)"


@given(st.text(), st.text())
def test_a_key_per_purpose(one: str, other: str) -> None:
    keys = derived_key(NODE_KEY, one), derived_key(NODE_KEY, other)
    assert (keys[0] == keys[1]) == (one == other)
    assert len(keys[0]) == KEY_BYTES
    assert NODE_KEY not in keys
    assert derived_key(bytes(32), one) != keys[0]


@given(ids, st.integers(1, 1000))
def test_a_block_depends_on_key_and_patient_alone(word: str, blocks: int) -> None:
    assert 0 <= block_of(KEY, word, blocks) < blocks
    assert block_of(KEY, word, blocks) == block_of(KEY, word, blocks)


def test_blocks_are_of_about_one_size_and_other_ones_under_another_key() -> None:
    of = [block_of(KEY, f"p{i}", 10) for i in range(10_000)]
    assert {of.count(b) for b in range(10)} <= set(range(1000 - 180, 1000 + 181))
    other = [block_of(OTHER, f"p{i}", 10) for i in range(10_000)]
    assert 800 < sum(a == b for a, b in zip(of, other, strict=True)) < 1200
