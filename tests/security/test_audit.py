"""Somebody who wants the audit chain to say something else: with the state file, with the node's key, as the hub."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.canonical import canonical_json, sha256_hex
from flame_fl.gate import witnesses
from flame_fl.gate.audit import BrokenChainError, Mark, parse
from flame_fl.gate.audit_export import export_lines
from flame_fl.gate.checkpoints import EVERY, Checkpoints
from flame_fl.gate.heads import MOST_HEADS, Head, is_signed_by, witnessed_in
from flame_fl.gate.witnesses import Witnesses
from tests.support.chains import AT, KEY, OTHER_KEY, PUBLIC, Row, State, chain
from tests.support.gates import World, make_fab

FAB = make_fab()


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Three checkpoints, and some entries that none covers yet."""
    state = State(tmp_path / "node")
    state.record(3 * EVERY + 10)
    return state


def found(state: State, *heads: str) -> tuple[int, str]:
    """Where and how it is found; the test fails if it is not."""
    with pytest.raises(BrokenChainError) as caught:
        state.points.check([PUBLIC], [Mark(head, "another DIZ") for head in heads])
    return caught.value.number, caught.value.kind


def rehashed(rows: list[Row], at: int, **body: Any) -> list[Row]:
    """The chain with entry `at` changed, and every later one made to fit: what a careful person does."""
    made = rows[: at - 1]
    for text, _ in rows[at - 1 :]:
        entry = parse(text) or {}
        entry |= {"prev": made[-1][1] if made else "0" * 64} | ({"body": body} if entry["seq"] == at else {})
        raw = canonical_json(entry)
        made.append((raw.decode(), sha256_hex(raw)))
    return made


@pytest.mark.parametrize("at", [1, EVERY, EVERY + 1, 2 * EVERY + 57])
def test_a_change_with_every_later_hash_made_to_fit_is_found_by_the_signatures(state: State, at: int) -> None:
    state.put(rehashed(state.rows, at, note="changed"))
    before = (at - 1) // EVERY * EVERY
    assert found(state) == (before + 1, "rewritten")


def test_checkpoints_signed_anew_with_another_key_are_found(state: State) -> None:
    state.put(rehashed(state.rows, 50, note="changed"))
    state.alter("DELETE FROM checkpoints")
    state.points.file.unlink()
    forger = Checkpoints(state.database, OTHER_KEY)
    forger.make(AT)
    forger.publish()
    assert found(state) == (3 * EVERY + 10, "forged")


def test_a_checkpoint_of_the_same_node_at_another_place_is_found(state: State) -> None:
    state.alter(
        f"UPDATE checkpoints SET head=(SELECT head FROM checkpoints WHERE seq={EVERY}),"
        f" signature=(SELECT signature FROM checkpoints WHERE seq={EVERY}) WHERE seq={2 * EVERY}"
    )
    assert found(state) == (2 * EVERY, "forged")


def test_a_state_put_back_to_yesterday_is_found_by_the_file_beside_it(state: State, tmp_path: Path) -> None:
    shutil.copy(state.database.path, tmp_path / "yesterday.db")
    yesterday = len(state.rows)
    state.record(EVERY)
    newer = state.points.file.read_bytes()
    state.database.close()
    for leftover in state.database.path.parent.iterdir():
        leftover.unlink()
    restored = state.database.path.parent
    shutil.copy(tmp_path / "yesterday.db", restored / "state.db")
    (restored / "audit.checkpoint").write_bytes(newer)
    again = State(restored)
    assert len(again.rows) <= yesterday
    assert found(again) == (len(again.rows) + 1, "truncated")


def test_who_has_the_nodes_key_too_is_found_by_the_heads_that_left(state: State) -> None:
    rows = state.rows
    heads = [rows[n - 1][1] for n in (40, 120, 305)]
    state.put(rehashed(rows, 100, note="changed"))
    state.alter("DELETE FROM checkpoints")
    state.points.file.unlink()
    owner = Checkpoints(state.database, KEY)
    owner.make(AT)
    owner.publish()
    assert state.points.check([PUBLIC]).entries == len(rows)  # nothing at the node can show it
    assert found(state, *heads) == (41, "rewritten")


def test_a_release_that_was_wiped_out_is_found_by_the_head_that_left_with_it(world: World) -> None:
    world.decide(FAB)
    head = world.released(FAB).configs["flame"]["audit_head"]
    world.store.close()
    state = State(world.folder, key=None)
    rows = state.rows
    at = next(n for n, (text, _) in enumerate(rows, 1) if (parse(text) or {})["kind"] == "released")
    state.put(rows[: at - 1])
    with pytest.raises(BrokenChainError, match=f"entry {at}|truncated|rewritten"):
        state.points.check((), [Mark(str(head), "the hub")])


def test_a_head_confirms_no_guess_about_what_was_recorded() -> None:
    one, two = chain(1, note="approved"), chain(1, note="approved")
    assert one[0][1] != two[0][1]
    known = {k: v for k, v in (parse(one[0][0]) or {}).items() if k != "salt"}
    assert sha256_hex(canonical_json(known)) != one[0][1]


def test_nobody_can_make_up_a_head_to_accuse_a_node(state: State) -> None:
    own = state.rows[-1][1]
    assert is_signed_by(Head("DIZ-1", own, state.points.sign_head(own)), PUBLIC)
    for signature in (state.points.sign_head(own), Checkpoints(state.database, OTHER_KEY).sign_head("ab" * 32), ""):
        assert not is_signed_by(Head("DIZ-1", "ab" * 32, signature), PUBLIC)


def test_a_checkpoints_signature_is_none_over_a_head_that_left(state: State) -> None:
    point = next(state.points.stored())
    assert not is_signed_by(Head("DIZ-1", point.head, point.signature), PUBLIC)


def test_a_hub_that_brings_heads_without_end_fills_a_bounded_table(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "MOST", 2500)
    kept, size = Witnesses(state.database), MOST_HEADS
    for message in range(5):
        told: dict[str, object] = {
            "heads_nodes": ["DIZ-2"] * size,
            "heads": [f"{message * size + n + 1:064x}" for n in range(size)],
        }
        kept.keep(witnessed_in(told), f"run {message}", AT)
    assert len(list(kept.all())) == 2500


def test_a_message_with_too_many_heads_is_not_read(state: State) -> None:
    told: dict[str, object] = {"heads_nodes": ["DIZ-2"] * 10**6, "heads": ["ab" * 32] * 10**6}
    assert Witnesses(state.database).keep(witnessed_in(told), "7", AT) == 0


def test_what_a_hub_or_an_app_named_cannot_paint_an_auditors_terminal(state: State) -> None:
    Witnesses(state.database).keep([Head("DIZ\x1b[2J\u202e", "ab" * 32, "\x07")], "\x1b[31m", AT)
    lines = list(export_lines(state.database, node="\x1b[31m", key=""))
    assert all(line.rstrip("\n").isascii() and line.rstrip("\n").isprintable() for line in lines)
    assert json.loads(lines[-2])["node"] == "DIZ\x1b[2J\u202e"
