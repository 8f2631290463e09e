"""Whole differential runs: what they leave behind equals the pooled analysis, and is what the report says."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from flame_strategies.errors import NotEnoughNodes
from gene_expression import plots
from gene_expression.comparators import TableSites
from gene_expression.compare import read_results
from gene_expression.differential_run import differential
from gene_expression.oracles import model_matrix
from gene_expression.panel import load_panel
from gene_expression.prepare import read_prepared
from gene_expression.settings import Settings
from gene_expression.store import load_table, parse_levels, sheet_columns
from gene_expression.table import Table

from flame_fl.report.app_report import AppReport

MORE = {"contrasts": "group[case]; age"}


def pooled_table(data, settings):
    """All DIZ's samples as one DIZ's table, read the way a DIZ reads them."""
    import pyarrow as pa

    values, sheet, _ = read_prepared(data)
    numbers, codes, levels = sheet_columns(pa.Table.from_pandas(sheet, preserve_index=False), settings.levels)
    genes = load_panel(settings.panel).genes
    matrix = np.ascontiguousarray(values[list(genes)].to_numpy(dtype=np.float64))
    return Table(matrix, settings.scale, numbers, codes, levels, tuple(sheet["patient_id"]), genes)


def test_fold_changes_are_least_squares_on_the_pooled_samples(run, prepared, defaults):
    """With a mean for every DIZ; numpy's solution, gene by gene."""
    folder, _ = run("synthetic-microarray", "differential", **MORE)

    found = read_results(folder)
    settings = Settings.from_config({**defaults, "set": "synthetic-microarray", **MORE})
    values, sheet, _ = read_prepared(prepared("synthetic-microarray"))
    X, terms, complete = model_matrix(sheet, settings)
    beta = np.linalg.lstsq(X, values.to_numpy()[complete], rcond=None)[0]
    assert list(found) == ["group[case]", "age"]
    for name, table in found.items():
        truth = pd.Series(beta[terms.index(name)], index=values.columns)
        np.testing.assert_allclose(table["logFC"], truth[table.index], rtol=0, atol=1e-12)
        np.testing.assert_allclose(table["AveExpr"], values.mean()[table.index], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["voom", "limma-trend"])
def test_five_diz_find_what_one_with_all_samples_finds(run, prepared, defaults, method):
    """Counts: filter, scaling, weights, moderation; without site effects, which one DIZ cannot have."""
    more = {"method": method, "batch": "none"}
    folder, _ = run("synthetic-rnaseq", "differential", **more)

    settings = Settings.from_config({**defaults, "set": "synthetic-rnaseq", **more})
    table = pooled_table(prepared("synthetic-rnaseq"), settings)
    fit, _ = differential(TableSites([table]), settings, table.panel)
    ours = read_results(folder)["group[case]"].loc[list(fit.genes)]
    truth = fit.tables["group[case]"]
    assert len(ours) == len(fit.genes) > 1500
    np.testing.assert_allclose(ours["logFC"], truth.log_fc, rtol=0, atol=1e-11)
    np.testing.assert_allclose(ours["log10.P"], truth.log10_p, rtol=0, atol=1e-9)


def test_genes_that_were_changed_are_found(run, prepared):
    """Made-up truth: most of what is called different is, and more than by chance of what was changed is called."""
    from gene_expression import synthetic

    folder, _ = run("synthetic-microarray", "differential")
    made = synthetic.make("log2", nodes=5, seed=1)
    changed = set(made.values.columns[made.changed])
    table = read_results(folder)["group[case]"]
    called = set(table.index[table["adj.P.Val"] < 0.05])

    assert len(called - changed) <= 0.1 * len(called)
    assert len(called & changed) >= 0.5 * len(changed)


def test_the_files_say_the_same_in_every_form(run):
    folder, grid = run("synthetic-microarray", "differential", **MORE)

    tables = read_results(folder)
    with (folder / "results.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    whole = pd.concat(tables.values())
    assert [row["gene"] for row in rows] == list(whole.index)
    for column in ("logFC", "t", "P.Value", "adj.P.Val", "log10.P"):
        assert [float(row[column]) for row in rows] == whole[column].tolist()
    for name, ranking in (("group[case]", "ranking.rnk"), ("age", "ranking-2.rnk")):
        table = tables[name]
        assert table["P.Value"].is_monotonic_increasing
        lines = [line.split("\t") for line in (folder / ranking).read_text().splitlines()]
        t = [float(value) for _, value in lines]
        assert t == sorted(t, reverse=True)
        assert {gene: float(value) for gene, value in lines} == table["t"].to_dict()
    found = json.loads((folder / "analysis.json").read_text())
    assert found["exchanges"] == len(grid.replies) / 5 == 3
    assert found["sites"] == 5
    assert found["details"]["samples"] == 240


def test_the_report_is_one_that_a_page_is_made_of_and_calls_synthetic_what_is(run):
    folder, _ = run("synthetic-rnaseq", "differential")

    report = AppReport.model_validate_json((folder / "report.json").read_text())
    assert report.synthetic
    assert report.data_note.startswith("Synthetic")
    assert {figure.file for figure in report.figures} == {
        "plots/volcano.png",
        "plots/ma.png",
        "plots/mean-variance.png",
    }
    assert all((folder / figure.file).stat().st_size > 5000 for figure in report.figures)
    assert [line.label for line in report.headline] == ["group[case]: genes that differ", "samples", "exchanges"]
    assert len(report.tables[0].rows) == 100


def test_figures_are_the_same_bytes_for_the_same_numbers(prepared, defaults, tmp_path):
    settings = Settings.from_config({**defaults, "set": "synthetic-microarray"})
    table = pooled_table(prepared("synthetic-microarray"), settings)
    fit, _ = differential(TableSites([table]), settings, table.panel)
    tests = fit.tables["group[case]"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        plots.contrast(tmp_path / name, 0, tests, fit)

    volcano, ma = (
        [(tmp_path / name / "plots" / f"{plot}.png").read_bytes() for name in ("one", "two")]
        for plot in ("volcano", "ma")
    )
    assert volcano[0] == volcano[1]
    assert ma[0] == ma[1] != volcano[0]


def test_a_gene_that_a_diz_did_not_measure_is_left_out_and_named(prepared, defaults):
    """Of the others every number stays."""
    settings = Settings.from_config({**defaults, "set": "synthetic-microarray"})
    folders = [prepared("synthetic-microarray") / f"DIZ-{node}" / "expression" for node in range(1, 6)]
    levels = "group=control|case; sex=female|male"
    assert parse_levels(levels) == settings.levels
    tables = [load_table(folder, "synthetic", scale="log2", levels=levels) for folder in folders]
    whole, _ = differential(TableSites(tables), settings, tables[0].panel)
    lacking = tables[1].genes.copy()
    lacking[:, 7] = np.nan
    tables[1] = Table(**{**vars(tables[1]), "genes": lacking})

    fit, _ = differential(TableSites(tables), settings, tables[0].panel)

    assert fit.left_out == ("SYN00008",)
    others = [place for place, gene in enumerate(whole.genes) if gene != "SYN00008"]
    np.testing.assert_array_equal(fit.tables["group[case]"].log_fc, whole.tables["group[case]"].log_fc[others])


def test_fewer_diz_than_demanded_end_the_run(run):
    with pytest.raises(NotEnoughNodes):
        run("synthetic-microarray", "differential", min_nodes=6, timeout=0.1)
