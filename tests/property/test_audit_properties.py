"""The audit chain: every single change of any entry is detected."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.canonical import canonical_json
from flame_fl.contract.errors import VerificationError
from flame_fl.gate.audit import GENESIS, next_entry, verify

Row = tuple[str, str]
BODIES = st.dictionaries(
    st.text(max_size=4), st.integers(-1000, 1000) | st.text(max_size=6) | st.booleans(), max_size=3
)


def chain(bodies: list[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    head = GENESIS
    for seq, body in enumerate(bodies, 1):
        entry = next_entry(seq, head, "2026-01-01T00:00:00", "kind", body)
        rows.append((canonical_json(entry.as_json()).decode(), entry.hash))
        head = entry.hash
    return rows


CHAINS = st.lists(BODIES, min_size=1, max_size=5).map(chain)


def broken(rows: list[Row]) -> bool:
    try:
        verify(rows)
    except VerificationError:
        return True
    return False


@given(CHAINS)
def test_an_untouched_chain_holds(rows: list[Row]) -> None:
    assert verify(rows) == (len(rows), rows[-1][1])


@given(CHAINS, st.data())
def test_any_changed_character_of_any_entry_is_found(rows: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    text, stored = rows[at]
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters().filter(lambda c: c != text[place]))
    rows[at] = (text[:place] + character + text[place + 1 :], stored)
    assert broken(rows)


@given(CHAINS, st.data())
def test_a_changed_field_is_found_also_when_its_entrys_hash_is_made_to_fit(
    rows: list[Row], data: st.DataObject
) -> None:
    """Who can write the file can rehash one entry; then the next one does not fit. The last one's head has left."""
    at = data.draw(st.integers(0, len(rows) - 1))
    head = rows[-1][1]
    entry = json.loads(rows[at][0])
    field = data.draw(st.sampled_from(sorted(entry)))
    entry[field] = "changed"
    from flame_fl.contract.canonical import digest

    rows[at] = (canonical_json(entry).decode(), digest(entry))
    assert broken(rows) or verify(rows)[1] != head


@given(CHAINS, st.data())
def test_any_dropped_entry_is_found_by_the_chain_or_by_a_head_that_left(rows: list[Row], data: st.DataObject) -> None:
    head = rows[-1][1]
    del rows[data.draw(st.integers(0, len(rows) - 1))]
    assert broken(rows) or verify(rows)[1] != head


@given(st.lists(BODIES, min_size=2, max_size=5).map(chain), st.data())
def test_any_two_exchanged_entries_are_found(rows: list[Row], data: st.DataObject) -> None:
    i, j = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=2, max_size=2, unique=True))
    rows[i], rows[j] = rows[j], rows[i]
    assert broken(rows)


@given(st.lists(st.tuples(st.none() | st.text() | st.binary(), st.none() | st.text() | st.integers()), min_size=1))
def test_rows_of_anything_are_a_broken_chain_never_a_crash(rows: list[Any]) -> None:
    with pytest.raises(VerificationError):
        verify(rows)
