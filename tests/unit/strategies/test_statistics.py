"""Summaries and covariances over sites against pandas on the pooled rows."""

import numpy as np
import pandas as pd
import pytest
from federated_statistics.site_statistics import ANSWERS
from flame_strategies.errors import UnusableReply
from flame_strategies.statistics import covariance, summarise
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tests.support.tables import TableSites, split_table

EXACT = 1e-10
NAMES = ("far", "small", "wide", "twin")


def rows(n=400, seed=0, *, missing=0.0):
    """Columns far from 0, tiny, wide, and one that follows the first."""
    rng = np.random.default_rng(seed)
    far = 1e6 + rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "far": far,
            "small": rng.normal(-3e-9, 1e-9, n),
            "wide": rng.lognormal(2, 1.5, n),
            "twin": 2 * (far - 1e6) + rng.normal(size=n),
        }
    )
    return frame.mask(rng.random(frame.shape) < missing), rng.integers(0, 5, n)


def sites(frame, homes):
    return TableSites(split_table({name: frame[name] for name in frame}, homes), ANSWERS)


def uncentred(exchange):
    """A hub that does not locate the columns first."""
    p = len(NAMES)
    reference = {"centre": np.zeros(p), "scale": np.ones(p)}
    return exchange("query.moments", {"ask": {"columns": list(NAMES)}, "reference": reference})


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_summary_equals_pandas_in_two_exchanges(missing):
    frame, homes = rows(missing=missing)
    exchange = sites(frame, homes)

    found = summarise(exchange, NAMES)

    assert exchange.asked == ["query.moments"] * 2
    assert found.rows == len(frame)
    assert found.count.tolist() == frame.count().tolist()
    assert found.missing.tolist() == frame.isna().sum().tolist()
    assert_allclose(found.mean, frame.mean(), rtol=EXACT)
    assert_allclose(found.variance, frame.var(), rtol=EXACT)
    assert_allclose(found.sd, frame.std(), rtol=EXACT)


def test_one_exchange_would_not_do_for_a_mean_of_a_million():
    frame, homes = rows()
    sums = uncentred(sites(frame, homes))
    n = len(frame)
    naive = (sums["sum_zz"] - sums["sum_z"] ** 2 / n) / (n - 1)

    assert abs(naive[0] / frame["far"].var() - 1) > 1e-6


def test_ranges_change_the_first_exchange_and_not_the_result():
    frame, homes = rows()
    exchange = sites(frame, homes)
    asked = []

    def watched(message_type, content):
        asked.append(content["reference"])
        return exchange(message_type, content)

    found = summarise(watched, NAMES, ranges={"far": (9e5, 1.1e6)})

    assert asked[0]["centre"].tolist() == [1e6, 0, 0, 0]
    assert asked[0]["scale"].tolist() == [1e5, 1, 1, 1]
    assert_allclose(found.mean, frame.mean(), rtol=EXACT)
    assert_allclose(found.variance, frame.var(), rtol=EXACT)


@pytest.mark.parametrize("kind", ["complete", "pairwise"])
def test_what_the_first_exchange_loses_the_second_one_puts_right(kind):
    """As the rounding of a secure sum may: places off by a standard deviation, spreads by half."""
    frame, homes = rows()
    exchange = sites(frame, homes)

    def lossy(message_type, content):
        first = not exchange.asked
        sums = dict(exchange(message_type, content))
        if first:
            count = sums["count"]
            mean = sums["sum_z"] / count
            variance = sums["sum_zz"] / count - mean**2
            moved = mean + np.sqrt(frame.var().to_numpy())
            sums |= {"sum_z": count * moved, "sum_zz": count * (moved**2 + 2 * np.maximum(variance, 0))}
        return sums

    found = summarise(lossy, NAMES)
    exchange.asked.clear()
    pairs = covariance(lossy, NAMES, rows=kind)

    assert_allclose(found.mean, frame.mean(), rtol=EXACT)
    assert_allclose(found.variance, frame.var(), rtol=EXACT)
    assert_allclose(pairs.correlation, frame.corr(), rtol=0, atol=EXACT)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=30),
    offset=st.sampled_from([0.0, 1e9]),
    data=st.data(),
)
def test_any_split_gives_the_pooled_summary(values, offset, data):
    column = np.array(values) + offset
    homes = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    frame = pd.DataFrame({"x": column})

    found = summarise(sites(frame, homes), ["x"])

    assert found.count[0] == frame["x"].count()
    assert_allclose(found.mean[0], frame["x"].mean(), rtol=1e-12, atol=1e-12)
    # float64 itself holds a value only to 1e-16 of its size
    assert_allclose(found.variance[0], frame["x"].var(), rtol=1e-9, atol=(1e-15 * (1 + abs(offset) + 1e6)) ** 2)


def test_columns_without_values_or_with_one_have_no_mean_or_variance():
    frame = pd.DataFrame({"none": [np.nan] * 3, "one": [np.nan, 4.0, np.nan], "same": [7.0] * 3})

    found = summarise(sites(frame, [0, 1, 1]), list(frame))

    assert found.count.tolist() == [0, 1, 3]
    assert_allclose(found.mean, [np.nan, 4.0, 7.0])
    assert_allclose(found.variance, [np.nan, np.nan, 0.0], atol=1e-25)


@pytest.mark.parametrize("kind", ["complete", "pairwise"])
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_covariances_and_correlations_equal_pandas_in_two_exchanges(kind, missing):
    frame, homes = rows(missing=missing)
    pooled = frame if kind == "pairwise" else frame.dropna()
    exchange = sites(frame, homes)

    found = covariance(exchange, NAMES, rows=kind)

    assert len(exchange.asked) == 2
    present = pooled.notna().to_numpy().astype(int)
    assert found.count.tolist() == (present.T @ present).tolist()
    assert_allclose(found.mean, pooled.mean(), rtol=EXACT)
    spread = np.sqrt(np.outer(pooled.var(), pooled.var()))
    assert_allclose(found.covariance / spread, centred(pooled) / spread, rtol=0, atol=EXACT)
    assert_allclose(found.correlation, pooled.corr(), rtol=0, atol=EXACT)
    assert_allclose(np.diagonal(found.correlation), 1.0, rtol=EXACT)


def centred(frame):
    """Pairwise covariances of the columns less a whole number near their mean, which is exact."""
    return (frame - frame.mean().round()).cov()


def test_pairwise_and_complete_rows_differ_where_values_are_missing():
    frame, homes = rows(missing=0.15)

    pairwise, complete = (covariance(sites(frame, homes), NAMES, rows=kind) for kind in ("pairwise", "complete"))

    assert pairwise.count[0, 1] > complete.count[0, 1]
    assert np.abs(pairwise.correlation - complete.correlation).max() > 1e-3


def test_a_column_that_does_not_vary_has_no_correlation():
    frame = pd.DataFrame({"x": [1.0, 2, 4, 3], "same": [1e6] * 4})

    found = covariance(sites(frame, [0, 0, 1, 1]), list(frame))

    assert np.isnan(found.correlation[1]).all()
    assert np.isnan(found.correlation[0, 1])
    assert found.correlation[0, 0] == 1.0
    assert_allclose(found.covariance[0, 0], frame["x"].var())


def test_too_few_common_rows_give_no_number():
    frame = pd.DataFrame({"x": [1.0, 2, np.nan, np.nan], "y": [np.nan, 5.0, 6.0, 7.0]})

    found = covariance(sites(frame, [0, 0, 1, 1]), list(frame), rows="pairwise")

    assert found.count.tolist() == [[2, 1], [1, 3]]
    assert np.isnan(found.covariance[0, 1])
    assert np.isnan(found.correlation[0, 1])
    assert_allclose(np.diagonal(found.covariance), frame.var())


@pytest.mark.parametrize("columns", [[], ["x", "x"]])
def test_columns_are_named_once(columns):
    with pytest.raises(ValueError, match="each of them once"):
        summarise(lambda *_: {}, columns)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf)])
def test_a_range_is_two_finite_numbers(bounds):
    with pytest.raises(ValueError, match="low one first"):
        summarise(lambda *_: {}, ["x"], ranges={"x": bounds})


def test_rows_are_complete_or_pairwise():
    with pytest.raises(ValueError, match="complete or pairwise"):
        covariance(lambda *_: {}, ["x"], rows="all")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({}, "came without it"),
        ({"count": np.array([3, 4])}, r"of shape \[2\]"),
        ({"count": np.array([-1])}, "negative count"),
    ],
)
def test_sums_that_are_not_those_of_the_columns_are_refused(broken, words):
    good = {"n": np.array([3]), "sum_z": np.zeros(1), "sum_zz": np.ones(1)}

    with pytest.raises(UnusableReply, match=words):
        summarise(lambda *_: {**good, **broken}, ["x"])
