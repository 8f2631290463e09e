"""Utility over epsilon and blocks: which runs are planned, and which number is read from each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.simulation.derive import PrivacyWish
from flame_fl.simulation.settings import Outcome, Settings
from flame_fl.simulation.utility import Point, plan, read_metric, sweep

ROUNDS = [{"metrics": {"loss": 3.0}}, {"metrics": {"loss": 2.0, "mae": 7.5}}, {"metrics": {"loss": 1.5}}]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "result.json").write_text(json.dumps({"run": {"rounds": ROUNDS}}))
    story = {"headline": [{"value": "4.25 years"}, {"value": "many"}], "large": 1e999, "flag": True}
    (tmp_path / "report.json").write_text(json.dumps(story))
    return tmp_path


class TestPlan:
    def test_begins_without_noise(self) -> None:
        """What everything else is compared with."""
        assert plan([1.0], [8], site=False)[0] == PrivacyWish("none")

    def test_holds_every_combination_once(self) -> None:
        wishes = plan([1.0, 3.0], [8, 16], site=False)[1:]
        assert [(w.privacy, w.epsilon, w.blocks) for w in wishes] == [
            ("patient", 1.0, 8), ("patient", 3.0, 8), ("patient", 1.0, 16), ("patient", 3.0, 16),
        ]  # fmt: skip

    def test_unit_site_comes_if_wished(self) -> None:
        wishes = plan([1.0, 3.0], [8], site=True)
        assert [(w.privacy, w.epsilon, w.blocks) for w in wishes[3:]] == [("site", 1.0, None), ("site", 3.0, None)]


class TestMetric:
    def test_a_name_alone_is_the_last_round_that_has_it(self, run_folder: Path) -> None:
        assert (read_metric(run_folder, "loss"), read_metric(run_folder, "mae")) == (1.5, 7.5)

    def test_a_file_and_keys(self, run_folder: Path) -> None:
        """List places are keys too, and a unit after the number is left out."""
        assert read_metric(run_folder, "report.json:headline.0.value") == 4.25

    @pytest.mark.parametrize(
        "metric",
        [
            "accuracy",
            "nothing.json:x",
            "report.json:headline.7.value",
            "report.json:headline.1.value",
            "report.json:headline.first",
            "report.json:headline",
            "report.json:flag",
            "report.json:large",
            "",
        ],
    )
    def test_what_is_no_number_is_named(self, run_folder: Path, metric: str) -> None:
        """No such key, no file, a word, a truth, a list, infinity."""
        with pytest.raises(InputError) as raised:
            read_metric(run_folder, metric)
        assert repr(metric) in raised.value.message


class TestSweep:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[[Settings], Outcome]:
        """A simulation that writes which one it was; those of 4 blocks fail, those of 5 have no number."""

        def simulate(settings: Settings) -> Any:
            assert settings.out is not None
            if settings.wish.blocks == 4:
                raise FlameError("The run failed.")
            settings.out.mkdir(parents=True)
            number = {} if settings.wish.blocks == 5 else {"error": (settings.wish.epsilon or 0.0) + 10}
            (settings.out / "metrics.json").write_text(json.dumps(number))
            asked.append(settings)

            class Done:
                folder = settings.out

            return Done()

        asked: list[Settings] = []
        simulate.asked = asked  # type: ignore[attr-defined]
        return simulate

    def points(self, run: Callable[[Settings], Outcome], tmp_path: Path, *blocks: int) -> list[Point]:
        settings = Settings(Path("app"), out=tmp_path / "out", wish=PrivacyWish(clip_norm=2.0, messages=("train",)))
        return sweep(settings, plan([1.0, 3.0], blocks, site=True), "metrics.json:error", run)

    def test_gives_a_point_for_each_wish(self, run, tmp_path: Path) -> None:
        found = [(p.privacy, p.epsilon, p.blocks, p.value) for p in self.points(run, tmp_path, 8)]
        assert found == [
            ("none", None, None, 10.0), ("patient", 1.0, 8, 11.0), ("patient", 3.0, 8, 13.0),
            ("site", 1.0, None, 11.0), ("site", 3.0, None, 13.0),
        ]  # fmt: skip

    def test_every_run_has_a_folder_of_its_own(self, run, tmp_path: Path) -> None:
        folders = [point.folder for point in self.points(run, tmp_path, 8, 16)]
        assert len(set(folders)) == len(folders) == 7

    def test_a_run_that_fails_is_a_point_without_a_value(self, run, tmp_path: Path) -> None:
        """And the others are still run."""
        found = self.points(run, tmp_path, 4, 5)
        assert [(p.blocks, p.value is None) for p in found[1:5]] == [(4, True), (4, True), (5, True), (5, True)]
        assert found[1].failed == "The run failed."
        assert "metrics.json:error" in found[3].failed
        assert found[-1].value == 13.0

    def test_clip_norm_and_messages_are_kept(self, run, tmp_path: Path) -> None:
        """A wish without noise has no clip norm."""
        self.points(run, tmp_path, 8)
        assert {s.wish.messages for s in run.asked} == {("train",)}
        assert [s.wish.clip_norm for s in run.asked] == [None, 2.0, 2.0, 2.0, 2.0]

    def test_stops_if_the_first_run_has_no_such_number(self, run, tmp_path: Path) -> None:
        """A misspelt metric costs one simulation, not all of them."""
        with pytest.raises(InputError):
            sweep(Settings(Path("app"), out=tmp_path), plan([1.0], [8], site=False), "metrics.json:misspelt", run)
        assert len(run.asked) == 1
