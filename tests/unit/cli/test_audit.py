"""`flame node audit`: whether a node's evidence holds, and the evidence itself."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flame_fl.gate.store import Store
from tests.support.chains import KEY, OTHER_PUBLIC, PUBLIC, State
from tests.unit.cli.conftest import Flame


def write_state(folder: Path, entries: int = 3) -> tuple[Path, str]:
    """A node's state file with a few entries, and its head."""
    store = Store(folder / "state.db", durable=False)
    for n in range(entries):
        store.record("approval-approved", {"analysis": f"{n}" * 8, "by": "a steward [bold]\x1b[31m"})
    _, head = store.verify_audit()
    store.close()
    return folder / "state.db", head


def tamper(file: Path, statement: str) -> None:
    """What somebody with access to the file could do."""
    with sqlite3.connect(file) as database:
        assert database.execute(statement).rowcount == 1
    database.close()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two nodes as a simulation lays them."""
    for name in ("DIZ-1", "DIZ-2"):
        write_state(tmp_path / "run" / "nodes" / name)
    return tmp_path / "run"


class TestVerify:
    def test_says_that_every_chain_holds(self, run_folder: Path, flame: Flame) -> None:
        """Exit code 0, and each node by name."""
        said = flame("node", "audit", "verify", run_folder)
        assert said.code == 0, said.err
        assert "Every chain holds." in said.out
        assert [name for name in ("DIZ-1", "DIZ-2") if name not in said.out] == []

    def test_shows_the_whole_head(self, flame: Flame, tmp_path: Path) -> None:
        """To compare with the one that left."""
        _, head = write_state(tmp_path / "DIZ-1")
        assert head in flame("node", "audit", "verify", tmp_path / "DIZ-1").out

    def test_with_json_gives_the_numbers(self, flame: Flame, tmp_path: Path) -> None:
        """Per node: entries, head, ledger entries, and what vouches for how much of it."""
        _, head = write_state(tmp_path / "DIZ-1")
        assert json.loads(flame("node", "audit", "verify", tmp_path / "DIZ-1", "--json").out) == [
            {
                "node": "DIZ-1",
                "entries": 3,
                "head": head,
                "ledger_entries": 0,
                "checkpoints": 0,
                "signatures_checked": False,
                "vouched_for": 0,
                "gap": None,
            }
        ]

    @pytest.mark.parametrize("what", ["run", "run/nodes", "run/nodes/DIZ-1", "run/nodes/DIZ-1/state.db"])
    def test_takes_a_run_a_folder_or_a_file(self, what: str, run_folder: Path, flame: Flame) -> None:
        """And finds the nodes in it."""
        found = json.loads(flame("node", "audit", "verify", run_folder.parent / what, "--json").out)
        assert [f["node"] for f in found] == (["DIZ-1"] if "DIZ" in what else ["DIZ-1", "DIZ-2"])

    @pytest.mark.parametrize("what", [".", "state.db"])
    def test_names_the_node_also_from_inside_its_folder(
        self, what: str, run_folder: Path, flame: Flame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The folder's name is the node's."""
        monkeypatch.chdir(run_folder / "nodes" / "DIZ-1")
        assert json.loads(flame("node", "audit", "verify", what, "--json").out)[0]["node"] == "DIZ-1"

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit SET entry = replace(entry, 'approved', 'rejected') WHERE seq = 2",
            "UPDATE audit SET hash = '0' WHERE seq = 3",
            "UPDATE audit SET entry = 'no JSON' WHERE seq = 1",
            "DELETE FROM audit WHERE seq = 1",
            "DELETE FROM audit WHERE seq = 2",
        ],
    )
    @pytest.mark.parametrize("json_wanted", [[], ["--json"]], ids=["text", "json"])
    def test_of_a_changed_chain_is_exit_code_5(
        self, statement: str, json_wanted: list[str], run_folder: Path, flame: Flame
    ) -> None:
        """Changed, removed or replaced; the other node's chain does not hide it."""
        tamper(run_folder / "nodes" / "DIZ-2" / "state.db", statement)
        said = flame("node", "audit", "verify", run_folder, *json_wanted)
        assert said.code == 5
        assert "broken at entry" in said.err
        assert "Every chain holds" not in said.out

    def test_names_the_node_whose_chain_is_broken(self, run_folder: Path, flame: Flame) -> None:
        """There may be a hundred."""
        tamper(run_folder / "nodes" / "DIZ-2" / "state.db", "DELETE FROM audit WHERE seq = 1")
        assert "DIZ-2" in flame("node", "audit", "verify", run_folder).err

    def test_of_something_else_is_exit_code_5(self, flame: Flame, tmp_path: Path) -> None:
        """A file that is no database; it stays as it was."""
        (tmp_path / "state.db").write_bytes(b"no database, but long enough to be read as one" * 100)
        before = (tmp_path / "state.db").read_bytes()
        assert flame("node", "audit", "verify", tmp_path / "state.db").code == 5
        assert (tmp_path / "state.db").read_bytes() == before

    @pytest.mark.parametrize("how", ["another program's database", "emptied"])
    @pytest.mark.parametrize("command", ["verify", "export"])
    def test_of_a_file_that_is_no_state_is_exit_code_5_and_writes_nothing(
        self, how: str, command: str, flame: Flame, tmp_path: Path
    ) -> None:
        """Checking evidence does not change it, and no evidence is not evidence that all is well."""
        file = tmp_path / "DIZ-1" / "state.db"
        file.parent.mkdir()
        file.touch()
        if how != "emptied":
            with sqlite3.connect(file) as database:
                database.execute("CREATE TABLE theirs(a)")
            database.close()
        before = file.read_bytes()
        code = flame("node", "audit", command, file).code
        assert file.read_bytes() == before
        assert code == 5

    @pytest.mark.parametrize("command", ["verify", "export"])
    def test_of_a_sound_state_writes_nothing(self, command: str, flame: Flame, tmp_path: Path) -> None:
        """The file's bytes are the same afterwards, and no other file is left."""
        file, _ = write_state(tmp_path / "DIZ-1")
        before = {p: p.read_bytes() for p in file.parent.rglob("*")}
        assert flame("node", "audit", command, file).code == 0
        assert {p: p.read_bytes() for p in file.parent.rglob("*")} == before

    @pytest.mark.parametrize("command", ["verify", "export"])
    def test_where_there_is_no_state_is_exit_code_2(self, command: str, flame: Flame, tmp_path: Path) -> None:
        """The folder is named, and nothing is made in it."""
        (tmp_path / "empty").mkdir()
        said = flame("node", "audit", command, tmp_path / "empty")
        assert (said.code, str(tmp_path / "empty") in said.err) == (2, True)
        assert list((tmp_path / "empty").iterdir()) == []


def entries_of(out: str) -> list[dict[str, str]]:
    """The lines of entries in an export."""
    return [line for line in map(json.loads, out.splitlines()) if line["line"] == "entry"]


class TestExport:
    def test_prints_every_entry_oldest_first_node_by_node(self, run_folder: Path, flame: Flame) -> None:
        """One JSON object a line, exit code 0; each node begins with its name and ends with its head."""
        said = flame("node", "audit", "export", run_folder)
        lines = [json.loads(line) for line in said.out.splitlines()]
        assert said.code == 0
        assert [line["line"] for line in lines] == ["export", "entry", "entry", "entry", "end"] * 2
        assert [line["node"] for line in lines if line["line"] == "export"] == ["DIZ-1", "DIZ-2"]
        assert [json.loads(line["text"])["seq"] for line in entries_of(said.out)] == [1, 2, 3] * 2

    def test_gives_all_that_is_needed_to_recompute_the_chain(self, flame: Flame, tmp_path: Path) -> None:
        """The hash of each entry's text, by any program, is the stated one and the next entry's `prev`."""
        _, head = write_state(tmp_path / "DIZ-1")
        prev = "0" * 64
        for told in entries_of(flame("node", "audit", "export", tmp_path / "DIZ-1").out):
            assert json.loads(told["text"])["prev"] == prev
            prev = hashlib.sha256(told["text"].encode()).hexdigest()
            assert told["hash"] == prev
        assert prev == head

    def test_holds_no_control_character(self, flame: Flame, tmp_path: Path) -> None:
        """What a steward's or an app's text holds is escaped."""
        write_state(tmp_path / "DIZ-1")
        out = flame("node", "audit", "export", tmp_path / "DIZ-1").out
        assert "\x1b" not in out
        assert json.loads(entries_of(out)[0]["text"])["body"]["by"] == "a steward [bold]\x1b[31m"

    def test_of_a_changed_entry_shows_it_beside_the_hash_it_does_not_have(self, flame: Flame, tmp_path: Path) -> None:
        """To see what was changed is what an export is for."""
        file, _ = write_state(tmp_path / "DIZ-1")
        tamper(file, "UPDATE audit SET entry = replace(entry, 'approved', 'rejected') WHERE seq = 2")
        told = entries_of(flame("node", "audit", "export", file).out)[1]
        assert json.loads(told["text"])["kind"] == "approval-rejected"
        assert hashlib.sha256(told["text"].encode()).hexdigest() != told["hash"]

    def test_of_a_text_that_is_none_goes_on(self, flame: Flame, tmp_path: Path) -> None:
        """Bytes that are no UTF-8 are null; the entries after them are there."""
        file, _ = write_state(tmp_path / "DIZ-1")
        tamper(file, "UPDATE audit SET entry = CAST(x'ff' AS TEXT) WHERE seq = 2")
        assert [line["text"] is None for line in entries_of(flame("node", "audit", "export", file).out)] == [
            False,
            True,
            False,
        ]

    def test_of_a_part_begins_where_it_should(self, flame: Flame, tmp_path: Path) -> None:
        """And says so in its first line."""
        write_state(tmp_path / "DIZ-1")
        out = flame("node", "audit", "export", tmp_path / "DIZ-1", "--since", 3).out
        assert json.loads(out.splitlines()[0])["since"] == 3
        assert [json.loads(line["text"])["seq"] for line in entries_of(out)] == [3]

    def test_into_a_file_is_the_same_and_private(self, flame: Flame, tmp_path: Path) -> None:
        """Whole or not at all: an earlier one is replaced, and nothing lies beside it."""
        write_state(tmp_path / "DIZ-1")
        out = tmp_path / "out" / "export.jsonl"
        out.parent.mkdir()
        out.write_text("earlier")
        assert flame("node", "audit", "export", tmp_path / "DIZ-1", "--out", out).code == 0
        assert out.read_text() == flame("node", "audit", "export", tmp_path / "DIZ-1").out
        assert (out.stat().st_mode & 0o777, list(out.parent.iterdir())) == (0o600, [out])

    def test_into_a_folder_that_is_not_there_is_exit_code_2(self, flame: Flame, tmp_path: Path) -> None:
        """Another --out is asked for."""
        write_state(tmp_path / "DIZ-1")
        assert flame("node", "audit", "export", tmp_path / "DIZ-1", "--out", tmp_path / "none" / "x").code == 2

    def test_of_something_else_is_exit_code_5(self, flame: Flame, tmp_path: Path) -> None:
        """A file that is no database."""
        (tmp_path / "state.db").write_bytes(b"no database, but long enough to be read as one" * 100)
        assert flame("node", "audit", "export", tmp_path / "state.db").code == 5


class TestCheckpoints:
    @pytest.fixture
    def node(self, tmp_path: Path) -> Path:
        """A node's state folder with its public key, 120 entries and a checkpoint."""
        state = State(tmp_path / "DIZ-1")
        state.record(120)
        state.database.close()
        (tmp_path / "DIZ-1" / "keys").mkdir()
        (tmp_path / "DIZ-1" / "keys" / "identity.pub").write_text(f"{PUBLIC} DIZ-1\n")
        return tmp_path / "DIZ-1"

    def test_are_checked_with_the_nodes_key(self, node: Path, flame: Flame) -> None:
        """And how far they vouch is told."""
        (told,) = json.loads(flame("node", "audit", "verify", node, "--json").out)
        assert (told["checkpoints"], told["signatures_checked"], told["vouched_for"]) == (1, True, 100)

    def test_find_a_dropped_tail(self, node: Path, flame: Flame) -> None:
        """Exit code 5, the number of the first entry that is missing, and what it looks like."""
        with closing(sqlite3.connect(node / "state.db")) as database, database:
            database.execute("DELETE FROM audit WHERE seq > 90")
        said = flame("node", "audit", "verify", node)
        assert (said.code, "broken at entry 91 (truncated)" in said.err) == (5, True)

    def test_of_a_node_without_a_key_are_said_not_to_be_checked(self, node: Path, flame: Flame) -> None:
        """The chain still is."""
        (node / "keys" / "identity.pub").unlink()
        said = flame("node", "audit", "verify", node)
        assert (said.code, "signatures of checkpoints were not checked" in said.out) == (0, True)

    def test_of_a_virtual_node_are_checked_with_the_key_beside_its_state(self, node: Path, flame: Flame) -> None:
        """A simulation's nodes have no other."""
        (node / "keys" / "identity.pub").unlink()
        private = KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (node / "identity").write_bytes(private)
        assert json.loads(flame("node", "audit", "verify", node, "--json").out)[0]["signatures_checked"]

    def test_are_checked_with_the_key_that_is_given(self, node: Path, flame: Flame, tmp_path: Path) -> None:
        """Who has the machine could have put another key there."""
        (tmp_path / "other.pub").write_text(OTHER_PUBLIC)
        said = flame("node", "audit", "verify", node, "--key", tmp_path / "other.pub")
        assert (said.code, "broken at entry 100 (forged)" in said.err) == (5, True)

    @pytest.mark.parametrize("text", ["", "no key", "\xff"])
    def test_with_something_that_is_no_key_is_exit_code_2(self, node: Path, text: str, flame: Flame) -> None:
        """Nothing is checked with it."""
        (node / "x.pub").write_text(text, encoding="latin-1")
        assert flame("node", "audit", "verify", node, "--key", node / "x.pub").code == 2

    def test_that_were_removed_are_told(self, node: Path, flame: Flame) -> None:
        """It may have been an accident: the exit code stays 0."""
        with closing(sqlite3.connect(node / "state.db")) as database, database:
            database.execute("INSERT INTO checkpoints SELECT 5, hash, '', '' FROM audit WHERE seq=5")
            database.execute("DELETE FROM checkpoints WHERE seq=100")
        (node / "audit.checkpoint").unlink()
        (node / "keys" / "identity.pub").unlink()
        said = flame("node", "audit", "verify", node)
        assert (said.code, "no checkpoint between entries 6 and 120" in said.out) == (0, True)


class TestAgainst:
    @pytest.fixture
    def heads(self, run_folder: Path) -> dict[str, str]:
        """Each node's head, before anything was done to it."""
        found = {}
        for name in ("DIZ-1", "DIZ-2"):
            with closing(sqlite3.connect(run_folder / "nodes" / name / "state.db")) as database:
                found[name] = str(database.execute("SELECT hash FROM audit WHERE seq=3").fetchone()[0])
        return found

    def test_a_head_that_others_hold_vouches(self, run_folder: Path, heads: dict[str, str], flame: Flame) -> None:
        """For all entries up to its own; how many were compared is told."""
        (run_folder / "heads.txt").write_text("".join(f"{node} {head}\n" for node, head in heads.items()))
        told = json.loads(
            flame("node", "audit", "verify", run_folder, "--against", run_folder / "heads.txt", "--json").out
        )
        assert [(row["heads"], row["vouched_for"]) for row in told] == [(1, 3), (1, 3)]

    @pytest.mark.parametrize("how", ["events.jsonl", "result.json", "export", "heads.txt"])
    def test_a_truncated_chain_is_found(
        self, run_folder: Path, heads: dict[str, str], flame: Flame, how: str, tmp_path: Path
    ) -> None:
        """By what a hub, a researcher, a peer or an auditor's notes hold."""
        told = {
            "events.jsonl": {"kind": "reply", "name": "DIZ-2", "flame": {"audit_head": heads["DIZ-2"]}},
            "result.json": {"nodes": [{"name": name, "audit_head": head} for name, head in heads.items()]},
            "export": {"line": "witnessed", "node": "DIZ-2", "head": heads["DIZ-2"], "signature": ""},
        }
        (tmp_path / how).write_text(json.dumps(told[how]) if how in told else f"DIZ-2 {heads['DIZ-2']}")
        tamper(run_folder / "nodes" / "DIZ-2" / "state.db", "DELETE FROM audit WHERE seq = 3")
        assert flame("node", "audit", "verify", run_folder).code == 0  # the chain alone cannot show it
        said = flame("node", "audit", "verify", run_folder, "--against", tmp_path / how)
        assert (said.code, "DIZ-2" in said.err, "not signed" in said.err) == (5, True, True)

    def test_a_signed_head_is_said_to_be_the_nodes_own(self, flame: Flame, tmp_path: Path) -> None:
        """Nobody can have made it up."""
        state = State(tmp_path / "DIZ-1")
        state.record(2)
        head = state.rows[-1][1]
        told = {"kind": "reply", "name": "DIZ-1"}
        told |= {"flame": {"audit_head": head, "audit_signature": state.points.sign_head(head)}}  # type: ignore[dict-item]
        (tmp_path / "events.jsonl").write_text(json.dumps(told))
        state.alter("DELETE FROM audit WHERE seq=2")
        state.database.close()
        (tmp_path / "key.pub").write_text(PUBLIC)
        said = flame(
            "node", "audit", "verify", tmp_path / "DIZ-1", "--against", tmp_path, "--key", tmp_path / "key.pub"
        )
        assert (said.code, "signed by this node's key" in said.err) == (5, True)

    def test_a_node_is_known_by_the_name_in_its_first_entry(self, flame: Flame, tmp_path: Path) -> None:
        """A node's folder is not called as the node is."""
        store = Store(tmp_path / "flame" / "state.db", durable=False)
        head = store.record("node-made", {"name": "DIZ-X", "hub": "hub"})
        store.close()
        (tmp_path / "heads.txt").write_text(f"DIZ-X {head}")
        said = flame("node", "audit", "verify", tmp_path / "flame", "--against", tmp_path / "heads.txt", "--json")
        assert json.loads(said.out)[0]["heads"] == 1

    def test_a_head_without_a_name_is_of_the_only_node(
        self, run_folder: Path, heads: dict[str, str], flame: Flame
    ) -> None:
        """Of many nodes it is nobody's, and accuses nobody."""
        (run_folder / "heads.txt").write_text(heads["DIZ-1"])
        one = flame("node", "audit", "verify", run_folder / "nodes" / "DIZ-1", "--against", run_folder / "heads.txt")
        many = flame("node", "audit", "verify", run_folder, "--against", run_folder / "heads.txt")
        assert (one.code, many.code) == (0, 2)

    def test_a_file_without_a_head_of_any_node_is_exit_code_2(
        self, run_folder: Path, heads: dict[str, str], flame: Flame
    ) -> None:
        """Nothing was compared, so nothing may look compared."""
        (run_folder / "heads.txt").write_text(f"DIZ-9 {heads['DIZ-1']}")
        said = flame("node", "audit", "verify", run_folder, "--against", run_folder / "heads.txt")
        assert (said.code, "Every chain holds" in said.out) == (2, False)


def test_a_folder_whose_name_holds_control_characters_cannot_paint_the_terminal(flame: Flame, tmp_path: Path) -> None:
    """The node's name is the folder's."""
    write_state(tmp_path / "DIZ\x1b[31m[bold]-1")
    said = flame("node", "audit", "verify", tmp_path / "DIZ\x1b[31m[bold]-1")
    assert said.code == 0
    assert "\x1b" not in said.out
    assert r"DIZ\x1b[31m[bold]-1" in said.out
