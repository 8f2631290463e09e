"""Quantiles over sites against numpy.quantile on the pooled rows: exact ones to the last bit."""

import numpy as np
import pytest
from federated_statistics.site_statistics import ANSWERS
from flame_strategies.errors import UnusableReply
from flame_strategies.quantiles import quantiles, quantiles_on_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tables import TableSites, split_table

Q = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def sites(homes, **numbers):
    return TableSites(split_table(numbers, homes), ANSWERS)


def pooled(x, q, method):
    return np.quantile(x[~np.isnan(x)], q, method=method)


@pytest.mark.parametrize("method", ["inverted_cdf", "linear"])
def test_all_columns_and_probabilities_at_once_in_eight_exchanges(method):
    rng = np.random.default_rng(0)
    n = 501
    data = {
        "normal": rng.normal(1e6, 1, n),
        "tiny": rng.normal(0, 1e-300, n),
        "rounded": rng.normal(20, 5, n).round(1),
        "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.lognormal(0, 3, n)),
    }
    exchange = sites(rng.integers(0, 5, n), **data)

    found = quantiles(exchange, list(data), Q, method=method)

    assert found.exchanges == len(exchange.asked) == 8
    assert set(exchange.asked) == {"query.ranks"}
    assert found.count.tolist() == [n, n, n, (~np.isnan(data["gaps"])).sum()]
    for row, x in zip(found.values, data.values(), strict=True):
        assert row.tolist() == pooled(x, Q, method).tolist()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=25),
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    points=st.sampled_from([1, 3, 255]),
)
def test_any_floats_and_ties_are_found_exactly(values, probabilities, points):
    x = np.array(values + values[:5])
    homes = np.arange(len(x)) % 3

    found = quantiles(sites(homes, x=x), ["x"], probabilities, points=points)

    # 0.0 and -0.0 are one number
    assert (found.values[0] == pooled(x, probabilities, "inverted_cdf")).all()
    assert found.exchanges <= np.ceil(64 / np.log2(points + 1)) + 1


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=12),
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_between_two_values_numpys_own_arithmetic(values, probabilities):
    x = np.array(values)

    found = quantiles(sites(np.arange(len(x)) % 2, x=x), ["x"], probabilities, method="linear")

    assert (found.values[0] == pooled(x, probabilities, "linear")).all()


def test_the_first_thresholds_lie_in_the_declared_range():
    asked = []
    exchange = sites([0, 1, 2], x=[-3.0, 4.0, 5.0])

    def watched(message_type, content):
        asked.append(content["reference"]["thresholds"])
        return exchange(message_type, content)

    quantiles(watched, ["x"], [0.5], ranges={"x": (-10, 10)}, points=5)

    assert asked[0].tolist() == [[-10.0, -5.0, 0.0, 5.0, 10.0]]


def test_whole_numbers_in_a_declared_range_take_one_exchange():
    rng = np.random.default_rng(1)
    age = rng.integers(18, 95, 300).astype(float)
    exchange = sites(rng.integers(0, 4, 300), age=age)

    found = quantiles(exchange, ["age"], Q, whole=["age"], ranges={"age": (0, 120)})

    assert found.exchanges == 1
    assert found.values[0].tolist() == pooled(age, Q, "inverted_cdf").tolist()


@pytest.mark.parametrize("whole", [(), ("x",)])
def test_a_range_that_does_not_hold_costs_exchanges_and_not_the_result(whole):
    x = np.array([5.0, 1000.0, -70.0, 12.0, 12.0, 3.0, 1e9])

    found = quantiles(sites([0, 1, 2, 0, 1, 2, 0], x=x), ["x"], Q, whole=whole, ranges={"x": (0, 10)})

    assert found.values[0].tolist() == pooled(x, Q, "inverted_cdf").tolist()


def test_what_is_declared_whole_and_is_not_is_rounded_up():
    x = np.array([1.2, 2.0, 3.7])

    found = quantiles(sites([0, 1, 2], x=x), ["x"], [0.0, 0.5, 1.0], whole=["x"], ranges={"x": (0, 10)})

    assert found.values[0].tolist() == [2.0, 2.0, 4.0]


def test_a_column_without_values_has_no_quantile():
    found = quantiles(sites([0, 1], x=[np.nan, np.nan], y=[1.0, 2.0]), ["x", "y"], [0.5], method="linear")

    assert np.isnan(found.values[0]).all()
    assert found.values[1].tolist() == [1.5]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-2, 12) | st.just(float("nan")), min_size=1, max_size=40).filter(
        lambda v: not np.isnan(v).all()
    ),
    bins=st.integers(1, 30),
)
def test_on_a_grid_the_error_is_within_the_bin_in_one_exchange(values, bins):
    x = np.array(values)
    exchange = sites(np.arange(len(x)) % 3, x=x)
    edges = np.linspace(0, 10, bins + 1)

    found = quantiles_on_grid(exchange, {"x": edges}, Q)

    exact = pooled(x, Q, "inverted_cdf")
    assert len(exchange.asked) == 1
    assert found.count[0] == (~np.isnan(x)).sum()
    assert ((found.low[0] <= exact) & (exact <= found.high[0])).all()
    inside = (exact >= 0) & (exact <= 10)
    assert (np.isnan(found.values[0]) == ~inside).all()
    assert (np.abs(found.values[0] - exact)[inside] <= 10 / bins * (1 + 1e-12)).all()


def test_a_grid_is_interpolated_evenly():
    x = np.arange(0.5, 100)  # one value in the middle of each unit

    found = quantiles_on_grid(sites(np.arange(100) % 3, x=x), {"x": [0.0, 50.0, 100.0]}, [0.1, 0.5, 0.9])

    assert found.values[0].tolist() == [10.0, 50.0, 90.0]


def test_a_column_without_values_has_no_quantile_on_a_grid():
    found = quantiles_on_grid(sites([0, 1], x=[np.nan, np.nan]), {"x": [0.0, 1.0]}, [0.5])

    assert found.count.tolist() == [0]
    assert np.isnan(found.values).all()


@pytest.mark.parametrize("q", [[], [-0.1], [1.1], [np.nan]])
def test_probabilities_lie_between_0_and_1(q):
    with pytest.raises(ValueError, match="probability"):
        quantiles(lambda *_: {}, ["x"], q)


@pytest.mark.parametrize("wrong", [{"method": "nearest"}, {"points": 0}, {"ranges": {"x": (3, 1)}}])
def test_arguments_out_of_range(wrong):
    with pytest.raises(ValueError, match=r"inverted_cdf|low one first"):
        quantiles(sites([0, 0], x=[1.0, 2.0]), ["x"], [0.5], **wrong)


def test_counts_that_were_blurred_end_the_search():
    def noisy(_message_type, content):
        at_most = np.zeros(content["reference"]["thresholds"].shape, dtype=np.int64)
        at_most[:, 10] = 5
        return {"at_most": at_most, "count": np.array([20])}

    with pytest.raises(UnusableReply, match="blurred"):
        quantiles(noisy, ["x"], [0.5])


def test_a_number_of_values_that_changes_ends_the_search():
    inner = sites([0, 1, 2], x=[1.0, 2.0, 3.0])

    def changing(message_type, content):
        sums = inner(message_type, content)
        return {**sums, "count": sums["count"] + len(inner.asked)}

    with pytest.raises(UnusableReply, match="changed"):
        quantiles(changing, ["x"], [0.5])
