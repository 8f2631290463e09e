"""Histograms and cross tables over sites against numpy, pandas and scipy on the pooled rows."""

import numpy as np
import pandas as pd
import pytest
from federated_statistics.site_statistics import ANSWERS
from flame_strategies.count_tables import cross_table, histograms
from flame_strategies.errors import UnusableReply
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from tests.support.tables import TableSites, split_table

LEVELS = {"stage": ("I", "II", "III"), "sex": ("f", "m")}


def sites(numbers, homes, codes=None):
    return TableSites(split_table(numbers, homes, codes, LEVELS), ANSWERS)


@settings(max_examples=60, deadline=None)
@given(
    # few distinct values, so that many lie on an edge
    values=st.lists(st.sampled_from([np.nan, -1.0, 0.0, 0.5, 1.0, 2.0, 2.5, 7.0]), min_size=1, max_size=40),
    edges=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0]), min_size=2, max_size=6, unique=True).map(sorted),
    seed=st.integers(0, 9),
)
def test_a_histogram_equals_numpy(values, edges, seed):
    x = np.array(values)
    homes = np.random.default_rng(seed).integers(0, 3, len(x))
    exchange = sites({"x": x}, homes)

    found = histograms(exchange, {"x": edges})["x"]

    there = x[~np.isnan(x)]
    assert exchange.asked == ["query.histogram"]
    assert found.counts.tolist() == np.histogram(there, edges)[0].tolist()
    assert (found.below, found.above) == ((there < edges[0]).sum(), (there > edges[-1]).sum())
    assert found.missing == np.isnan(x).sum()
    assert found.total == len(there)


def test_columns_may_have_different_numbers_of_bins():
    rng = np.random.default_rng(0)
    data, homes = {"x": rng.normal(size=90), "y": rng.uniform(0, 8, 90)}, rng.integers(0, 4, 90)
    edges = {"x": np.linspace(-3, 3, 4), "y": np.arange(9.0)}

    found = histograms(sites(data, homes), edges)

    for name, of in edges.items():
        assert found[name].edges.tolist() == of.tolist()
        assert found[name].counts.tolist() == np.histogram(data[name], of)[0].tolist()
        assert found[name].below + found[name].counts.sum() + found[name].above == 90


@pytest.mark.parametrize("edges", [[1.0], [1.0, 1.0], [2.0, 1.0], [0.0, np.inf]])
def test_edges_rise_and_are_finite(edges):
    with pytest.raises(ValueError, match="rising"):
        histograms(lambda *_: {}, {"x": edges})


def test_a_cross_table_equals_pandas_with_margins_and_missing_values():
    rng = np.random.default_rng(1)
    codes = {"stage": rng.integers(-1, 3, 200), "sex": rng.integers(-1, 2, 200)}
    exchange = sites({}, rng.integers(0, 5, 200), codes)

    found = cross_table(exchange, "stage", "sex", LEVELS)

    there = (codes["stage"] >= 0) & (codes["sex"] >= 0)
    words = {name: np.array(LEVELS[name])[code[there]] for name, code in codes.items()}
    pooled = pd.crosstab(words["stage"], words["sex"])
    assert exchange.asked == ["query.cross_table"]
    assert found.counts.tolist() == pooled.to_numpy().tolist()
    assert found.row_totals.tolist() == pooled.sum(axis=1).tolist()
    assert found.column_totals.tolist() == pooled.sum(axis=0).tolist()
    assert found.total == there.sum()
    assert found.cells[-1, -1] == ((codes["stage"] < 0) & (codes["sex"] < 0)).sum()
    assert found.cells.sum() == 200
    statistic, freedom = found.chi_squared()
    test = chi2_contingency(pooled, correction=False)
    assert statistic == pytest.approx(test.statistic, rel=1e-12)
    assert freedom == test.dof


def test_levels_that_nobody_has_keep_their_place_and_are_no_degree_of_freedom():
    codes = {"stage": [0, 2, 2, 0], "sex": [0, 0, 1, 1]}

    found = cross_table(sites({}, [0, 0, 1, 1], codes), "stage", "sex", LEVELS)

    assert found.counts.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert found.chi_squared() == (0.0, 1)


def test_one_level_alone_says_nothing_of_independence():
    found = cross_table(sites({}, [0, 1], {"stage": [1, 1], "sex": [0, 1]}), "stage", "sex", LEVELS)

    assert np.isnan(found.chi_squared()[0])
    assert found.chi_squared()[1] == 0


@pytest.mark.parametrize(("row", "column"), [("sex", "sex"), ("sex", "colour")])
def test_a_cross_table_needs_two_columns_with_levels(row, column):
    with pytest.raises(ValueError, match="two columns"):
        cross_table(lambda *_: {}, row, column, LEVELS)


def test_a_table_of_other_levels_is_refused():
    with pytest.raises(UnusableReply, match="counts"):
        cross_table(lambda *_: {"counts": np.zeros((3, 3), dtype=np.int64)}, "stage", "sex", LEVELS)
