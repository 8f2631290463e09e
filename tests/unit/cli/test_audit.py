"""`flame node audit`: whether a node's evidence holds, and the evidence itself."""

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from flame_fl.contract.canonical import canonical_json
from flame_fl.gate.store import Store
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
        """Per node: entries, head, ledger entries."""
        _, head = write_state(tmp_path / "DIZ-1")
        assert json.loads(flame("node", "audit", "verify", tmp_path / "DIZ-1", "--json").out) == [
            {"node": "DIZ-1", "entries": 3, "head": head, "ledger_entries": 0}
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


class TestExport:
    def test_prints_every_entry_oldest_first_node_by_node(self, run_folder: Path, flame: Flame) -> None:
        """One JSON object a line, exit code 0."""
        said = flame("node", "audit", "export", run_folder)
        lines = [json.loads(line) for line in said.out.splitlines()]
        assert said.code == 0
        assert [(x["node"], x["entry"]["seq"]) for x in lines] == [
            (n, i) for n in ("DIZ-1", "DIZ-2") for i in (1, 2, 3)
        ]

    def test_gives_all_that_is_needed_to_recompute_the_chain(self, flame: Flame, tmp_path: Path) -> None:
        """The hash of each entry, by any program, is the stated one and the next entry's `prev`."""
        _, head = write_state(tmp_path / "DIZ-1")
        prev = "0" * 64
        for line in flame("node", "audit", "export", tmp_path / "DIZ-1").out.splitlines():
            told = json.loads(line)
            assert told["entry"]["prev"] == prev
            prev = hashlib.sha256(canonical_json(told["entry"])).hexdigest()
            assert told["hash"] == prev
        assert prev == head

    def test_holds_no_control_character(self, flame: Flame, tmp_path: Path) -> None:
        """What a steward's or an app's text holds is escaped."""
        write_state(tmp_path / "DIZ-1")
        out = flame("node", "audit", "export", tmp_path / "DIZ-1").out
        assert "\x1b" not in out
        assert json.loads(out.splitlines()[0])["entry"]["body"]["by"] == "a steward [bold]\x1b[31m"

    def test_of_a_changed_entry_shows_it_beside_the_hash_it_does_not_have(self, flame: Flame, tmp_path: Path) -> None:
        """To see what was changed is what an export is for."""
        file, _ = write_state(tmp_path / "DIZ-1")
        tamper(file, "UPDATE audit SET entry = replace(entry, 'approved', 'rejected') WHERE seq = 2")
        told = json.loads(flame("node", "audit", "export", file).out.splitlines()[1])
        assert told["entry"]["kind"] == "approval-rejected"
        assert hashlib.sha256(canonical_json(told["entry"])).hexdigest() != told["hash"]

    def test_of_something_else_is_exit_code_5(self, flame: Flame, tmp_path: Path) -> None:
        """A file that is no database."""
        (tmp_path / "state.db").write_bytes(b"no database, but long enough to be read as one" * 100)
        assert flame("node", "audit", "export", tmp_path / "state.db").code == 5


def test_a_folder_whose_name_holds_control_characters_cannot_paint_the_terminal(flame: Flame, tmp_path: Path) -> None:
    """The node's name is the folder's."""
    write_state(tmp_path / "DIZ\x1b[31m[bold]-1")
    said = flame("node", "audit", "verify", tmp_path / "DIZ\x1b[31m[bold]-1")
    assert said.code == 0
    assert "\x1b" not in said.out
    assert r"DIZ\x1b[31m[bold]-1" in said.out
