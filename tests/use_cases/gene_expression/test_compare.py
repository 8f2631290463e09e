"""`compare`: R's limma on the pooled samples, and what a meta-analysis would have given."""

import json
import shutil

import pytest
from gene_expression.__main__ import main
from gene_expression.compare import compare, read_results
from gene_expression.errors import InputError

from flame_fl.report.app_report import AppReport
from tests.use_cases.gene_expression.conftest import need_r

SETS = [
    ("golub", {}, 1e-11, 1e-10),
    ("miniacc", {}, 1e-11, 1e-10),
    ("synthetic-microarray", {"contrasts": "group[case]; age"}, 1e-11, 1e-10),
    ("synthetic-microarray", {"method": "limma-trend", "batch": "none"}, 1e-11, 1e-10),
    ("synthetic-rnaseq", {}, 1e-9, 1e-9),
    ("synthetic-rnaseq", {"scaling": "upper-quartile", "method": "limma-trend"}, 1e-11, 1e-9),
    ("bladderbatch", {}, 1e-11, 1e-10),
]


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(("name", "more", "fold", "p"), SETS)
def test_every_test_equals_that_of_limma_on_the_pooled_samples(run, prepared, name, more, fold, p):
    need_r("limma", "edgeR")
    folder, _ = run(name, "differential", **more)

    summary = compare(folder, prepared(name))

    assert summary["program"] == "R limma"
    for of in summary["contrasts"].values():
        assert of["largest_difference"]["logFC"] <= fold
        assert of["largest_difference"]["log10.P"] <= p
        assert of["largest_difference"]["adj.P.Val"] <= p


@pytest.mark.peer
@pytest.mark.slow
def test_a_meta_analysis_of_uneven_diz_misses_what_sums_do_not(run, prepared):
    need_r("limma")
    folder, _ = run("synthetic-microarray", "differential")

    of = compare(folder, prepared("synthetic-microarray"))["contrasts"]["group[case]"]

    assert of["meta_analysis_sites"] == 5
    assert min(of["meta_analysis"].values()) > 1
    assert of["largest_difference"]["log10.P"] <= 1e-9


@pytest.fixture
def without_r(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)


def test_without_r_fold_changes_are_compared_with_least_squares(run, prepared, without_r, capsys):
    folder, _ = run("synthetic-microarray", "differential")

    assert main(["compare", "--run", str(folder), "--data", str(prepared("synthetic-microarray"))]) == 0

    assert "least squares" in capsys.readouterr().out
    summary = json.loads((folder / "compare.json").read_text())
    differences = summary["contrasts"]["group[case]"]["largest_difference"]
    assert set(differences) == {"logFC", "AveExpr"}
    assert max(differences.values()) <= 1e-11
    compare(folder, prepared("synthetic-microarray"))  # a second time replaces what the first one added
    report = AppReport.model_validate_json((folder / "report.json").read_text())
    added = [table for table in report.tables if "outside the gate, simulation only" in table.title]
    assert len(added) == 1
    assert sum("pooled samples" in line.label for line in report.headline) == 1
    assert "synthetic" in report.headline[-1].note


def test_a_difference_is_seen(run, prepared, without_r):
    """The comparison itself can fail."""
    folder, _ = run("synthetic-microarray", "differential")
    table = read_results(folder)["group[case]"].reset_index()
    table.loc[3, "logFC"] += 1e-3
    table.insert(0, "contrast", table.pop("contrast"))
    table.to_parquet(folder / "results.parquet", index=False)

    summary = compare(folder, prepared("synthetic-microarray"))

    assert summary["contrasts"]["group[case]"]["largest_difference"]["logFC"] == pytest.approx(1e-3, rel=1e-6)


def test_compare_refuses_what_does_not_belong_together(run, prepared, tmp_path, without_r, capsys):
    folder, _ = run("synthetic-microarray", "differential")

    with pytest.raises(InputError, match="about synthetic-microarray"):
        compare(folder, prepared("synthetic-rnaseq"))
    with pytest.raises(InputError, match="not written by prepare"):
        compare(folder, tmp_path)
    with pytest.raises(InputError, match="finished run"):
        compare(tmp_path, prepared("synthetic-microarray"))
    for name in ("analysis.json", "results.parquet"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "report.json").write_text("{")
    arguments = ["compare", "--run", str(tmp_path), "--data", str(prepared("synthetic-microarray"))]
    assert main(arguments) == 2
    assert "repeat the run" in capsys.readouterr().err
    found = json.loads((tmp_path / "analysis.json").read_text())
    found["settings"]["analysis"] = "mlp"
    (tmp_path / "analysis.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="differential analyses"):
        compare(tmp_path, prepared("synthetic-microarray"))
