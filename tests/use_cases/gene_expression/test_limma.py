"""Federated limma against R's on the pooled samples: frozen results always, live ones where R is."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.glm_design import Categorical, Collinear, Design, DesignError
from flame_strategies.limma import LimmaFit, fit_limma
from gene_expression.errors import InputError
from gene_expression.meta_analysis import METHODS, SiteResult
from gene_expression.table import COUNTS, LOG2
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gene_expression.oracles import (
    FROZEN,
    GROUPS,
    HERE,
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
    "site": (BY_GROUP, "B-A", {"site_effects": True}),
    "age": (BY_AGE, "B-A", {}),
    "trend": (BY_AGE, "age", {"trend": True}),
}
BOUNDS = {"sum_x": 1e9, "sum_xx": 1e12, "xx": 1e6, "xy": 1e6, "sum_y": 1e6, "sum_log_library": 1e6, "rss": 1e6}
"""Bounds of the release contract."""


def fit(study: Study, case: str, **more: object) -> tuple[LimmaFit, str]:
    design, contrast, options = CASES[case]
    bounds = more.pop("bounds", None)
    return fit_limma(TableSites(study.tables(), bounds), design, study.panel, [contrast], **options, **more), contrast


def must_equal(found: LimmaFit, contrast: str, folder: Path, case: str, *, fc: float = 1e-11, p: float = 1e-10) -> None:
    """Fold changes, tests, means and variances are R's."""
    genes, shared = read_tables(folder, case)
    table = found.tables[contrast]
    assert_allclose(table.log_fc, genes["log_fc"], rtol=0, atol=fc)
    assert_allclose(table.log10_p, genes["log10_p"], rtol=0, atol=p)
    assert_allclose(table.p_value, genes["p_value"], rtol=10 * p)
    assert_allclose(table.adjusted_p, genes["adjusted_p"], rtol=10 * p)
    assert_allclose(table.t, genes["t"], rtol=0, atol=p)
    assert_allclose(table.log_fc / table.standard_error, table.t)
    assert_allclose(found.average, genes["average"], rtol=0, atol=fc)
    assert_allclose(found.sigma, genes["sigma"], rtol=p)
    assert_allclose(np.broadcast_to(found.prior_variance, found.sigma.shape), genes["prior_variance"], rtol=p)
    assert (found.prior_df, found.total_df) == pytest.approx((shared["prior_df"], shared["total_df"]), rel=p)
    assert found.residual_df == shared["residual_df"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("genes_per_message", [4000, 77])
def test_equals_r_on_frozen_synthetic_data(case, genes_per_message):
    """200 genes x 40 samples over three unlike sites; however many genes are in a message."""
    study = read_study("synthetic", LOG2)
    found, contrast = fit(study, case, genes_per_message=genes_per_message)
    must_equal(found, contrast, FROZEN, f"synthetic_{case}", fc=1e-13, p=1e-12)
    assert (found.n, found.excluded, found.sites, len(found.genes)) == (40, 0, 3, 200)
    assert found.exchanges == 1 + 2 * -(-200 // genes_per_message)


def test_equals_r_on_frozen_genes_of_bladderbatch():
    """120 of its genes, batch = site: two batches have one group only, and add nothing but degrees of freedom."""
    found, contrast = fit(read_study("bladder", LOG2), "site")
    must_equal(found, contrast, FROZEN, "bladder_site", fc=1e-12, p=1e-11)
    assert (found.n, found.sites, found.residual_df) == (57, 5, 57 - 2 - 5)


@pytest.mark.parametrize("case", CASES)
def test_equals_r_in_the_fixed_point_of_masked_sums(case):
    """Sums rounded to bound x sites / 2^63: 5e-13 here."""
    found, contrast = fit(read_study("synthetic", LOG2), case, bounds=BOUNDS)
    must_equal(found, contrast, FROZEN, f"synthetic_{case}", fc=1e-11, p=1e-10)


@pytest.mark.peer
@pytest.mark.slow
def test_equals_r_on_bladderbatch(tmp_path):
    """22,283 genes x 57 samples, batch = site."""
    program = rscript("limma", "edgeR", "bladderbatch")
    subprocess.run([program, str(HERE / "bladder.R"), str(tmp_path)], check=True)
    sheet = pd.read_csv(tmp_path / "samples.tsv", sep="\t")
    study = Study(np.fromfile(tmp_path / "values.bin").reshape(len(sheet), -1), sheet, LOG2)
    assert study.values.shape == (57, 22283)
    ask_limma(program, study, tmp_path)
    found, contrast = fit(study, "site")
    must_equal(found, contrast, tmp_path, "site")


@pytest.mark.peer
@pytest.mark.slow
def test_equals_r_on_new_synthetic_data(tmp_path):
    study = made_up(500, 60, seed=1)
    ask_limma(rscript("limma", "edgeR"), study, tmp_path)
    for case in CASES:
        found, contrast = fit(study, case)
        must_equal(found, contrast, tmp_path, case)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_where_samples_lie_does_not_matter_without_site_effects(seed):
    """However they are dealt out, the fit is the same."""
    study = made_up(12, 30, 5)
    homes = np.random.default_rng(seed).integers(0, 4, 30)
    other = Study(study.values, study.sheet.assign(site=homes), LOG2)
    one, two = fit(study, "age")[0], fit(other, "age")[0]
    assert_allclose(one.coefficients, two.coefficients, rtol=1e-10, atol=1e-11)
    assert_allclose(one.tables["B-A"].log10_p, two.tables["B-A"].log10_p, rtol=1e-9, atol=1e-10)


@settings(max_examples=20)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_a_site_s_shift_does_not_matter_with_site_effects(shift):
    study = made_up(12, 30, 6)
    moved = study.values + np.array(shift)[study.sheet["site"].to_numpy()][:, None]
    one, two = fit(study, "site")[0], fit(Study(moved, study.sheet, LOG2), "site")[0]
    assert_allclose(one.tables["B-A"].log_fc, two.tables["B-A"].log_fc, atol=1e-11)
    assert_allclose(one.tables["B-A"].t, two.tables["B-A"].t, rtol=1e-9, atol=1e-10)


def test_no_mean_of_a_site_leaves_it_with_site_effects():
    """Products are of centred values: adding a constant to a site's genes changes only the sum for the pooled mean."""
    study = made_up(10, 30, 7)
    sites, moved = TableSites(study.tables()), TableSites(Study(study.values + 100.0, study.sheet, LOG2).tables())
    for exchange in (sites, moved):
        fit_limma(exchange, BY_GROUP, study.panel, ["B-A"], site_effects=True)
    for ours, theirs in zip(sites.replies, moved.replies, strict=True):
        for site in ours:
            for name in set(ours[site]) - {"sum_y"}:
                assert_allclose(ours[site][name], theirs[site][name], rtol=1e-8, atol=1e-9)


def meta(study: Study, contrast: str) -> dict[str, np.ndarray]:
    """Each site's own limma, combined; sites that cannot compare are left out, as in practice."""
    results = []
    for table in study.tables():
        alone = TableSites([table])
        try:
            own = fit_limma(alone, BY_GROUP, study.panel, [contrast])
        except StrategyError:
            continue
        tests = own.tables[contrast]
        results.append(SiteResult(tests.log_fc, tests.standard_error, tests.log10_p, own.n))
    return {name: method(results) for name, method in METHODS.items()}


def test_meta_analysis_misses_where_sites_are_unlike():
    """Synthetic data: each way of combining the sites' own results is off by more than 1 in -log10 p; ours is not."""
    study = read_study("synthetic", LOG2)
    expected = read_tables(FROZEN, "synthetic_site")[0]["log10_p"].to_numpy()
    found = fit(study, "site")[0].tables["B-A"].log10_p
    assert np.abs(found - expected).max() <= 1e-9
    for name, combined in meta(study, "B-A").items():
        assert combined.shape == expected.shape
        assert np.abs(combined - expected).max() > 1, name


def test_contrasts_do_not_depend_on_the_reference():
    study = read_study("synthetic", LOG2)
    other = Design("expression", ("age",), (Categorical("group", GROUPS, reference="C"),))
    one = fit_limma(TableSites(study.tables()), BY_AGE, study.panel, ["B-A", "(A+B)/2-C"])
    two = fit_limma(TableSites(study.tables()), other, study.panel, ["B-A", "(A+B)/2-C"])
    for name, table in one.tables.items():
        assert_allclose(table.log_fc, two.tables[name].log_fc, atol=1e-12)
        assert_allclose(table.log10_p, two.tables[name].log10_p, atol=1e-11)
    assert one.terms == ("(intercept)", "age", "group[B]", "group[C]")
    assert_array_equal(np.sort(one.tables["B-A"].log10_p), one.tables["B-A"].log10_p[one.tables["B-A"].order()])


def test_incomplete_samples_and_genes_are_left_out():
    """As if the samples were not there; a gene that one sample lacks is named, and the others stay the same."""
    study = made_up(20, 40, 8)
    sheet = study.sheet.copy()
    sheet.loc[[3, 17], "age"] = np.nan
    sheet.loc[[20], "group"] = "unknown"
    values = study.values.copy()
    values[[3, 17, 20]] = 1e6
    values[5, 4] = np.nan
    values[study.sheet["site"] == 1, 9] = np.nan
    found = fit(Study(values, sheet, LOG2), "age", genes_per_message=7)[0]
    rows, genes = np.setdiff1d(np.arange(40), [3, 17, 20]), np.setdiff1d(np.arange(20), [4, 9])
    kept = Study(study.values[rows][:, genes], study.sheet.iloc[rows], LOG2)
    expected = fit(kept, "age")[0]
    assert (found.n, found.excluded, found.left_out) == (37, 3, ("G4", "G9"))
    assert found.genes == tuple(f"G{gene}" for gene in genes)
    assert_allclose(found.tables["B-A"].log10_p, expected.tables["B-A"].log10_p, atol=1e-11)


def test_tells_how_far_it_is():
    study, seen = made_up(20, 30, 3), []
    fit(study, "age", genes_per_message=8, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(done, 7) for done in range(2, 8)]


def one_group_at_one_site() -> Study:
    study = made_up(10, 40, 9)
    group = study.sheet["group"].where(study.sheet["group"] != "C", "A").to_numpy(copy=True)
    group[np.asarray(study.sheet["site"] == 2)] = "C"
    return Study(study.values, study.sheet.assign(group=group), LOG2)


def test_a_group_at_one_site_only_cannot_be_told_from_the_site():
    study = one_group_at_one_site()
    with pytest.raises(DesignError, match=r"nothing can be said about group\[C\].*one site only"):
        fit(study, "site")
    assert fit(study, "age")[0].n == 40


def test_columns_that_depend_on_each_other():
    study = made_up(10, 40, 9)
    sheet = study.sheet.assign(age=np.where(study.sheet["group"] == "B", 50.0, 20.0))
    for options in ({}, {"site_effects": True}):
        with pytest.raises(Collinear, match="age"):
            fit_limma(TableSites(Study(study.values, sheet, LOG2).tables()), BY_AGE, study.panel, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": 30.0}, "the same in all complete rows"),
        ({"age": np.nan}, "No sample"),
        ({"group": "A"}, r"has the level group\[B\]"),
    ],
)
def test_columns_that_say_nothing(change, said):
    study = made_up(5, 30, 9)
    with pytest.raises(DesignError, match=f"(?i){said}"):
        fit(Study(study.values, study.sheet.assign(**change), LOG2), "age")


def test_too_few_samples():
    study = made_up(5, 9, 9)
    with pytest.raises(DesignError, match="9 samples leave nothing"):
        fit_limma(
            TableSites(Study(study.values, study.sheet.assign(site=np.arange(9) // 1), LOG2).tables()),
            Design("e", ("age",)),
            study.panel,
            site_effects=True,
        )


def test_unusable_arguments():
    study = made_up(5, 30, 9)
    sites = TableSites(study.tables())
    with pytest.raises(ValueError, match="cannot be read"):
        fit_limma(sites, BY_GROUP, study.panel, ["B-D"])
    with pytest.raises(ValueError, match="needs an intercept"):
        fit_limma(sites, Design("e", ("age",), intercept=False), study.panel)
    with pytest.raises(ValueError, match="column"):
        fit_limma(sites, Design("e"), study.panel, ["(intercept)"], site_effects=True)
    assert sites.asked == []


def test_counts_are_not_taken_for_logarithms():
    with pytest.raises(InputError, match="raw counts"):
        fit(made_up(10, 30, 1, scale=COUNTS), "age")


def test_genes_that_nobody_measured():
    study = made_up(3, 30, 1)
    with pytest.raises(DesignError, match="No gene was measured"):
        fit(Study(np.full_like(study.values, np.nan), study.sheet, LOG2), "age")


@pytest.mark.parametrize("query", ["de_design", "de_products", "de_residuals"])
def test_replies_of_another_shape(query):
    study = made_up(4, 30, 1)
    sites = TableSites(study.tables())

    def exchange(message_type, content):
        sums = dict(sites(message_type, content))
        if message_type == f"query.{query}":
            del sums[list(sums)[-1]]
        return sums

    with pytest.raises(UnusableReply, match="check the ClientApp"):
        fit_limma(exchange, BY_AGE, study.panel)


def test_a_changed_number_of_samples_ends_it():
    study, other = made_up(4, 30, 1), made_up(4, 31, 1)
    first, then = TableSites(study.tables()), TableSites(other.tables())

    def exchange(message_type, content):
        return (first if message_type == "query.de_design" else then)(message_type, content)

    with pytest.raises(UnusableReply, match="start again"):
        fit_limma(exchange, BY_AGE, study.panel)
