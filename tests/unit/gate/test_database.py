"""The state file: transactions that are whole or not there, and schemas that are known or refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flame_fl.contract.errors import VerificationError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.approval import Status
from flame_fl.gate.database import SCHEMA_VERSION, Database
from flame_fl.gate.store import Store
from tests.support.gates import World, make_fab, manifest_from


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.db", durable=False)


def entry(database: Database, seq: int) -> None:
    database.execute("INSERT INTO audit VALUES(?, 'e', 'h')", seq)


def count(path: Path) -> int:
    with sqlite3.connect(path) as other:
        return int(other.execute("SELECT COUNT(*) FROM audit").fetchone()[0])


def test_an_exception_leaves_nothing_of_its_transaction(database: Database) -> None:
    def interrupted() -> None:
        with database.transaction():
            entry(database, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert count(database.path) == 0


def test_a_nested_transaction_commits_with_the_outer_one_only(database: Database) -> None:
    def outer() -> None:
        with database.transaction():
            with database.transaction():
                entry(database, 1)
            assert count(database.path) == 0
            raise ValueError("outer")

    with pytest.raises(ValueError, match="outer"):
        outer()
    assert count(database.path) == 0


def test_a_commit_that_fails_is_rolled_back_and_the_next_transaction_commits(database: Database) -> None:
    database.execute("PRAGMA foreign_keys=ON")
    database.execute("CREATE TABLE parent(id INTEGER PRIMARY KEY)")
    database.execute("CREATE TABLE child(p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), database.transaction():
        database.execute("INSERT INTO child VALUES(1)")  # found out at COMMIT
    with database.transaction():
        entry(database, 1)
    assert count(database.path) == 1


def test_a_newer_schema_stops(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    with pytest.raises(VerificationError, match="schema"):
        Store(tmp_path / "state.db")


def test_a_file_that_is_no_database_stops(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is no database, and long enough to tell" * 30)
    with pytest.raises(VerificationError, match="cannot be used"):
        Store(tmp_path / "state.db")


def test_a_place_where_no_file_can_be_stops(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(VerificationError, match="cannot be opened"):
        Store(tmp_path / "state.db")


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_durable_store_waits_for_the_disk(tmp_path: Path, durable: bool, level: int) -> None:
    database = Database(tmp_path / "state.db", durable=durable)
    assert database.rows("PRAGMA synchronous") == [(level,)]
    assert database.rows("PRAGMA journal_mode") == [("wal",)]


def test_opening_again_migrates_nothing(tmp_path: Path) -> None:
    for seq in (1, 2):
        database = Database(tmp_path / "state.db", durable=False)
        entry(database, seq)
        database.close()
    assert count(tmp_path / "state.db") == 2


def test_a_state_of_the_first_schema_is_carried_over(tmp_path: Path) -> None:
    """Approvals stay readable; nobody signed them, so nothing runs on them until they are made again."""
    from flame_fl.gate.database import _MIGRATIONS

    fab = make_fab()
    manifest = manifest_from(fab)
    folder = tmp_path / "diz"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "state.db")) as old:
        for statement in _MIGRATIONS[1].split(";"):
            old.execute(statement)
        old.execute(
            "INSERT INTO approvals VALUES(?,?,?,?,?,NULL,0,'ada','2026-01-01','seen')",
            (manifest.digest, manifest.app, "approved", manifest.model_dump_json(by_alias=True), "b" * 64),
        )
        old.execute("INSERT INTO audit SELECT 1, 'x', 'y' WHERE 0")
        old.execute("PRAGMA user_version=1")
        old.commit()
    world = World(folder)
    (record,) = world.store.approvals()
    assert (record.analysis_digest, record.status, record.by, dict(record.data)) == (
        manifest.digest, Status.PENDING, "ada", {},
    )  # fmt: skip
    assert record.manifest == manifest
    assert world.code(fab) is RefusalCode.PENDING_APPROVAL
    assert world.sandbox.specs == []
    world.decide(fab)
    assert world.store.approvals()[0].data == {"cohort": "5" * 64}
    world.released(fab)
    world.store.close()
    with closing(sqlite3.connect(folder / "state.db")) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all: the next start tries again, with nothing half-made in the way."""
    from flame_fl.gate import database as module

    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as old:
        for statement in module._MIGRATIONS[1].split(";"):
            old.execute(statement)
        old.execute("PRAGMA user_version=1")
    with monkeypatch.context() as patch:
        patch.setitem(module._MIGRATIONS, 2, module._MIGRATIONS[2] + "; CREATE TABLE audit(seq INTEGER)")
        with pytest.raises(VerificationError, match="cannot be used"):
            Database(path, durable=False)
    database = Database(path, durable=False)
    assert database.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
    database.close()
