"""`flame app utility`: one simulation for each epsilon and number of blocks, a table, a plot, a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from flame_fl.cli import simulate
from flame_fl.contract.errors import FlameError
from flame_fl.simulation.settings import Settings
from tests.unit.cli.conftest import Flame

ASK = ("--metric", "metrics.json:error", "--epsilon", 1, "--epsilon", 3, "--blocks", 8, "--out", "swept")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Simulations that were asked for; none is run. Of unit site they fail."""
    found: list[Settings] = []

    def run(settings: Settings, **_: Any) -> Any:
        found.append(settings)
        if settings.wish.privacy == "site":
            raise FlameError("No DIZ answered.")
        assert settings.out is not None
        settings.out.mkdir(parents=True)
        value = 5.0 if settings.wish.epsilon is None else 5.0 + 4.0 / settings.wish.epsilon
        (settings.out / "metrics.json").write_text(json.dumps({"error": value}))

        class Done:
            folder = settings.out

        return Done()

    monkeypatch.setattr(simulate, "run_watched", run)
    return found


def test_shows_a_line_for_each_run(flame: Flame, app: Path, asked: list[Settings]) -> None:
    done = flame("app", "utility", app, *ASK)
    assert done.code == 0, done.err
    for text in ("no noise: 5\n", "patient, ε 1, 8 blocks: 9\n", "patient, ε 3, 8 blocks: 6.33333\n"):
        assert text in done.out


def test_writes_the_points_and_a_plot(flame: Flame, app: Path, asked: list[Settings], tmp_path: Path) -> None:
    flame("app", "utility", app, *ASK)
    said = json.loads((tmp_path / "swept" / "utility.json").read_text())
    assert [(p["epsilon"], p["blocks"], p["value"]) for p in said["points"][:2]] == [(None, None, 5.0), (1.0, 8, 9.0)]
    svg = (tmp_path / "swept" / "utility.svg").read_text()
    assert svg.startswith("<svg")
    for text in ("8 blocks", "no noise", "epsilon per DIZ"):
        assert text in svg


def test_json_is_all_that_is_printed(flame: Flame, app: Path, asked: list[Settings]) -> None:
    done = flame("app", "utility", app, *ASK, "--json")
    assert [point["value"] for point in json.loads(done.out)["points"]] == [5.0, 9.0, 5.0 + 4.0 / 3.0]


def test_a_run_that_fails_is_shown_with_its_reason(flame: Flame, app: Path, asked: list[Settings]) -> None:
    done = flame("app", "utility", app, *ASK, "--site")
    assert done.code == 0
    assert "site, ε 1: No DIZ answered." in done.out


def test_options_reach_the_simulations(flame: Flame, app: Path, asked: list[Settings]) -> None:
    flame(
        "app", "utility", app, *ASK, "--nodes", 4, "--sandbox", "in-process", "--seed", 7, "--clip-norm", 2,
        "--messages", "train", "-c", "rounds=2",
    )  # fmt: skip
    last = asked[-1]
    assert (last.nodes, last.sandbox, last.seed, dict(last.overrides)) == (4, "in-process", 7, {"rounds": 2})
    assert (last.wish.clip_norm, last.wish.messages) == (2.0, ("train",))


def test_a_metric_that_is_not_there_ends_it(flame: Flame, app: Path, asked: list[Settings]) -> None:
    """After one simulation, with what to name instead."""
    done = flame("app", "utility", app, "--metric", "metrics.json:misspelt", "--out", "swept")
    assert (done.code, len(asked)) == (2, 1)
    assert "metrics.json:misspelt" in done.err


def test_no_plot_if_every_simulation_fails(
    flame: Flame, app: Path, asked: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(settings: Settings, **_: Any) -> Any:
        raise FlameError("The data cannot be read.")

    monkeypatch.setattr(simulate, "run_watched", fail)
    done = flame("app", "utility", app, *ASK)
    assert done.code == 2
    assert "The data cannot be read." in done.err
    assert not (tmp_path / "swept").exists()
