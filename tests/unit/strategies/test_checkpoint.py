"""Checkpoints: written whole or not at all, found again, and only by the fit that they are of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flame_strategies.checkpoint import (
    VARIABLE,
    Checkpoint,
    next_fit_folder,
    plan_digest,
    read_checkpoint,
    write_checkpoint,
)
from flame_strategies.errors import CheckpointError
from numpy.testing import assert_array_equal

MODEL = {
    "z": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not in the order of its memory
    "a": np.array(3),
    "empty": np.zeros((0, 4)),
    "big": np.array([1.5, -2.0], dtype=">f8"),
    "flag": np.array([True, False]),
    "half": np.array([0.1], dtype=np.float16),
}


def checkpoint(number: int, **fields: object) -> Checkpoint:
    """One of the plan "p"."""
    return Checkpoint(**{"plan": "p", "server_round": number, "model": {"w": np.full(2, number)}, **fields})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every type and shape, in the order given, with the strategy's arrays, the best model and the facts."""
    state = {"v/b": np.ones(2), "m/a": np.zeros(1)}
    given = checkpoint(3, model=MODEL, state=state, best={"w": np.array(1.0)}, facts={"history": [1, "x"]})
    write_checkpoint(tmp_path, given)
    found = read_checkpoint(tmp_path, "p")
    assert found is not None
    assert (found.server_round, found.facts) == (3, {"history": [1, "x"]})
    for before, after in ((MODEL, found.model), (state, found.state), (given.best, found.best)):
        assert list(before) == list(after)
        for name, array in before.items():
            assert after[name].shape == array.shape
            assert after[name].dtype == array.dtype.newbyteorder("=")
            assert_array_equal(after[name], array)


def test_without_a_complete_round_there_is_none(tmp_path: Path) -> None:
    """Nor is one made up from a model that nothing describes."""
    assert read_checkpoint(tmp_path, "p") is None
    slot = write_checkpoint(tmp_path, checkpoint(1))
    (slot / "state.json").unlink()
    assert read_checkpoint(tmp_path, "p") is None


def test_a_best_model_without_arrays_is_another_thing_than_none(tmp_path: Path) -> None:
    """Nothing is said by leaving something out."""
    write_checkpoint(tmp_path, checkpoint(1, best={}))
    write_checkpoint(tmp_path / "other", checkpoint(1))
    assert read_checkpoint(tmp_path, "p").best == {}
    assert read_checkpoint(tmp_path / "other", "p").best is None


def test_the_newest_of_two_is_taken(tmp_path: Path) -> None:
    """The slots take turns: there are never more than two rounds on disk."""
    for number in range(1, 6):
        write_checkpoint(tmp_path, checkpoint(number))
        assert read_checkpoint(tmp_path, "p").server_round == number
    assert len(list(tmp_path.rglob("*"))) == 2 + 6


@pytest.mark.parametrize("files", [1, 2])
def test_killed_while_it_writes_it_has_the_round_before(tmp_path: Path, files: int) -> None:
    """Some files of round 3 have replaced those of round 1, the description has not."""
    for number in (1, 2):
        write_checkpoint(tmp_path / "kept", checkpoint(number, state={"s": np.full(1, number)}))
    write_checkpoint(tmp_path / "next", checkpoint(3, state={"s": np.full(1, 3)}))
    for name in ("model.safetensors", "state.safetensors")[:files]:
        shutil.copy(tmp_path / "next" / "odd" / name, tmp_path / "kept" / "odd" / name)
    found = read_checkpoint(tmp_path / "kept", "p")
    assert (found.server_round, found.model["w"].tolist(), found.state["s"].tolist()) == (2, [2, 2], [2])


def test_damage_is_said(tmp_path: Path) -> None:
    """A fit that has checkpoints and can read none does not quietly begin anew: it would spend budgets twice."""
    slot = write_checkpoint(tmp_path, checkpoint(1))
    (slot / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path, "p")


def test_another_fit_and_another_version_are_said(tmp_path: Path) -> None:
    """With what to do."""
    slot = write_checkpoint(tmp_path, checkpoint(1))
    with pytest.raises(CheckpointError, match=r"another fit.*start the run again"):
        read_checkpoint(tmp_path, "q")
    said = json.loads((slot / "state.json").read_text())
    (slot / "state.json").write_text(json.dumps({**said, "schema": 99}))
    with pytest.raises(CheckpointError, match="schema 99"):
        read_checkpoint(tmp_path, "p")


@pytest.mark.parametrize(
    "fields",
    [{"facts": {"x": float("nan")}}, {"facts": {"x": object()}}, {"state": {"s": np.array(["text"])}}],
    ids=["nan", "object", "text"],
)
def test_what_cannot_be_held_is_said(tmp_path: Path, fields: dict) -> None:
    """And the round before stays."""
    write_checkpoint(tmp_path, checkpoint(1))
    with pytest.raises(CheckpointError, match="No checkpoint of round 2"):
        write_checkpoint(tmp_path, checkpoint(2, **fields))
    assert read_checkpoint(tmp_path, "p").server_round == 1


def test_a_digest_is_of_the_plan() -> None:
    """Strategy, rounds, names, types, shapes and configuration; not the values that the model starts with."""
    plan = ("S", 3, {"w": np.zeros(2)}, {"train": {"lr": 0.1}})
    same = plan_digest(*plan)
    assert same == plan_digest("S", 3, {"w": np.ones(2)}, {"train": {"lr": 0.1}})
    others = [
        ("T", *plan[1:]),
        ("S", 4, *plan[2:]),
        ("S", 3, {"v": np.zeros(2)}, plan[3]),
        ("S", 3, {"w": np.zeros(3)}, plan[3]),
        ("S", 3, {"w": np.zeros(2, np.float32)}, plan[3]),
        ("S", 3, plan[2], {"train": {"lr": 0.2}}),
        ("S", 3, plan[2], {"evaluate": {"lr": 0.1}}),
    ]
    digests = {plan_digest(*other) for other in others}
    assert len(digests) == len(others)
    assert same not in digests


def test_each_fit_of_a_process_has_a_folder(tmp_path: Path, monkeypatch) -> None:
    """In the order of the calls, which a process that begins anew repeats; none without the variable."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert next_fit_folder() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a"))
    assert [next_fit_folder(), next_fit_folder()] == [tmp_path / "a" / "1", tmp_path / "a" / "2"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "b"))
    assert next_fit_folder() == tmp_path / "b" / "1"
