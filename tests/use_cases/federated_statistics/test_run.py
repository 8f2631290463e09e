"""Whole runs on real sets: what they leave behind equals the analysis of the pooled rows."""

import csv
import json
import shutil

import pytest
from federated_statistics.__main__ import main
from federated_statistics.compare import compare
from federated_statistics.errors import InputError
from federated_statistics.settings import ANALYSES, Settings
from flame_strategies.errors import NotEnoughNodes

from flame_fl.report.app_report import AppReport

EXACT = 1e-10

DESCRIPTIVE = [
    ("breast-cancer", "summary", {}, 2, EXACT),
    ("lung", "summary", {}, 2, EXACT),
    ("breast-cancer", "histogram", {}, 1, 0.0),
    ("lung", "histogram", {"bins": 7}, 1, 0.0),
    ("breast-cancer", "crosstab", {}, 1, EXACT),
    ("lung", "crosstab", {}, 1, EXACT),
    ("gbsg2", "crosstab", {}, 1, EXACT),
    ("breast-cancer", "quantiles", {}, 7, 0.0),
    ("lung", "quantiles", {"probabilities": "0, 0.1, 0.5, 1"}, 3, 0.0),
    ("diabetes", "quantiles", {"quantiles": "linear"}, 7, 0.0),
    ("breast-cancer", "correlation", {}, 2, EXACT),
    ("lung", "correlation", {"rows": "pairwise"}, 2, EXACT),
    ("lung", "correlation", {"rows": "complete"}, 2, EXACT),
    ("diabetes", "pca", {}, 2, EXACT),
    ("diabetes", "pca", {"scaled": False, "components": 3}, 2, EXACT),
]
MODELS = [
    ("diabetes", "linear", {}, 2, 1e-8),
    ("diabetes", "linear", {"robust": True}, 3, 1e-8),
    ("breast-cancer", "logistic", {}, 8, 1e-8),
    ("lung", "cox", {}, 6, 1e-8),
    ("gbsg2", "cox", {"strata_by_site": True}, 8, 1e-8),
    ("diabetes", "elastic-net", {}, 5, 1e-8),
]


@pytest.mark.parametrize(("name", "analysis", "more", "exchanges", "tolerance"), DESCRIPTIVE + MODELS)
def test_every_number_of_a_run_equals_the_pooled_one(run, prepared, name, analysis, more, exchanges, tolerance):
    folder, grid = run(name, analysis, **more)

    differences = compare(folder, prepared(name))

    found = json.loads((folder / "statistics.json").read_text())
    assert found["exchanges"] <= exchanges
    assert len(grid.replies) == 5 * found["exchanges"]
    assert len(differences) >= 9
    # of the largest number of its group: a correlation of 1e-4 has no more digits than its rounding leaves
    assert max(d.of_largest for d in differences) <= tolerance
    assert sum(d.federated is not None for d in differences) > len(differences) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "analysis", "more"),
    [("randhie", "poisson", {}), ("gbsg2", "cox", {}), ("breast-cancer", "elastic-net", {})],
)
def test_larger_models_equal_the_pooled_ones(run, prepared, name, analysis, more):
    folder, _ = run(name, analysis, **more)

    assert max(d.of_largest for d in compare(folder, prepared(name))) <= 1e-8


def test_quantiles_on_a_grid_lie_within_a_bin_of_the_pooled_ones(run, prepared):
    folder, grid = run("breast-cancer", "quantiles", quantiles="grid", bins=100)

    found = json.loads((folder / "statistics.json").read_text())
    settings = Settings.from_json(found["settings"])
    assert len(grid.replies) == 5
    for d in compare(folder, prepared("breast-cancer")):
        low, high = settings.ranges[d.label]
        assert abs(d.federated - d.pooled) <= (0 if d.group == "count" else (high - low) / 100)


def test_every_analysis_is_run_above(run):
    """A new one needs a row."""
    assert {row[1] for row in DESCRIPTIVE + MODELS} | {"poisson"} == set(ANALYSES)


@pytest.mark.parametrize(
    ("name", "analysis", "figures"),
    [
        ("lung", "summary", 0),
        ("lung", "histogram", 1),
        ("diabetes", "pca", 1),
        ("diabetes", "correlation", 1),
        ("diabetes", "linear", 1),
        ("diabetes", "elastic-net", 1),
    ],
)
def test_the_report_is_one_that_a_page_is_made_of(run, prepared, name, analysis, figures):
    folder, _ = run(name, analysis)
    compare(folder, prepared(name))
    compare(folder, prepared(name))  # a second time replaces what the first one added

    report = AppReport.model_validate_json((folder / "report.json").read_text())
    assert len(report.figures) == figures
    assert all((folder / figure.file).stat().st_size > 1000 for figure in report.figures)
    assert [line.label for line in report.headline] == ["exchanges", "Largest difference to the pooled rows"]
    assert len([t for t in report.tables if t.title.startswith("Federated and pooled")]) == 1


def test_the_files_say_the_same(run):
    folder, _ = run("lung", "summary")

    numbers = json.loads((folder / "statistics.json").read_text())["numbers"]
    with (folder / "numbers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["group"], r["label"]): float(r["value"]) for r in rows} == {
        (group, label): value for group, of in numbers.items() for label, value in of.items()
    }


def test_nothing_as_long_as_a_diz_has_rows_leaves(run, prepared):
    _, grid = run("lung", "quantiles")
    _, other = run("lung", "correlation", rows="pairwise")

    rows = {facts["rows"] for facts in json.loads((prepared("lung") / "prepared.json").read_text())["nodes"].values()}
    shapes = {
        n
        for reply in grid.replies + other.replies
        for record in reply.content.array_records.values()
        for array in record.values()
        for n in array.numpy().shape
    }
    assert not shapes & rows


def test_fewer_diz_than_demanded_end_the_run(run):
    with pytest.raises(NotEnoughNodes):
        run("lung", "summary", min_nodes=6, timeout=0.1)


def test_the_command_line_prints_both_numbers_and_the_largest_difference(run, prepared, capsys):
    folder, _ = run("lung", "summary")

    assert main(["compare", "--run", str(folder), "--data", str(prepared("lung"))]) == 0

    said = capsys.readouterr().out.splitlines()
    age = next(line for line in said if line.split()[:2] == ["mean", "age"])
    assert age.split()[2:4] == ["62.4473684210526", "62.4473684210526"]
    assert "Largest relative difference" in said[-2]


def test_a_difference_is_seen(run, prepared):
    """The comparison itself can fail."""
    folder, _ = run("lung", "summary")
    file = folder / "statistics.json"
    found = json.loads(file.read_text())
    found["numbers"]["mean"]["age"] *= 1 + 1e-6
    found["numbers"]["sd"]["time"] = None
    file.write_text(json.dumps(found))

    differences = {(d.group, d.label): d for d in compare(folder, prepared("lung"))}

    assert differences["mean", "age"].relative == pytest.approx(1e-6)
    assert differences["sd", "time"].relative == 1.0
    assert differences["mean", "time"].relative < EXACT


def test_compare_refuses_what_does_not_belong_together(run, prepared, tmp_path, capsys):
    folder, _ = run("lung", "summary")

    with pytest.raises(InputError, match="about lung"):
        compare(folder, prepared("diabetes"))
    with pytest.raises(InputError, match="not written by prepare"):
        compare(folder, tmp_path)
    with pytest.raises(InputError, match="finished run"):
        compare(tmp_path, prepared("lung"))
    shutil.copy(folder / "statistics.json", tmp_path)
    (tmp_path / "report.json").write_text("{")
    assert main(["compare", "--run", str(tmp_path), "--data", str(prepared("lung"))]) == 2
    assert "repeat the run" in capsys.readouterr().err
