"""The same seed gives the same bits: twice, and in every kind of sandbox."""

import json

import pytest

from tests.integration.runs import GIVE_UP_SECONDS, TORCH_TOY, TOY, bits


@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_the_same_seed_gives_the_same_bits(simulate, tmp_path, sandbox: str) -> None:
    """Nodes and server draw random numbers; who was quicker, and when, changes none of them."""
    for name in ("a", "b"):
        assert simulate(TOY, "--seed", 5, "--sandbox", sandbox, "--out", tmp_path / name).code == 0
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


def test_every_sandbox_gives_the_same_bits(simulate, tmp_path) -> None:
    """A simulation in one process computes what one in many does."""
    for sandbox in ("in-process", "subprocess"):
        assert simulate(TOY, "--seed", 5, "--sandbox", sandbox, "--out", tmp_path / sandbox).code == 0
    assert bits(tmp_path / "in-process") == bits(tmp_path / "subprocess")


def test_another_seed_gives_other_bits(simulate, tmp_path) -> None:
    """The seed reaches the apps."""
    for seed in (5, 6):
        simulate(TOY, "--seed", seed, "--out", tmp_path / str(seed))
    assert bits(tmp_path / "5") != bits(tmp_path / "6")


@pytest.mark.slow
def test_torch_gives_the_same_bits(simulate, tmp_path) -> None:
    """Dropout, a random start, an optimiser and sampled nodes repeat with the seed, in both sandboxes."""
    for name, sandbox in (("a", "in-process"), ("b", "in-process"), ("c", "subprocess"), ("d", "subprocess")):
        assert simulate(TORCH_TOY, "--seed", 5, "--sandbox", sandbox, "--out", tmp_path / name).code == 0
    assert len({bits(tmp_path / name) for name in "abcd"}) == 1


def test_another_seed_changes_torch_too(simulate, tmp_path) -> None:
    """Torch's own random state is seeded."""
    for seed in (5, 6):
        simulate(TORCH_TOY, "--seed", seed, "-c", "rounds=1", "--out", tmp_path / str(seed))
    assert bits(tmp_path / "5") != bits(tmp_path / "6")


def test_a_finished_run_is_kept_and_the_next_one_numbered(simulate, tmp_path) -> None:
    """The same command again overwrites nothing, and computes the same."""
    for _ in range(2):
        assert simulate(TOY, "--out", tmp_path / "run").code == 0
    assert bits(tmp_path / "run") == bits(tmp_path / "run-2")


def test_without_out_the_folder_is_named_after_app_analysis_and_seed(simulate, tmp_path, monkeypatch) -> None:
    """Below ./flame-runs."""
    monkeypatch.chdir(tmp_path)
    done = simulate(TOY, "--seed", 5, "--json")
    name = f"toy-{done.json['analysis_digest'][:8]}-5"
    assert done.json["folder"] == str(tmp_path / "flame-runs" / name)
    assert [p.name for p in (tmp_path / "flame-runs").iterdir()] == [name]


@pytest.mark.slow
@pytest.mark.parametrize("sandbox", ["in-process", "subprocess"])
def test_json_is_one_object_whatever_apps_print(start, tmp_path, sandbox: str) -> None:
    """The toy's server, its children and its ClientApps print; standard output stays a program's."""
    process = start("simulate", TOY, "--sandbox", sandbox, "--json", "--out", tmp_path / "run")
    out, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert json.loads(out)["status"] == "finished"
    assert "the server prints" in err
