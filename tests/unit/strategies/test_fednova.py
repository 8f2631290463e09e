"""FedNova against a twin that follows the paper with the matrices G_i and vectors a_i, and what it removes."""

import numpy as np
import pytest
from flame_strategies import UnusableReply
from flame_strategies.fednova import FlameFedNova
from flwr.app import ConfigRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.support.sums_only import sums_only

SIZE = 2
START = np.array([4.0, -3.0])
numbers = st.floats(-5, 5, allow_subnormal=False)
losses = st.tuples(
    st.lists(st.floats(0.1, 3), min_size=SIZE, max_size=SIZE), st.lists(numbers, min_size=SIZE, max_size=SIZE)
)
sites_of = st.lists(st.tuples(losses, st.integers(1, 9), st.integers(1, 40)), min_size=2, max_size=5)
EXAMPLE = [(([1.0, 0.2], [3.0, 1.0]), 1, 5), (([0.3, 2.0], [-2.0, 4.0]), 9, 20), (([2.0, 1.0], [0.0, -3.0]), 3, 10)]


def norm(steps, momentum):
    """|a|_1 in closed form, as docs and module have it."""
    if momentum == 0:
        return float(steps)
    return (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)


def site(flower, loss, steps, examples, rate, momentum=0.0, *, normalise=True):
    """A ClientApp: gradient steps with momentum from 0, and the normalised model."""
    scale, target = map(np.array, loss)

    def app(message):
        x = message.content["arrays"]["w"].numpy()
        y, velocity = x, np.zeros(SIZE)
        for _ in range(steps):
            velocity = momentum * velocity + scale * (y - target)
            y = y - rate * velocity
        by = norm(steps, momentum) if normalise else 1.0
        return flower.update({"w": x + (y - x) / by}, examples, **{"local-steps": norm(steps, momentum)})

    return flower.behind_gate(app)


def grid_of(flower, sites, rate, momentum=0.0, **how):
    return flower.Grid({i + 1: site(flower, *one, rate, momentum, **how) for i, one in enumerate(sites)})


def twin(sites, rounds, rate, momentum):
    """x - tau_eff sum p_i eta G_i a_i / |a_i|_1, with every gradient in a column of G_i and its weight in a_i."""
    x, total = START.copy(), sum(examples for _, _, examples in sites)
    for _ in range(rounds):
        tau_eff, direction = 0.0, np.zeros(SIZE)
        for (scale, target), tau, examples in sites:
            a = [sum(momentum**k for k in range(tau - step)) for step in range(tau)]
            G, y = np.zeros((SIZE, tau)), x.copy()
            for step in range(tau):
                for j in range(SIZE):
                    G[j, step] = scale[j] * (y[j] - target[j])
                for j in range(SIZE):  # where the local optimiser is after this step
                    y[j] = x[j] - rate * sum(
                        G[j, k] * sum(momentum**i for i in range(step + 1 - k)) for k in range(step + 1)
                    )
            tau_eff += examples / total * sum(a)
            for j in range(SIZE):
                direction[j] += examples / total * sum(G[j, k] * a[k] for k in range(tau)) / sum(a)
        x = x - tau_eff * rate * direction
    return x


@settings(max_examples=40)
@given(sites=sites_of, rounds=st.integers(1, 4), rate=st.floats(0.01, 0.2), momentum=st.sampled_from([0.0, 0.5, 0.9]))
def test_equals_the_papers_formula(flower, sites, rounds, rate, momentum):
    """With plain steps and with momentum, steps and examples of each site its own."""
    strategy = FlameFedNova(evaluate=False)
    grid = grid_of(flower, sites, rate, momentum)
    result = strategy.start(grid, flower.model(w=START), num_rounds=rounds)
    expected = twin(sites, rounds, rate, momentum)
    assert_allclose(result.arrays["w"].numpy(), expected, rtol=1e-8, atol=1e-8)
    total = sum(examples for _, _, examples in sites)
    assert strategy.round_steps == pytest.approx(sum(n * norm(t, momentum) for _, t, n in sites) / total)


@given(sites=sites_of)
@settings(max_examples=20)
def test_masks_leave_the_result_as_it_is(flower, sites):
    """A product of two means over sites, each of which masks leave."""
    plain, masked = (
        FlameFedNova(evaluate=False)
        .start(wrap(grid_of(flower, sites, 0.1)), flower.model(w=START), num_rounds=3)
        .arrays["w"]
        .numpy()
        for wrap in (lambda grid: grid, sums_only)
    )
    assert_allclose(masked, plain, rtol=1e-10, atol=1e-12)


def test_with_equal_steps_it_is_fedavg(flower):
    """Then there is nothing to normalise."""
    from flame_strategies import FlameFedAvg

    sites = [(loss, 4, examples) for loss, _, examples in EXAMPLE]
    nova = FlameFedNova(evaluate=False).start(grid_of(flower, sites, 0.1), flower.model(w=START), num_rounds=5)
    average = FlameFedAvg(evaluate=False).start(
        grid_of(flower, sites, 0.1, normalise=False), flower.model(w=START), num_rounds=5
    )
    assert_allclose(nova.arrays["w"].numpy(), average.arrays["w"].numpy(), rtol=1e-12)


def test_the_objective_is_that_of_the_examples_however_many_steps_a_site_makes(flower):
    """As the step length falls; averaging ends at the optimum of the losses weighted by steps as well."""
    from flame_strategies import FlameFedAvg

    def optimum(weights):
        scales = np.array([np.array(loss[0]) * w for (loss, _, _), w in zip(EXAMPLE, weights, strict=True)])
        return (scales * [loss[1] for loss, _, _ in EXAMPLE]).sum(axis=0) / scales.sum(axis=0)

    def end(strategy, **how):
        grid = grid_of(flower, EXAMPLE, 0.01, **how)
        return strategy.start(grid, flower.model(w=START), num_rounds=200).arrays["w"].numpy()

    right = optimum([examples for _, _, examples in EXAMPLE])
    wrong = optimum([examples * steps for _, steps, examples in EXAMPLE])
    assert_allclose(end(FlameFedNova(evaluate=False)), right, atol=0.1)
    assert_allclose(end(FlameFedAvg(evaluate=False), normalise=False), wrong, atol=0.1)
    assert np.abs(right - wrong).max() > 0.3


def test_whole_numbers_are_averaged_as_they_are(flower):
    """A counter of batches is no direction."""

    def app(message):
        sent = {name: array.numpy() for name, array in message.content["arrays"].items()}
        return flower.update({"w": sent["w"] + 1, "seen": sent["seen"] + 5}, **{"local-steps": 3.0})

    grid = flower.Grid({n: flower.behind_gate(app) for n in (1, 2)})
    start = flower.model(w=np.zeros(2, np.float32), seen=np.array(2))
    arrays = FlameFedNova(evaluate=False).start(grid, start, num_rounds=1).arrays
    assert_array_equal(arrays["w"].numpy(), np.full(2, 3, np.float32))
    assert arrays["seen"].numpy() == 7


@pytest.mark.parametrize("steps", [None, 0.0, -1.0, float("nan"), float("inf"), [2.0]])
def test_a_reply_without_a_number_of_steps_is_not_used(flower, steps):
    """The round goes on with the others, and the table says whose reply it was."""

    def app(message):
        content = flower.update({"w": message.content["arrays"]["w"].numpy()})
        if steps is not None:
            content["metrics"]["local-steps"] = steps
        return content

    good = [flower.behind_gate(lambda m: flower.update({"w": m.content["arrays"]["w"].numpy()}, **{"local-steps": 2}))]
    grid = flower.Grid(dict(enumerate([*good * 2, flower.behind_gate(app)], 1)))
    strategy = FlameFedNova(evaluate=False)
    strategy.start(grid, flower.model(w=START), num_rounds=1)
    assert [(r.node_id, r.name) for r in strategy.refusals] == [(3, "UNUSABLE_REPLY")]
    assert strategy.round_steps == 2


def noised(flower, steps):
    """A gate of an enforced claim, which noises the metric as well."""

    def app(message):
        content = flower.update({"w": message.content["arrays"]["w"].numpy() + 1}, **{"local-steps": steps})
        content["flame"] = ConfigRecord({"ground": "enforced", "noise_std": 0.1, "clip_norm": 1.0})
        return content

    return flower.behind_gate(app)


def test_one_noised_number_of_steps_may_be_negative(flower):
    """It is the mean that counts."""
    grid = flower.Grid({1: noised(flower, -1.0), 2: noised(flower, 7.0)})
    arrays = FlameFedNova(evaluate=False).start(grid, flower.model(w=np.zeros(1)), num_rounds=1).arrays
    assert arrays["w"].numpy() == pytest.approx(3.0)


def test_a_noised_mean_below_zero_ends_the_run_with_the_way_on(flower):
    """The model would go backwards."""
    grid = flower.Grid({1: noised(flower, -8.0), 2: noised(flower, 7.0)})
    with pytest.raises(UnusableReply, match="set effective_steps"):
        FlameFedNova(evaluate=False).start(grid, flower.model(w=np.zeros(1)), num_rounds=1)


def test_a_stated_number_takes_the_means_place(flower):
    """The way on."""
    grid = flower.Grid({1: noised(flower, -8.0), 2: noised(flower, 7.0)})
    strategy = FlameFedNova(effective_steps=2.5, evaluate=False)
    assert strategy.start(grid, flower.model(w=np.zeros(1)), num_rounds=1).arrays["w"].numpy() == pytest.approx(2.5)


@pytest.mark.parametrize("steps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_stated_number_must_go_forward(steps):
    """Above 0 and finite."""
    with pytest.raises(ValueError, match="effective_steps"):
        FlameFedNova(effective_steps=steps)
