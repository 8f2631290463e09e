"""`flame node audit`, on what a simulation left."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.runs import NODES, TOY, result, rows


@pytest.fixture
def run(simulate, tmp_path) -> Path:
    """A finished run."""
    assert simulate(TOY, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def tamper(state: Path, sql: str) -> None:
    with closing(sqlite3.connect(state)) as database, database:
        assert database.execute(sql).rowcount == 1


def test_an_untouched_run_verifies(run, flame) -> None:
    """Exit code 0, and every node's entries and head are those of the report."""
    done = flame("node", "audit", "verify", run, "--json")
    assert done.code == 0
    told = [(node["name"], node["audit_entries"], node["audit_head"]) for node in result(run)["nodes"]]
    assert [(node["node"], node["entries"], node["head"]) for node in json.loads(done.out)] == told


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_one_changed_byte_of_an_entry_is_found(run, flame, seq: int) -> None:
    """Exit code 5 and the entry's number, in whichever entry it is."""
    state = run / "nodes" / "DIZ-2" / "state.db"
    tamper(state, f"UPDATE audit SET entry=replace(entry, 'kind', 'kinc') WHERE seq={seq}")
    done = flame("node", "audit", "verify", run)
    assert done.code == 5
    assert f"broken at entry {seq}" in done.err


def test_a_broken_chain_is_named_with_its_node(run, flame) -> None:
    """Of a folder with many nodes the one to look at is named."""
    tamper(run / "nodes" / "DIZ-2" / "state.db", "UPDATE audit SET entry=replace(entry, 'kind', 'kinc') WHERE seq=1")
    done = flame("node", "audit", "verify", run)
    assert "DIZ-2" in done.out + done.err


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit SET hash=replace(hash, substr(hash, 1, 1), 'x') WHERE seq=2",
        "DELETE FROM audit WHERE seq=2",
        "DELETE FROM audit WHERE seq=1",
        "UPDATE audit SET seq=99 WHERE seq=2",
    ],
    ids=["another hash", "a missing entry", "a missing first entry", "another order"],
)
def test_other_changes_of_a_chain_are_found(run, flame, sql: str) -> None:
    """Exit code 5."""
    tamper(run / "nodes" / "DIZ-3" / "state.db", sql)
    assert flame("node", "audit", "verify", run).code == 5


def test_a_run_on_a_broken_state_says_so(run, simulate, tmp_path) -> None:
    """The next run's result.json marks the chain of that node, and of no other, as not verified."""
    shutil.copytree(run / "nodes", tmp_path / "state")
    tamper(
        tmp_path / "state" / "DIZ-2" / "state.db", "UPDATE audit SET entry=replace(entry, 'kind', 'kinc') WHERE seq=1"
    )
    simulate(TOY, "--state", tmp_path / "state", "--seed", 2, "--out", tmp_path / "next")
    assert [node["audit_verified"] for node in result(tmp_path / "next")["nodes"]] == [True, False, True]


def test_an_export_is_the_chain(run, flame) -> None:
    """One JSON line for every entry of every node, with the hash that is stored."""
    done = flame("node", "audit", "export", run)
    exported = [json.loads(line) for line in done.out.splitlines()]
    stored = [
        row
        for node in NODES
        for row in rows(run / "nodes" / node / "state.db", "SELECT hash, entry FROM audit ORDER BY seq")
    ]
    assert [line["node"] for line in exported if line["line"] == "export"] == list(NODES)
    assert [(line["hash"], line["text"]) for line in exported if line["line"] == "entry"] == stored


def test_a_folder_without_state_is_bad_input(flame, tmp_path) -> None:
    """Exit code 2: nothing was verified, so nothing may look verified."""
    done = flame("node", "audit", "verify", tmp_path)
    assert done.code == 2
    assert "no state.db" in done.err


def test_every_released_message_is_in_the_chain(run) -> None:
    """As many entries of a release as the node sent replies."""
    for node in result(run)["nodes"]:
        state = run / "nodes" / node["name"] / "state.db"
        kinds = [json.loads(text)["kind"] for (text,) in rows(state, "SELECT entry FROM audit")]
        assert kinds.count("released") == node["messages"] == 3
