"""How far a run of many fits is."""

from multimodal_imaging import fusion_run
from multimodal_imaging.steps import Steps

from tests.use_cases.multimodal_imaging.fusion_sites import Memory, settings, sites


class Watched:
    """A grid that keeps what it is told."""

    def __init__(self):
        self.said = []

    def flame_progress(self, said):
        self.said.append(said)


def test_every_fit_is_told_of_and_the_last_is_the_last():
    about, found, grid = settings(validation="patients", penalties="0.1"), sites(1), Watched()
    fusion_run.run_fusion(Memory(found, about), about, [1, 2, 3, 4, 5], grid=grid)
    all_of_them = 1 + len(about.modalities) + 1 + about.folds
    assert [said["round"] for said in grid.said] == list(range(1, all_of_them + 1))
    assert {said["rounds"] for said in grid.said} == {all_of_them}
    assert grid.said[0]["seconds_left"] > 0
    assert grid.said[-1]["seconds_left"] == 0


def test_the_log_says_how_long_it_takes_and_nothing_where_nobody_watches(caplog):
    with caplog.at_level("INFO", logger="flwr"):
        for grid in (Watched(), None):
            steps = Steps(grid)
            steps.expect(2)
            steps.done("all modalities")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("all modalities: Fit 1 of 2 took ")
