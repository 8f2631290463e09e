"""Signed checkpoints: when they are made, what they find, and that a crash accuses nobody."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from flame_fl.contract.errors import VerificationError
from flame_fl.gate.audit import BrokenChainError, Mark
from flame_fl.gate.checkpoints import EVERY, FILE, Checkpoint, Checkpoints
from flame_fl.gate.database import Database
from tests.support.chains import AT, KEY, OTHER_KEY, OTHER_PUBLIC, PUBLIC, State, chain


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Two and a half times as many entries as a checkpoint covers."""
    state = State(tmp_path)
    state.record(2 * EVERY + 50)
    return state


def broken(state: State, *held: Mark) -> tuple[int, str]:
    """Where and how a state is found broken."""
    with pytest.raises(BrokenChainError) as caught:
        state.points.check([PUBLIC], held)
    return caught.value.number, caught.value.kind


class TestMaking:
    def test_one_every_so_many_entries(self, state: State) -> None:
        """Of the newest entry, and the file holds the newest of them."""
        heads = [stored for _, stored in state.rows]
        made = list(state.points.stored())
        assert [(p.seq, p.head) for p in made] == [(n, heads[n - 1]) for n in (EVERY, 2 * EVERY)]
        assert state.points.in_file() == made[-1]

    def test_one_when_asked_of_the_newest_entry_once(self, state: State) -> None:
        """At a gate's start and end and at a person's decision; not twice of one entry."""
        for _ in range(2):
            with state.database.transaction():
                state.points.make(AT)
            state.points.publish()
        assert [p.seq for p in state.points.stored()] == [EVERY, 2 * EVERY, 2 * EVERY + 50]
        assert state.points.in_file() == list(state.points.stored())[-1]

    def test_counts_from_the_last_one(self, state: State) -> None:
        """However it came to be."""
        state.points.make(AT)
        state.record(EVERY)
        assert [p.seq for p in state.points.stored()][2:] == [2 * EVERY + 50, 3 * EVERY + 50]

    def test_of_an_empty_chain_is_none(self, tmp_path: Path) -> None:
        """There is nothing to sign."""
        empty = State(tmp_path)
        empty.points.make(AT)
        assert list(empty.points.stored()) == []

    def test_without_a_key_is_none(self, tmp_path: Path) -> None:
        """A state that nobody signs for has a chain all the same."""
        unsigned = State(tmp_path, key=None)
        unsigned.record(EVERY + 1)
        unsigned.points.make(AT)
        unsigned.points.publish()
        assert (list(unsigned.points.stored()), (tmp_path / FILE).exists()) == ([], False)
        assert unsigned.points.sign_head("ab" * 32) == ""

    @pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
    def test_a_signature_is_one_that_ssh_keygen_accepts(self, state: State, tmp_path: Path) -> None:
        """For the namespace flame-audit, over the five fields as canonical JSON."""
        point = next(state.points.stored())
        (tmp_path / "allowed").write_text(f"node {PUBLIC}\n")
        (tmp_path / "signature").write_text(point.signature)
        told = {"at": point.at, "checkpoint_version": 1, "head": point.head, "node": PUBLIC, "seq": point.seq}
        done = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "node", "-n", "flame-audit", "-s", "signature"],
            input=json.dumps(told, separators=(",", ":")).encode(),
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


class TestTheFile:
    def test_never_runs_ahead_of_what_is_committed(self, state: State) -> None:
        """Killed before the commit, the node must not find itself truncated."""
        before = state.points.in_file()

        def die_before_the_commit() -> None:
            with state.database.transaction():
                state.points.make(AT)
                state.points.publish()
                raise KeyError

        with pytest.raises(KeyError):
            die_before_the_commit()
        state.points.publish()
        assert state.points.in_file() == before
        assert state.points.check([PUBLIC]).entries == 2 * EVERY + 50

    def test_catches_up_after_the_commit(self, state: State) -> None:
        """Asked inside a transaction, it waits for the end of it."""
        with state.database.transaction():
            state.points.make(AT)
            state.points.publish()
        state.points.publish()
        found = state.points.in_file()
        assert found is not None
        assert found.seq == 2 * EVERY + 50

    def test_never_goes_back(self, state: State, tmp_path: Path) -> None:
        """A file that is newer than the database is evidence."""
        newer = (tmp_path / FILE).read_bytes()
        state.alter(f"DELETE FROM audit WHERE seq>{EVERY}", f"DELETE FROM checkpoints WHERE seq>{EVERY}")
        state.record(10)
        state.points.make(AT)
        state.points.publish()
        assert (tmp_path / FILE).read_bytes() == newer

    def test_that_cannot_be_written_stops_nothing_and_is_tried_again(self, state: State, tmp_path: Path) -> None:
        """What was decided holds without it."""
        (tmp_path / FILE).unlink()
        (tmp_path / FILE).mkdir()
        state.points.make(AT)
        state.points.publish()
        (tmp_path / FILE).rmdir()
        state.points.publish()
        found = state.points.in_file()
        assert found is not None
        assert found.seq == 2 * EVERY + 50

    @pytest.mark.parametrize(
        "text",
        [b"", b"[]", b"{}", b"\xff", b'{"seq": true, "head": "", "at": "", "signature": ""}', b"[" * 9000, b" " * 9000],
    )
    def test_of_anything_else_is_said(self, state: State, tmp_path: Path, text: bytes) -> None:
        """Never a crash, never taken for no file."""
        (tmp_path / FILE).write_bytes(text)
        with pytest.raises(VerificationError, match="is no checkpoint"):
            state.points.check([PUBLIC])


class TestChecking:
    def test_a_sound_state(self, state: State) -> None:
        """What was compared is told, and how far it vouches."""
        found = state.points.check([PUBLIC])
        assert (found.entries, found.confirmed, found.checkpoints) == (2 * EVERY + 50, 2 * EVERY, 2)
        assert (found.signed, found.gap) == (True, None)
        assert found.head == state.rows[-1][1]

    def test_a_dropped_tail_is_found_by_the_checkpoints(self, state: State) -> None:
        """With the number of the first entry that is missing."""
        state.alter("DELETE FROM audit WHERE seq>150")
        assert broken(state) == (151, "truncated")

    def test_a_database_restored_from_a_backup_is_found_by_the_file(self, state: State) -> None:
        """Its own checkpoints are as old as it is."""
        state.alter("DELETE FROM audit WHERE seq>150", "DELETE FROM checkpoints WHERE seq>150")
        assert broken(state) == (151, "truncated")

    def test_a_rewritten_chain_is_found_between_two_checkpoints(self, state: State) -> None:
        """Every hash fits; the signatures do not."""
        state.put(chain(200, after=state.rows[:130], note="changed"))
        assert broken(state) == (EVERY + 1, "rewritten")

    def test_a_checkpoint_made_to_fit_is_not_signed(self, state: State) -> None:
        """Whoever has the file only cannot sign."""
        state.put(chain(200, after=state.rows[:130], note="changed"))
        head = state.rows[2 * EVERY - 1][1]
        state.alter(f"UPDATE checkpoints SET head='{head}' WHERE seq={2 * EVERY}")
        state.points.file.unlink()
        assert broken(state) == (2 * EVERY, "forged")

    def test_a_checkpoint_of_another_key_is_not_this_nodes(self, state: State) -> None:
        """Nor is one that the other key signed for itself."""
        rewritten = chain(200, after=state.rows[:130], note="changed")
        state.put(rewritten)
        state.alter(f"DELETE FROM checkpoints WHERE seq>{EVERY}")
        state.points.file.unlink()
        Checkpoints(state.database, OTHER_KEY).make(AT)
        assert broken(state) == (330, "forged")
        assert state.points.check([PUBLIC, OTHER_PUBLIC]).entries == 330

    @pytest.mark.parametrize("column", ["head", "at", "signature"])
    @pytest.mark.parametrize("value", ["x'ff'", "CAST(x'ff00' AS TEXT)", "1", "''"])
    def test_anything_in_a_checkpoint_is_found_never_a_crash(self, state: State, column: str, value: str) -> None:
        """The columns of SQLite hold what one puts there."""
        state.alter(f"UPDATE checkpoints SET {column}={value} WHERE seq={EVERY}")
        assert broken(state) == (EVERY, "forged")

    @pytest.mark.parametrize("value", ["x'ff'", "CAST(x'ff00' AS TEXT)", "1"])
    @pytest.mark.parametrize("column", ["entry", "hash"])
    def test_anything_in_an_entry_is_found_never_a_crash(self, state: State, column: str, value: str) -> None:
        """Text that is no UTF-8 among them."""
        state.alter(f"UPDATE audit SET {column}={value} WHERE seq=7")
        assert broken(state) == (7, "edited")

    def test_a_head_that_others_hold_is_compared(self, state: State) -> None:
        """It vouches further than the last checkpoint, or shows what is gone."""
        head = state.rows[-1][1]
        assert state.points.check([PUBLIC], [Mark(head, "a hub")]).confirmed == 2 * EVERY + 50
        before = state.rows[-2][1]
        state.alter("DELETE FROM audit WHERE seq=250")
        assert broken(state, Mark(before, "a hub"), Mark(head, "a hub")) == (250, "truncated")

    def test_without_a_key_compares_all_but_the_signatures(self, state: State) -> None:
        """And says so."""
        assert not state.points.check().signed
        state.alter("DELETE FROM audit WHERE seq>150")
        with pytest.raises(BrokenChainError, match="entry 151"):
            state.points.check()

    def test_removed_checkpoints_leave_a_gap_that_is_told(self, state: State) -> None:
        """In the middle and at the end."""
        state.record(EVERY)
        state.alter(f"DELETE FROM checkpoints WHERE seq={2 * EVERY}")
        assert state.points.check([PUBLIC]).gap == (EVERY + 1, 3 * EVERY)
        state.alter(f"DELETE FROM checkpoints WHERE seq={3 * EVERY}")
        state.points.file.unlink()
        assert state.points.check([PUBLIC]).gap == (EVERY + 1, 3 * EVERY + 50)

    def test_of_a_state_without_checkpoints_knows_none(self, tmp_path: Path) -> None:
        """As an earlier version left it."""
        old = State(tmp_path)
        old.record(3)
        found = old.points.check([PUBLIC])
        assert (found.checkpoints, found.confirmed, found.gap) == (0, 0, None)


def test_a_checkpoint_says_of_which_node_it_is(tmp_path: Path) -> None:
    """The same head signed for one node is none of another."""
    point = Checkpoint(1, "ab" * 32, AT, "")
    assert point.message(PUBLIC) != point.message(OTHER_PUBLIC)


def test_two_processes_may_keep_one_file(tmp_path: Path) -> None:
    """The gate's and a steward's command."""
    state = State(tmp_path)
    state.record(3)
    other = Checkpoints(Database(state.database.path, durable=False), KEY)
    other.make(AT)
    other.publish()
    state.record(1)
    state.points.make(AT)
    state.points.publish()
    assert [p.seq for p in other.stored()] == [3, 4]
    assert state.points.in_file() == list(other.stored())[-1]
