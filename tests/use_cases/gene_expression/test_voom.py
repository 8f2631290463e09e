"""Federated voom against R's on the pooled counts: frozen results always, live ones where R is."""

import numpy as np
import pandas as pd
import pytest
from flame_strategies.errors import StrategyError
from flame_strategies.expression_scaling import ExpressionFilter, scale_counts
from flame_strategies.glm_design import Categorical, Design
from flame_strategies.limma import fit_limma
from flame_strategies.voom import VoomFit, fit_voom
from gene_expression.errors import InputError
from gene_expression.table import COUNTS, LOG2
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gene_expression.oracles import (
    FROZEN,
    GROUPS,
    Study,
    TableSites,
    ask_limma,
    made_up,
    read_study,
    read_tables,
    rscript,
)

GROUP = Categorical("group", GROUPS)
BY_GROUP = Design("expression", (), (GROUP,))
BY_AGE = Design("expression", ("age",), (GROUP,))
CASES = {
    "voom": (BY_GROUP, "tmm", "C-B", {"site_effects": True}),
    "voom_age": (BY_AGE, "upper_quartile", "B-A", {}),
}
BOUNDS = {"sum_x": 1e9, "sum_xx": 1e12, "xx": 1e6, "xy": 1e6, "sum_y": 1e6, "sum_log_library": 1e6, "rss": 1e6}
BOUNDS |= {"wxx": 1e7, "wxr": 1e7, "wrr": 1e7, "total": 1e11, "sum_log": 1e6}
"""Bounds of the release contract."""


def fit(study: Study, case: str, *, bounds: dict[str, float] | None = None, genes_per_message: int = 4000) -> VoomFit:
    design, method, contrast, options = CASES[case]
    sites = TableSites(study.tables(), bounds)
    keep = ExpressionFilter("group")
    scaling = scale_counts(sites, design, study.panel, method=method, keep=keep, genes_per_message=genes_per_message)
    return fit_voom(
        sites, design, scaling, study.panel, [contrast], genes_per_message=genes_per_message, progress=None, **options
    )


def must_equal(found: VoomFit, folder, name: str, contrast: str, within: float) -> None:
    genes, shared = read_tables(folder, name)
    table = found.limma.tables[contrast]
    assert found.limma.genes == tuple(f"G{gene}" for gene in genes["gene"])
    assert_allclose(table.log_fc, genes["log_fc"], rtol=0, atol=within)
    assert_allclose(table.log10_p, genes["log10_p"], rtol=0, atol=within)
    assert_allclose(table.adjusted_p, genes["adjusted_p"], rtol=10 * within)
    assert_allclose(found.limma.average, genes["average"], rtol=0, atol=within)
    assert_allclose(found.limma.sigma, genes["sigma"], rtol=within)
    assert found.limma.prior_df == pytest.approx(shared["prior_df"], rel=10 * within)
    assert found.limma.residual_df == shared["residual_df"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("genes_per_message", [4000, 60])
def test_equals_r_on_frozen_synthetic_counts(case, genes_per_message):
    """The filter's genes, and their tests to 1e-11; however many genes are in a message."""
    found = fit(read_study("synthetic_counts", COUNTS), case, genes_per_message=genes_per_message)
    must_equal(found, FROZEN, f"synthetic_counts_{case}", CASES[case][2], 1e-11)
    assert found.limma.exchanges == 1 + 3 * -(-len(found.limma.genes) // genes_per_message)


@pytest.mark.parametrize("case", CASES)
def test_equals_r_in_the_fixed_point_of_masked_sums(case):
    """Sums rounded to bound x sites / 2^63: 5e-12 in the weighted ones."""
    found = fit(read_study("synthetic_counts", COUNTS), case, bounds=BOUNDS)
    must_equal(found, FROZEN, f"synthetic_counts_{case}", CASES[case][2], 1e-9)


@pytest.mark.peer
@pytest.mark.slow
def test_equals_r_on_new_synthetic_counts(tmp_path):
    study = made_up(2000, 60, seed=3, scale=COUNTS)
    ask_limma(rscript("limma", "edgeR"), study, tmp_path)
    for case in CASES:
        must_equal(fit(study, case), tmp_path, case, CASES[case][2], 1e-10)


def test_a_contrast_of_two_coefficients_is_exact():
    """R approximates it; here it is what another reference gives."""
    study = read_study("synthetic_counts", COUNTS)
    sites = TableSites(study.tables())
    scaling = scale_counts(sites, BY_GROUP, study.panel)
    other = Design("expression", (), (Categorical("group", GROUPS, reference="B"),))
    one = fit_voom(sites, BY_GROUP, scaling, study.panel, ["C-B"], site_effects=True).limma.tables["C-B"]
    two = fit_voom(sites, other, scaling, study.panel, ["group[C]"], site_effects=True).limma.tables["group[C]"]
    assert_allclose(one.log10_p, two.log10_p, atol=1e-10)


def test_the_trend_is_that_of_the_genes():
    found = fit(read_study("synthetic_counts", COUNTS), "voom")
    assert (np.diff(found.trend_x) > 0).all()
    assert_array_equal(np.isin(found.trend_x, found.gene_x), True)
    assert found.trend_y.min() > 0
    # more reads, less spread
    few, many = np.array_split(found.trend_y, 2)
    assert few.mean() > many.mean()


def test_genes_without_reads_are_left_out():
    study = made_up(60, 30, seed=4, scale=COUNTS)
    values = study.values.copy()
    values[:, [7, 31]] = 0
    study = Study(values, study.sheet, COUNTS)
    sites = TableSites(study.tables())
    scaling = scale_counts(sites, BY_AGE, study.panel, method="none")
    assert set(scaling.filtered) == {7, 31}
    found = fit_voom(sites, BY_AGE, scaling, study.panel)
    assert found.limma.genes == tuple(f"G{gene}" for gene in range(60) if gene not in {7, 31})


def test_without_weights_it_is_limma_of_log_counts():
    """`fit_limma` with a scaling equals `fit_limma` of logarithms computed beforehand."""
    study = read_study("synthetic_counts", COUNTS)
    sites = TableSites(study.tables())
    scaling = scale_counts(sites, BY_AGE, study.panel, method="none", keep=None)
    found = fit_limma(sites, BY_AGE, study.panel, scaling=scaling, trend=True)
    counts = study.values[:, scaling.genes]
    logs = np.log2((counts + 0.5) / (counts.sum(axis=1, keepdims=True) + 1) * 1e6)
    pooled = Study(logs, study.sheet, LOG2)
    expected = fit_limma(TableSites(pooled.tables()), BY_AGE, pooled.panel, trend=True)
    for name, table in expected.tables.items():
        assert_allclose(found.tables[name].log10_p, table.log10_p, atol=1e-11)


def test_tells_how_far_it_is():
    study, seen = made_up(60, 30, seed=4, scale=COUNTS), []
    sites = TableSites(study.tables())
    scaling = scale_counts(sites, BY_AGE, study.panel)
    fit_voom(
        sites,
        BY_AGE,
        scaling,
        study.panel,
        genes_per_message=30,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert seen == [(done, 7) for done in range(2, 8)]


def test_logarithms_are_not_taken_for_counts():
    study = made_up(20, 30, seed=4)
    with pytest.raises(InputError, match="needs raw counts"):
        scale_counts(TableSites(study.tables()), BY_AGE, study.panel)


def test_one_gene_has_no_trend():
    study = made_up(60, 30, seed=4, scale=COUNTS)
    one = Study(study.values[:, :1] + 1, study.sheet, COUNTS)
    sites = TableSites(one.tables())
    scaling = scale_counts(sites, BY_AGE, one.panel, method="none")
    with pytest.raises(StrategyError, match="Fewer than two genes"):
        fit_voom(sites, BY_AGE, scaling, one.panel)


def test_a_sample_without_reads_is_named_as_the_fault():
    study = made_up(20, 30, seed=4, scale=COUNTS)
    values = study.values.copy()
    values[4] = 0
    empty = Study(values, pd.DataFrame(study.sheet), COUNTS)
    with pytest.raises(InputError, match="no reads"):
        scale_counts(TableSites(empty.tables()), BY_AGE, empty.panel)
