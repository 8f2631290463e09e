"""The state file: transactions that are whole or not there, and schemas that are known or refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from flame_fl.contract.errors import VerificationError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.approval import Status
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.database import SCHEMA_VERSION, Database
from flame_fl.gate.store import Store
from flame_fl.privacy.accounting import PrivacyEvent, Relation
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


def test_a_ledger_of_the_third_schema_is_carried_over_with_everything_it_spent(tmp_path: Path) -> None:
    """One row per data store and attempt becomes one per account and attempt; what a site spent, its patients spent."""
    from flame_fl.gate.database import _MIGRATIONS

    noisy = '{"event": "gaussian", "noise_multiplier": 0.5, "relation": "replace-one-site"}'
    louder = noisy.replace("0.5", "2.0")
    open_ = '{"event": "no-claim"}'
    rows = [  # store, project, digest, run, leg, attempt, event, rho, state
        ("cohort", "p", "d", "1", "a", 1, noisy, 2.0, "reserved"),
        ("genomes", "p", "d", "1", "a", 1, noisy, 2.0, "reserved"),
        ("cohort", "p", "d", "1", "a", 2, noisy, 2.0, "committed"),
        ("genomes", "p", "d", "1", "a", 2, noisy, 2.0, "committed"),
        ("(no data store)", "q", "e", "2", "a", 1, louder, 0.125, "committed"),
        ("cohort", "p", "f", "3", "a", 1, open_, None, "committed"),
    ]
    with closing(sqlite3.connect(tmp_path / "state.db")) as old:
        for step in (1, 2, 3):
            for statement in _MIGRATIONS[step].split(";"):
                old.execute(statement)
        for number, row in enumerate(rows, 1):
            old.execute("INSERT INTO ledger VALUES(?,?,?,?,?,?,?,?,?,?,?)", (number, f"day {number}", *row))
        old.execute("INSERT INTO legs VALUES('3','a','train','sha','released',1,X'00',NULL,NULL)")
        old.execute("INSERT INTO cohorts VALUES('f','cohort','print',?)", (np.arange(100, dtype=np.uint64).tobytes(),))
        old.execute("PRAGMA user_version=3")
        old.commit()
    store = Store(tmp_path / "state.db", durable=False)
    people = Account("patient", "patients")
    spent = {PrivacyEvent(m, Relation.REPLACE_ONE_SITE): n for m, n in ((0.5, 2), (2.0, 1))}
    assert store.spent(SITE) == store.spent(people) == spent
    assert store.spent(SITE, project="q") == store.spent(people, digest="e") != {}
    assert [(e.run_id, e.attempt, e.state, e.at) for e in store.ledger(SITE)] == [
        ("1", 1, "reserved", "day 1"), ("1", 2, "committed", "day 3"), ("2", 1, "committed", "day 5"),
    ]  # fmt: skip
    assert [set(e.stores) for e in store.ledger(SITE)] == [{"cohort", "genomes"}] * 2 + [{"(no data store)"}]
    assert [(e.run_id, e.event) for e in store.ledger() if e.account is None] == [("3", {"event": "no-claim"})]
    assert [len(store.members_of(found)) for found in store.released_cohorts("cohort")] == [100]
    assert store.numbers_released("3") == 0
    assert store.accounts() == [people, SITE]
    store.lifetime(SITE, 8.0, 1e-5)
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as now:
        assert not now.execute("SELECT 1 FROM sqlite_master WHERE name='ledger'").fetchall()


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
