"""Run folders: begun, resumed, never overwritten, never shared, and gone if nothing began."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.simulation.folder import Plan, RunFolder, choose_folder, default_folder

PLAN = Plan(
    run_id=7,
    analysis_digest="d" * 64,
    seed=1,
    sandbox="subprocess",
    policy="first-seen",
    nodes=("DIZ-1", "DIZ-2"),
    deny=("DIZ-2",),
    overrides={"rounds": 3, "rate": 0.5, "word": "a", "flag": True},
    state="/a/state",
    noise_seed=None,
)
HOLDER = """
import sys
from pathlib import Path
from flame_fl.simulation.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def begun(path: Path, plan: Plan = PLAN) -> None:
    """A run that began there and did not finish."""
    folder = RunFolder(path)
    folder.begin(plan)
    folder.keep()
    folder.close()


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


def test_the_default_folder_names_app_analysis_and_seed() -> None:
    """Publisher and most of the digest are left out, for people to type."""
    assert default_folder("someone/an-app", "0123456789abcdef", 5) == Path("flame-runs/an-app-01234567-5")


def test_a_free_name_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing there: the wanted folder."""
    assert choose_folder(tmp_path / "run") == tmp_path / "run"


def test_an_unfinished_run_is_chosen_again(tmp_path: Path) -> None:
    """So that the same command resumes it."""
    begun(tmp_path / "run")
    assert choose_folder(tmp_path / "run") == tmp_path / "run"


def test_a_finished_run_is_never_chosen_again(tmp_path: Path) -> None:
    """The next free number after it is, past every finished one."""
    for name in ("run", "run-2", "run-3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").touch()
    assert choose_folder(tmp_path / "run") == tmp_path / "run-4"


def test_a_run_begins_once(tmp_path: Path) -> None:
    """`begin` gives the plan that holds: the one that was handed in, and ever after that one's run id."""
    folder = RunFolder(tmp_path / "run")
    assert folder.begin(PLAN) == PLAN
    folder.keep()
    folder.close()
    again = RunFolder(tmp_path / "run")
    assert again.begin(replace(PLAN, run_id=8)) == PLAN
    again.close()


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every setting keeps its value and type through the file."""
    begun(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert folder.plan() == PLAN
    folder.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"analysis_digest": "e" * 64}, "the app or its terms"),
        ({"seed": 2}, "--seed"),
        ({"sandbox": "in-process"}, "--sandbox"),
        ({"policy": "stated-terms"}, "--policy"),
        ({"nodes": ("DIZ-1",)}, "--nodes"),
        ({"deny": ()}, "--deny"),
        ({"overrides": {"rounds": 4}}, "--run-config"),
        ({"state": None}, "--state"),
        ({"noise_seed": 3}, "the noise's seed"),
    ],
)
def test_a_run_is_not_resumed_as_another(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """Any setting that differs is named, and the run that was begun stays as it was."""
    begun(tmp_path / "run")
    before = snapshot(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match=said):
        folder.begin(replace(PLAN, **change))
    folder.close()
    assert snapshot(tmp_path / "run") == before


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with anything but a run in it is no run folder, and nothing is added or taken."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no run"):
        RunFolder(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """--out at a file is bad input."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        RunFolder(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"nodes": 3}', "\udcff", "OTHER FIELD"])
def test_a_plan_that_is_none_costs_nothing_of_the_run(tmp_path: Path, text: str) -> None:
    """A damaged plan stops the run, and the state beside it stays for the person to look at."""
    begun(tmp_path / "run")
    (tmp_path / "run" / "nodes").mkdir()
    (tmp_path / "run" / "nodes" / "state.db").write_text("a ledger")
    file = tmp_path / "run" / "run.json"
    text = json.dumps({**json.loads(file.read_text()), "other": 1}) if text == "OTHER FIELD" else text
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = snapshot(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(VerificationError):
        folder.begin(PLAN)
    folder.close()
    assert snapshot(tmp_path / "run") == before


def test_a_plan_that_cannot_be_read_costs_nothing_of_the_run(tmp_path: Path, monkeypatch) -> None:
    """A failing disk or a permission in the way does not make `close` take the ledger away."""
    begun(tmp_path / "run")
    (tmp_path / "run" / "nodes").mkdir()
    (tmp_path / "run" / "nodes" / "state.db").write_text("a ledger")
    before = snapshot(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda *a, **k: (_ for _ in ()).throw(PermissionError(13, "denied")))
        with pytest.raises((OSError, VerificationError, InputError)):
            folder.begin(PLAN)
    folder.close()
    assert snapshot(tmp_path / "run") == before


def test_a_begin_that_was_killed_can_be_begun_again(tmp_path: Path, monkeypatch) -> None:
    """Killed between writing the plan and giving it its name, the same command starts the run."""

    def killed(*_: object) -> None:
        raise SystemExit

    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(SystemExit):
            folder.begin(PLAN)
    folder._lock.close()  # what the system does for a dead process
    again = RunFolder(tmp_path / "run")
    assert again.begin(PLAN) == PLAN
    again.close()


def test_a_second_process_is_told_to_wait(tmp_path: Path) -> None:
    """While one process holds the folder another one is refused; afterwards, killed or not, it may."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another process"):
            RunFolder(tmp_path / "run")
        holder.kill()
    RunFolder(tmp_path / "run").close()


def test_a_refused_second_process_takes_nothing_away(tmp_path: Path) -> None:
    """The folder of the process that holds it is untouched."""
    folder = RunFolder(tmp_path / "run")
    folder.begin(PLAN)
    before = snapshot(tmp_path / "run")
    with pytest.raises(InputError, match="Another process"):
        RunFolder(tmp_path / "run")
    assert snapshot(tmp_path / "run") == before
    folder.close()


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    """Neither the folder nor the lock, the plan and the state that were written into it."""
    folder = RunFolder(tmp_path / "run")
    folder.begin(PLAN)
    (folder.path / "nodes").mkdir()
    (folder.path / "nodes" / "state.db").touch()
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_of_the_users_stays_empty(tmp_path: Path) -> None:
    """A folder that was there before stays; what was written into it goes."""
    (tmp_path / "run").mkdir()
    folder = RunFolder(tmp_path / "run")
    folder.begin(PLAN)
    folder.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_that_began_leaves_everything(tmp_path: Path) -> None:
    """After `keep` nothing is taken away."""
    folder = RunFolder(tmp_path / "run")
    folder.begin(PLAN)
    folder.keep()
    (folder.path / "x.npy").touch()
    folder.close()
    assert {"run.json", "x.npy"} <= {p.name for p in (tmp_path / "run").iterdir()}
