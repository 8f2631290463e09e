"""The membership-inference report: reading a table of scores, a run's claim, and what is written of the two."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import InputError
from flame_fl.privacy.risk import bound_risk
from flame_fl.simulation.membership import PLOT, REPORT, TEXT, claim_of, membership, read_scores


def table(folder: Path, leak: float = 0.0, name: str = "scores.csv", size: int = 400) -> Path:
    """Half members; being one adds `leak` standard deviations."""
    rng = np.random.default_rng(1)
    member = np.arange(size) % 2
    columns = {"member": member, "site": ["DIZ-1"] * size, "loss": rng.normal(0, 1, size) + leak * member}
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def run(folder: Path, *nodes: dict[str, Any]) -> Path:
    (folder / "result.json").write_text(json.dumps({"run": {"nodes": nodes}}))
    return folder


def site(epsilon: float | None, **more: Any) -> dict[str, Any]:
    return {"messages": 3, "epsilon_spent": epsilon, "delta": 1e-5, **more}


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_a_table_is_read_by_its_numbers(tmp_path: Path, name: str) -> None:
    scores = read_scores(table(tmp_path, name=name))
    assert list(scores.attacks) == ["loss"]
    members, held_out = scores.attacks["loss"]
    assert (len(members), len(held_out)) == (200, 200)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("loss\n1\n2\n", "who was a member"),
        ("member,loss\n1,1\n2,3\n", "who was a member"),
        ("member,loss\n1,1\n,3\n", "who was a member"),
        ("member\n1\n0\n", "0 columns"),
        ("member,loss\n1,\n0,3\n1,2\n0,2\n", "missing"),
        ("member,loss\n1,1\n1,2\n0,1\n", "fewer than 2"),
        ("", "cannot be read"),
        ("member,loss\n1,2,3\n", "cannot be read"),
    ],
)
def test_what_is_no_table_of_scores_is_told_with_a_mend(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as err:
        read_scores(path)
    assert err.value.mend
    with pytest.raises(InputError, match="cannot be read"):
        read_scores(tmp_path / "nowhere.parquet")


class TestClaim:
    def test_the_weakest_of_the_sites_counts(self, tmp_path: Path) -> None:
        claim = claim_of(run(tmp_path, site(1.0), site(3.0), {"messages": 0}))
        assert claim is not None
        assert (claim.epsilon, claim.risk) == (3.0, bound_risk(3.0, 1e-5))

    def test_an_account_of_patients_is_what_counts(self, tmp_path: Path) -> None:
        spent = {"unit": "patient", "epsilon_spent": 2.0, "delta": 1e-5, "advantage": 0.4, "tpr": 0.05}
        other = spent | {"unit": "site", "epsilon_spent": 9.0, "tpr": 0.9}
        claim = claim_of(run(tmp_path, site(9.0, accounts=[other, spent])))
        assert claim is not None
        assert (claim.epsilon, claim.risk.tpr, claim.risk.advantage) == (2.0, 0.05, 0.4)

    def test_one_site_without_a_claim_is_no_claim(self, tmp_path: Path) -> None:
        assert claim_of(run(tmp_path, site(1.0), site(None))) is None
        assert claim_of(run(tmp_path)) is None

    @pytest.mark.parametrize("text", ["", "[]", '{"run": 1}', '{"run": {"nodes": [{"messages": 1, "accounts": [1]}]}}'])
    def test_what_is_no_run_is_told(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(InputError, match="finished run"):
            claim_of(tmp_path)


class TestReport:
    def test_three_files_and_the_text(self, tmp_path: Path) -> None:
        text = membership(table(tmp_path), None, tmp_path / "out")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {REPORT, TEXT, PLOT}
        assert (tmp_path / "out" / TEXT).read_text() == text
        said = json.loads((tmp_path / "out" / REPORT).read_text())
        assert said["claim"] is None
        assert 0.4 < said["attacks"]["loss"]["auroc"] < 0.6
        assert "No bound is claimed" in text
        plot = (tmp_path / "out" / PLOT).read_text()
        assert plot.startswith("<svg")
        assert "loss" in plot
        assert "the claim" not in plot

    def test_beside_a_claim_the_bound_is_drawn_and_kept(self, tmp_path: Path) -> None:
        text = membership(table(tmp_path, 0.5), run(tmp_path, site(3.0)), None)
        assert "epsilon 3 at delta 1e-05" in text
        assert "ALARM" not in text
        assert "bound" in (tmp_path / PLOT).read_text()

    def test_more_than_the_claim_allows_is_an_alarm(self, tmp_path: Path) -> None:
        text = membership(table(tmp_path, 6.0), run(tmp_path, site(0.5)), None)
        assert "ALARM: loss" in text
        assert json.loads((tmp_path / REPORT).read_text())["exceeded"] == ["loss"]

    def test_chance_is_no_alarm(self, tmp_path: Path) -> None:
        """What is held against the bound is the lower end of an interval."""
        assert "ALARM" not in membership(table(tmp_path, 0.0), run(tmp_path, site(0.01)), None)

    def test_the_same_table_is_the_same_report(self, tmp_path: Path) -> None:
        for folder in "ab":
            membership(table(tmp_path), None, tmp_path / folder)
        for name in (REPORT, TEXT, PLOT):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_where_it_cannot_be_written_it_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(InputError, match="cannot be written"):
            membership(table(tmp_path), None, tmp_path / "out")
