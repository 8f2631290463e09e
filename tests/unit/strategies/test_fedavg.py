"""Federated averaging on approved nodes, against a naive twin."""

import numpy as np
import pytest
from flame_strategies import FlameFedAvg, NotEnoughNodes
from flame_strategies.averaging import weighted_mean
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from numpy.testing import assert_allclose, assert_array_equal

RNG = np.random.default_rng(7)
START = {"w": RNG.normal(size=(3, 2)).astype(np.float32), "b": RNG.normal(size=2)}
TARGETS = {11: 1.0, 5: -2.0, 903: 0.5, 8: 4.0}
WEIGHTS = {11: 10, 5: 30, 903: 7, 8: 1}


def learner(flower, node, *, fails=None):
    """Moves the model halfway to the node's target; `fails` maps rounds to another answer."""

    def app(message):
        server_round = message.content["config"]["server-round"]
        if fails and server_round in fails:
            return fails[server_round]
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
        if message.metadata.message_type == "evaluate":
            return RecordDict({"metrics": MetricRecord({"num-examples": WEIGHTS[node], "mae": TARGETS[node]})})
        moved = {name: (array + TARGETS[node]) / 2 for name, array in arrays.items()}
        return flower.update(moved, WEIGHTS[node], loss=TARGETS[node] ** 2)

    return flower.behind_gate(app)


def naive_fedavg(nodes, rounds):
    """FedAvg in plain loops over the coordinates."""
    model = {name: array.astype(np.float64) for name, array in START.items()}
    total = sum(WEIGHTS[node] for node in nodes)
    for _ in range(rounds):
        for array in model.values():
            for index in np.ndindex(array.shape):
                array[index] = sum(WEIGHTS[n] * (array[index] + TARGETS[n]) / 2 for n in sorted(nodes)) / total
    return model


def arrays_of(record):
    return {name: array.numpy() for name, array in record.items()}


def test_equals_the_naive_twin(flower):
    """Three rounds over four nodes give the twin's model, in the dtype of the start."""
    grid = flower.Grid({node: learner(flower, node) for node in TARGETS})
    result = FlameFedAvg(min_nodes=4).start(grid, flower.model(**START), num_rounds=3)
    for name, expected in naive_fedavg(TARGETS, 3).items():
        got = result.arrays[name].numpy()
        assert got.dtype == START[name].dtype
        assert_allclose(got, expected, rtol=1e-6 if got.dtype == np.float32 else 1e-13)


def test_the_order_of_replies_does_not_matter(flower):
    """Replies in reverse give the same bits."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    results = [
        FlameFedAvg(min_nodes=4).start(flower.Grid(nodes, backwards=backwards), flower.model(**START), num_rounds=3)
        for backwards in (False, True)
    ]
    for name in START:
        assert_array_equal(results[0].arrays[name].numpy(), results[1].arrays[name].numpy())


def test_nodes_that_did_not_approve_get_no_message(flower):
    """Training and evaluation go to approved nodes only; the refusal is kept."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    nodes[5] = flower.behind_gate(lambda _m: pytest.fail("a refusing node was asked"), Error(901, "not approved"))
    nodes[77] = lambda m: Error(2, "no gate") if "flame" in m.metadata.message_type else pytest.fail("asked")
    grid = flower.Grid(nodes)
    strategy = FlameFedAvg(min_nodes=3)
    result = strategy.start(grid, flower.model(**START), num_rounds=2)
    assert grid.legs("train") == grid.legs("evaluate") == [8, 11, 903] * 2
    assert [(r.server_round, r.node_id, r.code) for r in strategy.refusals] == [(0, 5, 901)]
    assert_allclose(result.arrays["b"].numpy(), naive_fedavg([8, 11, 903], 2)["b"], rtol=1e-13)


@pytest.mark.parametrize(("code", "rounds_asked"), [(903, 1), (907, 1), (906, 3), (905, 3)])
def test_a_final_refusal_ends_a_nodes_part_and_a_passing_one_does_not(flower, code, rounds_asked):
    """A node with its budget spent is not asked again; one whose sandbox failed is."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    nodes[8] = learner(flower, 8, fails=dict.fromkeys(range(4), Error(code, "no")))
    grid = flower.Grid(nodes)
    strategy = FlameFedAvg(min_nodes=3, evaluate=False)
    strategy.start(grid, flower.model(**START), num_rounds=3)
    assert grid.legs("train").count(8) == rounds_asked
    assert [(r.server_round, r.code) for r in strategy.refusals] == [(i + 1, code) for i in range(rounds_asked)]


def test_too_few_contributions_end_the_run_and_keep_the_last_model(flower):
    """The error lists who failed; the model of the round before is still there."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    nodes[8] = learner(flower, 8, fails={2: Error(903, "budget exhausted")})
    nodes[11] = learner(flower, 11, fails={2: None})
    strategy = FlameFedAvg(min_nodes=3, evaluate=False)
    with pytest.raises(NotEnoughNodes, match=r"Round 2: 2 of the required 3(.|\n)*8.*903(.|\n)*11.*NO_ANSWER"):
        strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=3)
    assert_allclose(strategy.arrays["b"].numpy(), naive_fedavg(TARGETS, 1)["b"], rtol=1e-13)


def test_too_few_approvals_end_the_run_before_training(flower):
    """Nothing but the question goes out."""
    grid = flower.Grid({node: flower.behind_gate(None, Error(902, "pending")) for node in TARGETS})
    with pytest.raises(NotEnoughNodes, match="902 PENDING_APPROVAL"):
        FlameFedAvg(min_nodes=2).start(grid, flower.model(**START))
    assert {leg for _, leg in grid.sent} == {"query.flame_status"}


BAD_REPLIES = {
    "no weight": lambda flower: flower.update(START, float("nan")),
    "zero weight": lambda flower: flower.update(START, 0),
    "other shape": lambda flower: flower.update({"w": START["w"].T, "b": START["b"]}),
    "missing array": lambda flower: flower.update({"w": START["w"]}),
    "not finite": lambda flower: flower.update({"w": START["w"], "b": START["b"] * np.inf}),
    "other metrics": lambda flower: flower.update(START, 1, accuracy=1.0),
    "nothing": lambda _flower: RecordDict(),
}


@pytest.mark.parametrize("kind", BAD_REPLIES)
def test_an_unusable_reply_is_its_nodes_failure(flower, kind):
    """The other nodes' mean is formed without it, and the node is listed."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    nodes[903] = learner(flower, 903, fails={1: BAD_REPLIES[kind](flower)})
    strategy = FlameFedAvg(min_nodes=3, evaluate=False)
    result = strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=1)
    assert_allclose(result.arrays["b"].numpy(), naive_fedavg([5, 8, 11], 1)["b"], rtol=1e-13)
    assert [(r.node_id, r.name) for r in strategy.refusals] == [(903, "UNUSABLE_REPLY")]


def test_metrics_are_weighted_and_missing_evaluations_give_no_result(flower):
    """Means weighted by num-examples; a round in which too few evaluate has no result and does not end the run."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    result = FlameFedAvg(min_nodes=4).start(flower.Grid(nodes), flower.model(**START), num_rounds=1)
    mean = sum(WEIGHTS[n] * TARGETS[n] for n in TARGETS) / sum(WEIGHTS.values())
    assert result.evaluate_metrics_clientapp[1]["mae"] == pytest.approx(mean, rel=1e-12)

    def only_trains(message):
        return None if message.metadata.message_type == "evaluate" else learner(flower, 8)(message)

    grid = flower.Grid(nodes | {8: only_trains})
    result = FlameFedAvg(min_nodes=4).start(grid, flower.model(**START), num_rounds=2)
    assert result.evaluate_metrics_clientapp == {}
    assert set(result.train_metrics_clientapp) == {1, 2}


def test_every_wait_is_bounded(flower):
    """Each exchange carries the strategy's own timeout, or that of `start`."""
    nodes = {node: learner(flower, node) for node in TARGETS}
    for own, expected in ((None, 900.0), (5.0, 5.0)):
        grid = flower.Grid(nodes)
        FlameFedAvg().start(grid, flower.model(**START), num_rounds=1, timeout=own)
        assert grid.timeouts == [60.0, expected, expected]


def test_integer_arrays_are_rounded(flower):
    """A counter among the arrays stays an integer, at the nearest mean."""
    counters = {1: 3, 2: 4, 3: 4}
    nodes = {n: flower.behind_gate(lambda _m, c=c: flower.update({"steps": np.array(c)})) for n, c in counters.items()}
    start = ArrayRecord({"steps": Array(np.array(0))})
    result = FlameFedAvg(evaluate=False).start(flower.Grid(nodes), start, num_rounds=1)
    assert result.arrays["steps"].numpy() == 4
    assert result.arrays["steps"].numpy().dtype == np.int64


def test_the_callers_configuration_is_left_alone(flower):
    """The round number goes into the message, not into the record that was passed in."""
    config = ConfigRecord({"lr": 0.1})
    grid = flower.Grid({node: learner(flower, node) for node in TARGETS})
    FlameFedAvg(evaluate=False).start(grid, flower.model(**START), num_rounds=2, train_config=config)
    assert dict(config) == {"lr": 0.1}
    assert [m.content["config"]["server-round"] for m in grid.messages[4:]] == [1] * 4 + [2] * 4


def test_a_weight_of_zero_is_refused():
    """A mean over no patients is an error, not a division by zero."""
    with pytest.raises(ValueError, match="num-examples"):
        weighted_mean([{"x": np.ones(1)}], [0.0])
