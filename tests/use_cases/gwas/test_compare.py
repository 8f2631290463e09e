"""`compare`: pooled least squares, statsmodels and PLINK 2 beside runs over five DIZ; and the other desk commands."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flame_strategies.output import load_model
from gwas import oracles
from gwas.__main__ import main
from gwas.compare import compare
from gwas.errors import InputError
from gwas.plot_command import plot
from gwas.prepare import STORE
from gwas.results import Associations
from gwas.score_command import apply
from gwas.store import load_site

from flame_fl.report.app_report import AppReport
from tests.use_cases.gwas.conftest import need_program
from tests.use_cases.gwas.scans import whole

SCAN = {"min_carriers": 1, "pcs": 0}
LOGISTIC = {**SCAN, "missing": "exclude", "maf": 0.4}  # common variants alone: a logistic scan takes its time


@pytest.fixture
def copy(tmp_path):
    """A run's folder that may be changed."""

    def of(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / f"run-{len(list(tmp_path.iterdir()))}"))

    return of


@pytest.fixture
def without_plink(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)


@pytest.mark.parametrize("missing", ["impute", "exclude"])
def test_a_linear_run_is_least_squares_on_the_pooled_samples(run, small, copy, without_plink, missing):
    more = {} if missing == "impute" else {"missing": missing}
    folder = copy(run(small, "linear", **SCAN, **more)[0])

    summary = compare(folder, small, most=400)

    gaps = summary["largest_difference"][oracles.NUMPY]
    assert summary["variants"] == 400
    assert max(gaps.values()) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("carriers", [1, 25])
def test_with_components_they_are_those_of_the_pooled_genotypes(run, small, copy, without_plink, carriers):
    """With 25, a DIZ goes without the common variants that fewer of its samples carry."""
    folder = copy(run(small, "linear", min_carriers=carriers, pcs=2, maf=0.3, pca_maf=0.35)[0])

    summary = compare(folder, small, most=200)

    assert summary["largest_angle"] <= 1e-6
    assert max(summary["largest_difference"][oracles.NUMPY].values()) <= 1e-6


@pytest.mark.slow
def test_a_logistic_run_is_statsmodels_on_the_pooled_samples(run, small, copy, without_plink):
    folder = copy(run(small, "logistic", **LOGISTIC)[0])

    gaps = compare(folder, small, most=100)["largest_difference"][oracles.STATSMODELS]

    assert max(gaps.values()) <= 1e-9


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(
    ("analysis", "config", "beta", "others"),
    [
        ("linear", {**SCAN, "missing": "exclude"}, 1e-5, 1e-5),
        # odds ratios of six digits; and its logistic iterations end early, with the standard errors of the step before
        ("logistic", LOGISTIC, 1e-4, 2e-2),
    ],
    ids=["linear", "logistic"],
)
def test_runs_are_plink_s_on_the_pooled_files_to_its_digits(run, small, copy, analysis, config, beta, others):
    need_program("plink2", "plink2")
    folder = copy(run(small, analysis, **config)[0])

    gaps = compare(folder, small, most=300)["largest_difference"][oracles.PLINK]

    assert gaps["beta"] <= beta
    assert max(gaps["se"], gaps["log10p"]) <= others


def test_the_report_gets_one_table_and_one_headline(run, small, copy, without_plink, capsys):
    folder = copy(run(small, "linear", **SCAN)[0])

    for _ in range(2):  # a second time replaces what the first one added
        assert main(["compare", "--run", str(folder), "--data", str(small), "--variants", "50"]) == 0

    out = capsys.readouterr().out
    assert "50 variants" in out
    assert "plink2: not compared, because it is not installed." in out
    assert "of se of itself" in out
    report = AppReport.model_validate_json((folder / "report.json").read_text())
    assert sum("outside the gate, simulation only" in table.title for table in report.tables) == 1
    assert sum("pooled samples" in line.label for line in report.headline) == 1
    assert "synthetic" in report.headline[-1].note
    assert set(json.loads((folder / "compare.json").read_text())["largest_difference"]) == {oracles.NUMPY}


def test_plink_is_not_blamed_for_imputed_calls(run, small, copy, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda _: "/no/plink2")

    compare(copy(run(small, "linear", **SCAN)[0]), small, print, most=50)

    assert "because this run imputes missing calls" in capsys.readouterr().out


def test_a_difference_is_seen(run, small, copy):
    """The comparison itself can fail."""
    folder = copy(run(small, "linear", **SCAN)[0])
    associations = Associations(folder / "associations")
    start, part = min(associations.done), next(associations.parts())
    row = np.flatnonzero(part["status"] == 0)[0]
    part = {name: column.copy() for name, column in part.items()}
    part["beta"][row] += part["se"][row]
    associations.append(start, part)

    gaps = compare(folder, small, most=0)["largest_difference"][oracles.NUMPY]

    assert gaps["beta"] > 0.1
    assert gaps["se"] <= 1e-9


def test_compare_refuses_what_it_cannot_compare(run, small, copy, tmp_path):
    folder = copy(run(small, "linear", **SCAN)[0])
    empty = tmp_path / "empty"
    empty.mkdir()

    with pytest.raises(InputError, match="not written by prepare"):
        compare(folder, empty)
    with pytest.raises(InputError, match="finished run"):
        compare(empty, small)
    found = json.loads((folder / "analysis.json").read_text())
    found["settings"]["analysis"] = "two-step"
    (folder / "analysis.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="two-step"):
        compare(folder, small)


def test_a_run_s_report_has_what_people_look_for(run, small):
    folder, _ = run(small, "linear", **SCAN)

    report = AppReport.model_validate_json((folder / "report.json").read_text())

    assert report.synthetic
    assert {"plots/manhattan.png", "plots/qq.png"} <= {figure.file for figure in report.figures}
    samples = next(table for table in report.tables if table.title == "Quality control: samples")
    assert [row[0] for row in samples.rows][:2] == ["analysed", "too many genotypes missing"]
    assert not {"0"} & {row[1] for row in samples.rows}
    assert 'read "fewer than 1"' in samples.caption
    titles = [table.title for table in report.tables]
    for wanted in ("Top loci", "Quality control: variants", "Quality control: samples", "Harmonisation with the panel"):
        assert wanted in titles
    assert "λ" in [line.label for line in report.headline]
    numbers = json.loads((folder / "analysis.json").read_text())["numbers"]
    tests = whole(Associations(folder / "associations"))
    assert numbers["genomic control"]["tests"] == (tests["status"] == 0).sum()
    assert sum(numbers["variants"].values()) == 4000
    assert sum(count or 0 for count in numbers["samples"].values()) == 400


def test_figures_are_drawn_anew_without_any_diz(run, small, tmp_path):
    folder, _ = run(small, "linear", **SCAN)

    paths = plot(folder, tmp_path / "again")

    assert [path.name for path in paths] == ["manhattan.png", "qq.png"]
    for path in paths:
        assert path.read_bytes() == (folder / "plots" / path.name).read_bytes()
    with pytest.raises(InputError, match="finished run"):
        plot(tmp_path)


@pytest.fixture
def scored(run, small):
    """A score's run over the small set."""
    return run(small, "score", **SCAN, score_p=1e-6)[0]


def test_a_score_is_evaluated_as_the_pooled_test_samples_say(scored, small, copy):
    summary = compare(copy(scored), small, most=50)

    assert set(summary["score"]) == {"test samples", "correlation", "R2"}
    assert summary["score"]["test samples"] == 0
    assert max(summary["score"].values()) <= 1e-9


def test_a_diz_applies_a_score_to_its_own_files(scored, small, tmp_path, settings, capsys):
    store = small / "DIZ-2" / STORE

    assert main(["score", str(scored), "--genotypes", str(store), "--out", str(tmp_path / "out.tsv")]) == 0

    assert "of these in the file" in capsys.readouterr().out
    with (tmp_path / "out.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    arrays, metadata = load_model(scored)
    site = load_site(store, settings(analysis="score", **SCAN))
    place = {name: row for row, name in enumerate(site.panel.id.tolist())}
    calls = site.genotypes.pick(np.array([place[name] for name in metadata["variants"]["id"]]))
    expected = np.where(calls < 0, 0.0, calls - arrays["mean"]) @ arrays["weights"]
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=1e-12, atol=1e-14)
    assert [int(row["variants"]) for row in rows] == (calls >= 0).sum(axis=1).tolist()
    assert len({row["sample_id"] for row in rows}) == site.samples


def test_swapped_alleles_and_another_order_give_the_same_scores(scored, small, tmp_path):
    store = small / "DIZ-3" / STORE
    apply(scored, store, tmp_path / "straight.tsv")
    for ending in ("bed", "fam"):
        shutil.copy(store / f"genotypes.{ending}", tmp_path / f"turned.{ending}")
    lines = [line.split("\t") for line in (store / "genotypes.bim").read_text().splitlines()]
    (tmp_path / "turned.bim").write_text("".join("\t".join([*of[:4], of[5], of[4]]) + "\n" for of in lines))
    content = np.frombuffer((store / "genotypes.bed").read_bytes(), dtype=np.uint8).copy()
    pairs = np.array([0b11, 0b01, 0b10, 0b00], dtype=np.uint8)  # two copies of A1 are none of the other allele
    body = content[3:]
    content[3:] = sum(pairs[(body >> shift) & 3] << shift for shift in (0, 2, 4, 6))
    (tmp_path / "turned.bed").write_bytes(content.tobytes())

    apply(scored, tmp_path / "turned.bed", tmp_path / "turned.tsv")

    straight, turned = ((tmp_path / f"{name}.tsv").read_text() for name in ("straight", "turned"))
    assert straight == turned


def test_score_refuses_what_it_cannot_use(scored, run, small, tmp_path):
    store, out = small / "DIZ-1" / STORE, tmp_path / "out.tsv"

    with pytest.raises(InputError, match="holds no model"):
        apply(run(small, "linear", **SCAN)[0], store, out)
    with pytest.raises(InputError, match="is not there"):
        apply(scored, tmp_path, out)
    for ending in ("bed", "fam"):
        shutil.copy(store / f"genotypes.{ending}", tmp_path / f"far.{ending}")
    lines = [line.split("\t") for line in (store / "genotypes.bim").read_text().splitlines()]
    (tmp_path / "far.bim").write_text("".join("\t".join(["22", "x", *of[2:]]) + "\n" for of in lines))
    with pytest.raises(InputError, match="none of the score's variants"):
        apply(scored, tmp_path / "far.bed", out)
    assert not out.exists()
