"""Scaling of libraries and the filter of genes against edgeR on the pooled counts."""

import numpy as np
import pandas as pd
import pytest
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.expression_scaling import CountScaling, ExpressionFilter, scale_counts
from flame_strategies.glm_design import Categorical, Design
from gene_expression.errors import InputError
from gene_expression.site_design import build
from gene_expression.site_scaling import effective_sizes
from gene_expression.table import COUNTS, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gene_expression.oracles import (
    FROZEN,
    GROUPS,
    Study,
    TableSites,
    ask_limma,
    made_up,
    read_study,
    rscript,
)

DESIGN = Design("expression", (), (Categorical("group", GROUPS),))
ALL = Design("expression")
METHODS = ("tmm", "upper_quartile", "none")


def factors(study: Study, scaling: CountScaling) -> np.ndarray:
    """Each sample's factor, in the pooled order."""
    request = Request(scaling.config(), scaling.arrays())
    found = np.empty(len(study.sheet))
    for site, table in zip(sorted(study.sheet["site"].unique()), study.tables(), strict=True):
        sizes = effective_sizes(table, request, build(table, request))
        found[np.asarray(study.sheet["site"] == site)] = sizes / table.genes[:, scaling.genes].sum(axis=1)
    return found


def must_equal(study: Study, folder, prefix: str = "") -> None:
    kept = pd.read_csv(folder / f"{prefix}kept.tsv", sep="\t")["gene"]
    expected = pd.read_csv(folder / f"{prefix}factors.tsv", sep="\t")
    for method in METHODS[:2]:
        sites = TableSites(study.tables())
        scaling = scale_counts(sites, DESIGN, study.panel, method=method, keep=ExpressionFilter("group"))
        assert_array_equal(scaling.genes, kept)
        assert_allclose(factors(study, scaling), expected[method], rtol=1e-13)
        assert scaling.total.sum() == expected["size"].sum()
        assert len(scaling.genes) + len(scaling.filtered) == len(study.panel)


def test_equals_edger_on_frozen_synthetic_counts():
    """filterByExpr's genes; factors of TMM with the pooled profile as reference, and of the upper quartile."""
    must_equal(read_study("synthetic_counts", COUNTS), FROZEN, "synthetic_counts_")


@pytest.mark.peer
@pytest.mark.slow
def test_equals_edger_on_new_synthetic_counts(tmp_path):
    study = made_up(1500, 70, seed=8, scale=COUNTS)
    ask_limma(rscript("limma", "edgeR"), study, tmp_path)
    must_equal(study, tmp_path)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
def test_factors_multiply_to_1_wherever_samples_lie(seed, method):
    study = made_up(40, 24, 5, scale=COUNTS)
    homes = np.random.default_rng(seed).integers(0, 3, 24)
    study = Study(study.values, study.sheet.assign(site=homes), COUNTS)
    scaling = scale_counts(TableSites(study.tables()), ALL, study.panel, method=method)
    found = factors(study, scaling)
    assert np.log(found).sum() == pytest.approx(0, abs=1e-12)
    home = Study(study.values, study.sheet.assign(site=0), COUNTS)
    alone = scale_counts(TableSites(home.tables()), ALL, study.panel, method=method)
    assert_allclose(found, factors(home, alone), rtol=1e-13)


def test_multiples_of_one_profile_have_factor_1():
    """Only their sizes differ."""
    profile = np.array([0.0, 3, 10, 200, 41, 7, 1, 90])
    sheet = pd.DataFrame({"group": "A", "age": 1.0, "site": [0, 0, 1, 1]})
    study = Study(np.outer([1, 2, 5, 40], profile), sheet, COUNTS)
    for method in METHODS:
        scaling = scale_counts(TableSites(study.tables()), ALL, study.panel, method=method)
        assert_allclose(factors(study, scaling), 1.0, rtol=1e-14)
        assert_array_equal(scaling.filtered, [0])


def test_the_median_library_is_exact():
    """Of even and odd numbers of samples, whole counts or not; the search for whole numbers is short."""
    study = made_up(30, 25, 5, scale=COUNTS)
    for values in (study.values, study.values[:24], study.values * 1.37):
        part = Study(values, study.sheet.iloc[: len(values)], COUNTS)
        sites = TableSites(part.tables())
        scaling = scale_counts(sites, ALL, part.panel, method="none", keep=ExpressionFilter())
        assert scaling.median_library == np.median(values.sum(axis=1))
        whole = bool((values == np.rint(values)).all())
        assert sites.asked.count("query.scale_ranks") <= (3 if whole else 7)


def test_a_declared_median_library_asks_for_no_sizes():
    study = made_up(30, 25, 5, scale=COUNTS)
    sites = TableSites(study.tables())
    median = float(np.median(study.values.sum(axis=1)))
    declared = scale_counts(sites, ALL, study.panel, keep=ExpressionFilter(median_library=median))
    assert "query.scale_ranks" not in sites.asked
    found = scale_counts(sites, ALL, study.panel, keep=ExpressionFilter())
    assert_array_equal(declared.genes, found.genes)
    assert declared.median_library == found.median_library == median


def test_genes_that_a_site_lacks_are_in_no_library():
    study = made_up(30, 25, 5, scale=COUNTS)
    values = study.values.copy()
    values[np.asarray(study.sheet["site"] == 1), 3] = np.nan
    gappy = Study(values, study.sheet, COUNTS)
    found = scale_counts(TableSites(gappy.tables()), ALL, gappy.panel, genes_per_message=7)
    rest = Study(np.delete(study.values, 3, axis=1), study.sheet, COUNTS)
    expected = scale_counts(TableSites(rest.tables()), ALL, rest.panel)
    assert_array_equal(found.left_out, [3])
    assert found.log_factor == pytest.approx(expected.log_factor, rel=1e-13)
    assert_array_equal(found.total, expected.total)


@pytest.mark.parametrize(
    ("smallest", "expected"), [(3, 3.0), (10, 10.0), (20, 17.0)], ids=["small", "ten", "a share beyond ten"]
)
def test_in_how_many_samples_a_gene_must_be_expressed(smallest, expected):
    assert ExpressionFilter().least_samples(smallest) == pytest.approx(expected)


def test_unusable_arguments():
    study = made_up(5, 20, 5, scale=COUNTS)
    sites = TableSites(study.tables())
    with pytest.raises(ValueError, match="method"):
        scale_counts(sites, ALL, study.panel, method="rle")
    with pytest.raises(ValueError, match="no categorical column"):
        scale_counts(sites, ALL, study.panel, keep=ExpressionFilter("group"))
    assert sites.asked == []


def test_nothing_left():
    study = made_up(5, 20, 5, scale=COUNTS)
    with pytest.raises(StrategyError, match="No gene has enough reads"):
        scale_counts(TableSites(study.tables()), ALL, study.panel, keep=ExpressionFilter(min_count=1e9))
    lost = Study(np.full_like(study.values, np.nan), study.sheet, COUNTS)
    with pytest.raises(StrategyError, match="No gene was measured"):
        scale_counts(TableSites(lost.tables()), ALL, lost.panel)


def test_too_few_reads_for_an_upper_quartile():
    values = np.zeros((6, 9))
    values[np.arange(6), np.arange(6)] = 5
    study = Study(values, pd.DataFrame({"group": "A", "age": 1.0, "site": [0, 0, 0, 1, 1, 1]}), COUNTS)
    with pytest.raises(InputError, match="scale by tmm"):
        scale_counts(TableSites(study.tables()), ALL, study.panel, method="upper_quartile")


def test_unusable_replies():
    study = made_up(5, 20, 5, scale=COUNTS)
    sites = TableSites(study.tables())

    def exchange(message_type, content):
        sums = dict(sites(message_type, content))
        return {**sums, "total": sums["total"][:-1]} if "total" in sums else sums

    with pytest.raises(UnusableReply, match="total by gene"):
        scale_counts(exchange, ALL, study.panel)

    def changing(message_type, content):
        sums = dict(sites(message_type, content))
        return sums if message_type == "query.scale_genes" else {**sums, "n": sums["n"] + 1}

    with pytest.raises(UnusableReply, match="start again"):
        scale_counts(changing, ALL, study.panel)
