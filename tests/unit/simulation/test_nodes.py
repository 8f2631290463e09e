"""Virtual nodes: planned from a folder, with the data stores that lie in it."""

import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import FlameError, InputError, VerificationError
from flame_fl.data.offer import FixedOffers
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.simulation.nodes import (
    NodePlan,
    make_sandbox,
    open_data,
    open_gates,
    patients_of,
    plan_nodes,
    worker_count,
)
from flame_fl.simulation.policy import load_policy
from tests.support.gates import make_fab, manifest_from, terms_table

MANIFEST = manifest_from(make_fab())


def store_in(node: Path, name: str = "cohort", patients: int = 12, column: str = "patient_id") -> Path:
    folder = node / name
    folder.mkdir(parents=True)
    pq.write_table(pa.table({column: [f"p{i}" for i in range(patients)]}), folder / "samples.parquet")
    return folder


def opened(plans: tuple[NodePlan, ...], state: Path, closing: ExitStack):
    return open_gates(
        plans,
        {plan.name: FixedOffers({}) for plan in plans},
        load_policy(None, []),
        make_sandbox("in-process", state),
        lambda node: ExactNoise(),
        state=state,
        logs=state / "logs",
        views=state / "views",
        seed=1,
        on_event=lambda event: None,
        closing=closing,
    )


@pytest.mark.parametrize(("count", "names"), [(None, ["DIZ-1", "DIZ-2", "DIZ-3"]), (1, ["DIZ-1"])])
def test_nodes_without_data_are_numbered(count: int | None, names: list[str]) -> None:
    """So many as were asked for, else three."""
    assert plan_nodes(None, count) == tuple(NodePlan(name, None) for name in names)


def test_nodes_with_data_are_the_subfolders_in_counting_order(tmp_path: Path) -> None:
    """DIZ-10 comes after DIZ-2, and files beside the folders are no nodes."""
    for name in ("DIZ-10", "DIZ-2", "DIZ-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "about.txt").touch()
    names = ("DIZ-1", "DIZ-2", "DIZ-10")
    assert plan_nodes(tmp_path, 3) == tuple(NodePlan(name, tmp_path / name) for name in names)


def test_a_data_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """Nor is a file one."""
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(InputError, match="no data folder"):
            plan_nodes(wrong, None)


def test_a_data_folder_without_nodes_is_bad_input(tmp_path: Path) -> None:
    """The mend says what a data folder holds."""
    with pytest.raises(InputError, match="0 node folders") as raised:
        plan_nodes(tmp_path, None)
    assert "one subfolder per virtual node" in raised.value.mend


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_nodes_than_folders_is_bad_input(tmp_path: Path, count: int) -> None:
    """Nothing is left out or made up without a word."""
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"2 node folders; --nodes says {count}"):
        plan_nodes(tmp_path, count)


def test_data_stores_are_the_subfolders_with_their_patients(tmp_path: Path) -> None:
    """Patients are counted in the store that the terms name; another store is offered uncounted."""
    store_in(tmp_path)
    store_in(tmp_path, "images")
    views = open_data(NodePlan("A", tmp_path), MANIFEST, {})
    assert list(views.names()) == ["cohort", "images"]
    assert patients_of(views, MANIFEST.terms) == 12


def test_an_app_without_terms_sees_stores_uncounted(tmp_path: Path) -> None:
    """Nobody has said which column holds a patient."""
    store_in(tmp_path)
    views = open_data(NodePlan("A", tmp_path), manifest_from(make_fab({})), {})
    assert list(views.names()) == ["cohort"]
    assert patients_of(views, None) == 0


def test_a_node_without_data_offers_none() -> None:
    """No folder, no store."""
    assert list(open_data(NodePlan("A", None), MANIFEST, {}).names()) == []


def test_a_store_without_its_table_is_bad_input(tmp_path: Path) -> None:
    """The sentence names the table that the terms name."""
    (tmp_path / "cohort").mkdir()
    with pytest.raises(InputError, match=r"no .*samples\.parquet"):
        open_data(NodePlan("A", tmp_path), MANIFEST, {})


def test_a_table_that_is_no_parquet_is_bad_input(tmp_path: Path) -> None:
    """The sentence names the file, not what is in it."""
    (store_in(tmp_path) / "samples.parquet").write_text("Mustermann;1970")
    with pytest.raises(InputError, match=r"samples\.parquet is not a Parquet file") as raised:
        open_data(NodePlan("A", tmp_path), MANIFEST, {})
    assert "Mustermann" not in str(raised.value)


def test_a_table_without_the_patients_column_is_bad_input(tmp_path: Path) -> None:
    """The sentence names the column."""
    store_in(tmp_path, column="pid")
    with pytest.raises(InputError, match="no column 'patient_id'"):
        open_data(NodePlan("A", tmp_path), MANIFEST, {})


def test_each_node_has_its_own_state_and_place(tmp_path: Path) -> None:
    """State files lie by name; apps find their index, and Flower an id of its own for each."""
    with ExitStack() as closing:
        gates = opened(plan_nodes(None, 2), tmp_path, closing)
        assert [gate.store.path for gate in gates.values()] == [tmp_path / f"DIZ-{i}" / "state.db" for i in (1, 2)]
        assert [gate.node_config["partition-id"] for gate in gates.values()] == [0, 1]
        assert [gate.node_id for gate in gates.values()] == list(gates)
        assert len(set(gates)) == 2


def test_state_files_are_closed_with_the_run(tmp_path: Path) -> None:
    """Nothing holds them afterwards."""
    with ExitStack() as closing:
        store = next(iter(opened(plan_nodes(None, 1), tmp_path, closing).values())).store
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store.legs_of("7")


@pytest.mark.parametrize("how", ["a file in its place", "a folder in its place", "no database"])
def test_a_state_that_cannot_be_used_is_an_error_for_a_person(tmp_path: Path, how: str) -> None:
    """The sentence names the state file; what is there stays as it is."""
    if how == "a file in its place":
        (tmp_path / "DIZ-1").write_text("a file")
    elif how == "a folder in its place":
        (tmp_path / "DIZ-1" / "state.db").mkdir(parents=True)
    else:
        (tmp_path / "DIZ-1").mkdir()
        (tmp_path / "DIZ-1" / "state.db").write_text("no database " * 100)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with ExitStack() as closing, pytest.raises(FlameError, match=r"DIZ-1.state\.db"):
        opened(plan_nodes(None, 1), tmp_path, closing)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_state_of_a_newer_flame_is_not_touched(tmp_path: Path) -> None:
    """An unknown schema stops."""
    (tmp_path / "DIZ-1").mkdir()
    with sqlite3.connect(tmp_path / "DIZ-1" / "state.db") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with ExitStack() as closing, pytest.raises(VerificationError, match="schema 99"):
        opened(plan_nodes(None, 1), tmp_path, closing)


def test_there_are_never_more_workers_than_nodes_or_cores(monkeypatch) -> None:
    """And always one."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert [worker_count(nodes) for nodes in (0, 1, 3, 4, 50)] == [1, 1, 3, 4, 4]


def test_a_store_that_the_terms_do_not_name_is_not_read(tmp_path: Path) -> None:
    """Its table may be anything: only named stores are counted."""
    store_in(tmp_path)
    (store_in(tmp_path, "notes") / "samples.parquet").write_text("no table")
    raw = make_fab(terms_table())
    assert patients_of(open_data(NodePlan("A", tmp_path), manifest_from(raw), {}), manifest_from(raw).terms) == 12
