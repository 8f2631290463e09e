"""Sums over sites."""

import numpy as np
import pytest
from flame_strategies import GridExchange, NotEnoughNodes, SiteLost, UnusableReply, sum_of_sites
from flame_strategies.sums import add_up
from flwr.app import Array, ArrayRecord, Error, MetricRecord, RecordDict
from numpy.testing import assert_array_equal


def reply(**arrays):
    return RecordDict(
        {
            "sums": ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord({"num-examples": 3}),
        }
    )


def ask(grid, nodes, **terms):
    return sum_of_sites(grid, nodes, "query.x", RecordDict(), **{"min_nodes": 1, "timeout": 1.0, **terms})


def test_sums_run_in_node_order_and_keep_integers(flower):
    """float64 in ascending order of the node id, whatever the order of replies; integers stay int64."""
    values = {9: 1e16, 3: 1.0, 4: -1e16}
    nodes = {n: lambda _m, v=v: reply(x=np.array([v]), n=np.array([2], dtype=np.int32)) for n, v in values.items()}
    for backwards in (False, True):
        result = ask(flower.Grid(nodes, backwards=backwards), [9, 4, 3])
        assert result.arrays["x"][0] == (1.0 + -1e16) + 1e16
        assert result.arrays["n"].dtype == np.int64
        assert result.arrays["n"][0] == 6
        assert result.nodes == (3, 4, 9)
        assert result.metrics[9] == {"num-examples": 3}


def test_float32_is_summed_in_float64(flower):
    """Single precision replies do not lose digits in the sum."""
    nodes = {n: lambda _m: reply(x=np.array([0.1], dtype=np.float32)) for n in range(1, 11)}
    result = ask(flower.Grid(nodes), nodes)
    assert result.arrays["x"].dtype == np.float64
    assert result.arrays["x"][0] == pytest.approx(10 * float(np.float32(0.1)), rel=1e-15)


@pytest.mark.parametrize(
    "odd",
    [
        {"x": np.ones(3), "y": np.ones(1)},
        {"x": np.ones(2)},
        {"x": np.ones(3, dtype=np.int64)},
        {"x": np.array([1.0, np.nan, 1.0])},
        {"x": np.array(["a", "b", "c"])},
    ],
)
def test_replies_that_do_not_fit_name_the_node(odd):
    """Other names, shapes, kinds, or values that are not finite."""
    with pytest.raises(UnusableReply, match="Node 2 "):
        add_up({1: {"x": np.ones(3)}, 2: odd})


def test_a_reply_without_the_record_names_the_node(flower):
    """The mend is to return the record."""
    with pytest.raises(UnusableReply, match=r"Node 4 .*'sums'"):
        ask(flower.Grid({4: lambda _m: RecordDict()}), [4])


def test_refusals_are_collected_and_too_few_contributions_are_an_error(flower):
    """Refusing and silent nodes are listed with reasons; below the minimum there is no sum."""
    nodes = {
        1: lambda _m: reply(x=[1.0]),
        2: lambda _m: Error(904, "release rejected"),
        3: lambda _m: None,
        4: lambda _m: Error(901, "not approved"),
    }
    grid = flower.Grid(nodes, backwards=True)
    result = ask(grid, [1, 2, 3, 4])
    assert [(r.node_id, r.code, r.name) for r in result.refusals] == [
        (2, 904, "RELEASE_REJECTED"),
        (3, 0, "NO_ANSWER"),
        (4, 901, "NOT_APPROVED"),
    ]
    with pytest.raises(NotEnoughNodes, match=r"1 of the required 2 .*node 2: 904 RELEASE_REJECTED.*node 3"):
        ask(grid, [1, 2, 3], min_nodes=2)


def test_a_site_lost_in_the_middle_ends_the_fit(flower):
    """The first exchange decides which nodes the fit is of; losing one raises, and names it."""
    spent = []

    def tires(_message):
        spent.append(1)
        return reply(x=[1.0]) if len(spent) == 1 else Error(903, "budget exhausted")

    grid = flower.Grid({1: lambda _m: reply(x=[1.0]), 2: tires, 3: lambda _m: Error(901, "no")}, ungated=True)
    exchange = GridExchange(grid, [1, 2, 3], min_nodes=1)
    assert exchange("query.a", {})["x"][0] == 2.0
    assert exchange.sites == (1, 2)
    with pytest.raises(SiteLost, match=r"Nodes 2 .*903 BUDGET_EXHAUSTED") as lost:
        exchange("query.b", {})
    assert lost.value.node_ids == (2,)
    assert grid.legs("query.b") == [1, 2]


def test_content_becomes_records(flower):
    """Arrays travel in an ArrayRecord with their bits, settings in a ConfigRecord."""
    seen = []

    def node(message):
        seen.append(message.content)
        return reply(x=[1.0])

    columns = np.array([5, 7])
    GridExchange(flower.Grid({1: node}, ungated=True), [1], min_nodes=1)(
        "query.columns", {"reference": {"columns": columns, "view": np.eye(3)[:, 1]}, "folds": {"folds": 5}}
    )
    assert_array_equal(seen[0]["reference"]["columns"].numpy(), columns)
    assert_array_equal(seen[0]["reference"]["view"].numpy(), [0, 1, 0])
    assert seen[0]["folds"]["folds"] == 5
