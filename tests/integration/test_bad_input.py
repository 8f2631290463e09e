"""Bad input: a sentence that names the thing, an exit code, no traceback, and nothing half-written."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.runs import NODES, TOY, edited, refusals, result

STORE = (
    '\n[tool.flame.data.cohort]\ntable = "samples.parquet"\npatient_id = "patient_id"\ncolumns = ["*"]\n'
    "min_patients = 3\n"
)
Given = tuple[object, ...]


def changed(old: str, new: str) -> Callable[[Path], Given]:
    """The toy with a line of its pyproject.toml replaced."""
    return lambda folder: (edited(TOY, folder, ("pyproject.toml", old, new)),)


def toy(*arguments: object) -> Callable[[Path], Given]:
    """The toy with these arguments."""
    return lambda folder: (TOY, *arguments)


def with_data(folder: Path) -> Path:
    """The toy with a data store in its terms."""
    return edited(TOY, folder / "app", ("pyproject.toml", "\n[tool.flame.messages", STORE + "\n[tool.flame.messages"))


def data_for(folder: Path, patients: int = 5, nodes: int = 2) -> Path:
    for number in range(1, nodes + 1):
        store = folder / "data" / f"DIZ-{number}" / "cohort"
        store.mkdir(parents=True)
        pq.write_table(pa.table({"patient_id": [f"p{i}" for i in range(patients)]}), store / "samples.parquet")
    return folder / "data"


def no_pyproject(folder: Path) -> Given:
    (folder / "app").mkdir()
    return (folder / "app",)


def a_file(folder: Path) -> Given:
    (folder / "file").touch()
    return (folder / "file",)


def unreadable_parquet(folder: Path) -> Given:
    (data_for(folder) / "DIZ-2" / "cohort" / "samples.parquet").write_text("Mustermann;1970")
    return (with_data(folder), "--data", folder / "data")


def no_table(folder: Path) -> Given:
    (data_for(folder) / "DIZ-2" / "cohort" / "samples.parquet").unlink()
    return (with_data(folder), "--data", folder / "data")


def other_column(folder: Path) -> Given:
    data = data_for(folder)
    pq.write_table(pa.table({"pid": [1]}), data / "DIZ-1" / "cohort" / "samples.parquet")
    return (with_data(folder), "--data", data)


def a_link_in_the_data(folder: Path) -> Given:
    data = data_for(folder)
    (data / "DIZ-1" / "cohort" / "link").symlink_to("/etc/passwd")
    return (with_data(folder), "--data", data)


def other_number_of_nodes(folder: Path) -> Given:
    return (with_data(folder), "--data", data_for(folder), "--nodes", 3)


def foreign_state(folder: Path) -> Given:
    (folder / "state" / "DIZ-1").mkdir(parents=True)
    (folder / "state" / "DIZ-1" / "state.db").write_text("no database " * 100)
    return (TOY, "--state", folder / "state")


def foreign_out(folder: Path) -> Given:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").touch()
    return (TOY, "--out", folder / "out")


TABLE: dict[str, tuple[Callable[[Path], Given], int, str]] = {
    "no app folder": (lambda folder: (folder / "nothing",), 2, "There is no folder"),
    "a file as app": (a_file, 2, "There is no folder"),
    "an app without pyproject": (no_pyproject, 2, "it has no pyproject.toml"),
    "a pyproject that is no TOML": (changed("[project]", "[project"), 2, "cannot be bundled"),
    "an app without a name": (changed('name = "toy"', ""), 2, "name"),
    "an app without a clientapp": (changed('clientapp = "toy.client_app:app"', ""), 2, "clientapp"),
    "an app without a serverapp": (changed('serverapp = "toy.server_app:app"', ""), 2, "serverapp"),
    "a missing field": (changed('title = "Toy"', ""), 2, "project.title"),
    "an unknown field": (changed('title = "Toy"', 'title = "Toy"\ntitel = "Toy"'), 2, "project.titel"),
    "an unknown table": (changed("[tool.flame.limits]", "[tool.flame.limit]"), 2, "did you mean limits?"),
    "a field of another type": (changed("per_run = 20", 'per_run = "many"'), 2, "messages.train.per_run"),
    "an unknown dtype": (changed('dtype = "float64"', 'dtype = "object"'), 2, "messages.train.arrays.0"),
    "an unknown message type": (changed("messages.train", "messages.predict"), 2, "predict"),
    "a claim without its mechanism": (changed('ground = "none"', 'ground = "enforced"'), 2, "discrete-gaussian"),
    "a range of no key": (changed("rounds = { min", "round = { min"), 2, "'round'"),
    "an open range": (changed("rounds = { min = 1, max = 20 }", "rounds = { min = 1 }"), 2, "run_config.rounds"),
    "another schema": (changed("schema = 1", "schema = 2"), 2, "schema"),
    "no data folder": (lambda folder: (TOY, "--data", folder / "none"), 2, "There is no data folder"),
    "a data folder without nodes": (lambda folder: (TOY, "--data", folder), 2, "0 node folders"),
    "an unreadable Parquet": (unreadable_parquet, 2, "is not a Parquet file that can be read"),
    "a store without its table": (no_table, 2, "There is no "),
    "a table without the column": (other_column, 2, "no column 'patient_id'"),
    "a link in the data": (a_link_in_the_data, 2, "is a link"),
    "another number of nodes": (other_number_of_nodes, 2, "--nodes says 3"),
    "no nodes": (toy("--nodes", 0), 2, "--nodes"),
    "a negative seed": (toy("--seed", -1), 2, "--seed"),
    "an unknown flag": (toy("--sandboxes", "subprocess"), 2, "--sandboxes"),
    "an unknown sandbox": (toy("--sandbox", "docker"), 2, "docker"),
    "an unknown policy": (toy("--policy", "everything"), 2, "--policy 'everything'"),
    "a run config that is none": (toy("-c", "rounds=one"), 2, "--run-config 'rounds=one'"),
    "an unknown run-config key": (toy("-c", "roundz=1"), 2, "'roundz'"),
    "a denied node that is none": (toy("--deny", "DIZ-9"), 2, "'DIZ-9', which is no node"),
    "an epsilon without a claim": (toy("--epsilon", 1), 2, "--privacy"),
    "a claim without epsilon": (toy("--privacy", "site"), 2, "--epsilon"),
    "a message type to keep that is none": (toy("--privacy", "none", "--messages", "evaluate"), 2, "'evaluate'"),
    "a state that is none": (foreign_state, 5, "state.db"),
    "a folder of somebody's": (foreign_out, 2, "holds no run"),
}


@pytest.mark.parametrize("case", list(TABLE))
def test_bad_input_is_a_sentence_and_leaves_nothing(flame, tmp_path, monkeypatch, case: str) -> None:
    """It names the thing, has its exit code, shows no traceback, and writes no file, neither here nor there."""
    given, code, sentence = TABLE[case]
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    arguments = given(tmp_path / "there")
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    done = flame("simulate", *arguments)
    assert done.code == code
    assert sentence in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.out + done.err
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("override", ["rounds", "rounds=1 pause", "pause rounds=1"])
def test_an_override_without_a_value_is_bad_input(simulate, tmp_path, override: str) -> None:
    """What was asked is done or refused, never passed over."""
    assert simulate(TOY, "-c", override, "--out", tmp_path / "run").code == 2


@pytest.mark.parametrize("case", ["no app folder", "a missing field", "an unknown flag", "a state that is none"])
def test_bad_input_is_one_object_for_a_program(flame, tmp_path, monkeypatch, case: str) -> None:
    """--json gives the sentence and the exit code."""
    given, code, _ = TABLE[case]
    monkeypatch.chdir(tmp_path)
    done = flame("simulate", *given(tmp_path), "--json")
    assert done.json["exit_code"] == done.code == code
    assert done.json["error"]


def test_a_patients_line_is_in_no_error(flame, tmp_path, monkeypatch) -> None:
    """Of a table that cannot be read the file is named, not what is in it."""
    monkeypatch.chdir(tmp_path)
    done = flame("simulate", *unreadable_parquet(tmp_path))
    assert "Mustermann" not in done.out + done.err


def test_debug_shows_where(flame, tmp_path) -> None:
    """The traceback is there for who asks for it, after the command as well."""
    assert "Traceback" in flame("simulate", tmp_path / "nothing", "--debug").err
    assert "Traceback" not in flame("simulate", tmp_path / "nothing").err


@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_a_clientapp_that_does_not_import_is_905_everywhere(simulate, tmp_path, sandbox: str) -> None:
    """Every message of every node; no traceback, and the report is written."""
    app = edited(TOY, tmp_path, ("toy/client_app.py", "import numpy as np\n", "import there_is_no_such_module\n"))
    done = simulate(app, "--sandbox", sandbox, "--out", tmp_path / "run")
    assert done.code == 1
    assert "Traceback" not in done.out + done.err
    assert "there_is_no_such_module" in done.out
    assert refusals(tmp_path / "run") == {node: {905: 3} for node in NODES}


@pytest.mark.parametrize(
    ("old", "new", "code", "sentence"),
    [
        ("import random\n", "import there_is_no_such_module\n", 2, "cannot be imported"),
        ("app = ServerApp()", "app = 3", 2, "cannot be imported"),
        ('    """Average."""\n', "    {}['model']\n", 1, "ended with KeyError: 'model'"),
    ],
    ids=["import", "no ServerApp", "raises"],
)
def test_a_serverapp_that_fails_leaves_a_report_of_it(
    simulate, tmp_path, old: str, new: str, code: int, sentence: str
) -> None:
    """A sentence, an exit code, no traceback; result.json says failed and why."""
    app = edited(TOY, tmp_path, ("toy/server_app.py", old, new))
    done = simulate(app, "--out", tmp_path / "run")
    assert done.code == code
    assert sentence in done.err
    assert "Traceback" not in done.out + done.err
    run = result(tmp_path / "run")
    assert run["status"] == "failed"
    assert sentence in run["reason"]


def test_a_serverapp_that_exits_leaves_a_report_of_it(simulate, tmp_path) -> None:
    """`sys.exit()` in the researcher's code is no success of flame's."""
    app = edited(TOY, tmp_path, ("toy/server_app.py", '    """Average."""\n', "    raise SystemExit(0)\n"))
    assert simulate(app, "--out", tmp_path / "run").code == 1
    assert result(tmp_path / "run")["status"] == "failed"


def test_too_few_patients_are_908_there_and_nobody_is_told_how_few(simulate, tmp_path) -> None:
    """A node below the steward's minimum refuses before the app sees data."""
    app, data = with_data(tmp_path), data_for(tmp_path)
    pq.write_table(pa.table({"patient_id": ["p1", "p2"]}), data / "DIZ-2" / "cohort" / "samples.parquet")
    assert simulate(app, "--data", data, "--out", tmp_path / "run").code == 0
    assert refusals(tmp_path / "run") == {"DIZ-1": {}, "DIZ-2": {908: 4}}


def test_patients_are_counted_not_rows(simulate, tmp_path) -> None:
    """Many rows of few patients are few patients."""
    app, data = with_data(tmp_path), data_for(tmp_path)
    pq.write_table(pa.table({"patient_id": ["p1", "p2"] * 50}), data / "DIZ-2" / "cohort" / "samples.parquet")
    simulate(app, "--data", data, "--out", tmp_path / "run")
    assert [node["patients"] for node in result(tmp_path / "run")["nodes"]] == [5, 2]
