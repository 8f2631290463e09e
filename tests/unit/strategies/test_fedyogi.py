"""FedYogi against a twin that follows algorithm 2 of the paper for one number at a time."""

import math

import numpy as np
import pytest
from flame_strategies.fedadam import AdamState, AdamTerms
from flame_strategies.fedyogi import FlameFedYogi, yogi_step
from flwr.app import ArrayRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

SITES, SIZE = 3, 2
START = np.array([0.5, -2.0])
numbers = st.floats(-10, 10, allow_subnormal=False)
changes = st.lists(
    st.lists(st.lists(numbers, min_size=SIZE, max_size=SIZE), min_size=SITES, max_size=SITES), min_size=1, max_size=5
)
weights = st.lists(st.integers(1, 50), min_size=SITES, max_size=SITES)
constants = st.builds(
    AdamTerms,
    eta=st.floats(0.01, 1),
    beta_1=st.floats(0, 0.99),
    beta_2=st.floats(0, 0.999),
    tau=st.floats(1e-3, 1),
)


def moving(flower, site, weight, rounds):
    """A site that moves the model by what is written down for the round."""

    def app(message):
        number = message.content["config"]["server-round"]
        return flower.update({"w": message.content["arrays"]["w"].numpy() + rounds[number - 1][site]}, weight)

    return flower.behind_gate(app)


def twin(rounds, weights, terms):
    """Algorithm 2 with FedYogi's line for v."""
    x, v = list(START), [terms.tau**2] * SIZE
    m = [0.0] * SIZE
    for moves in rounds:
        for j in range(SIZE):
            delta = sum(n * ((x[j] + move[j]) - x[j]) for n, move in zip(weights, moves, strict=True)) / sum(weights)
            m[j] = terms.beta_1 * m[j] + (1 - terms.beta_1) * delta
            if v[j] > delta * delta:
                v[j] -= (1 - terms.beta_2) * delta * delta
            elif v[j] < delta * delta:
                v[j] += (1 - terms.beta_2) * delta * delta
            x[j] += terms.eta * m[j] / (math.sqrt(v[j]) + terms.tau)
    return x, v


@settings(max_examples=40)
@given(rounds=changes, examples=weights, terms=constants)
def test_equals_the_papers_algorithm(flower, rounds, examples, terms):
    """Models and second moments after random rounds, with the mean by examples."""
    nodes = {i + 1: moving(flower, i, examples[i], rounds) for i in range(SITES)}
    strategy = FlameFedYogi(yogi=terms, evaluate=False)
    result = strategy.start(flower.Grid(nodes), flower.model(w=START), num_rounds=len(rounds))
    x, v = twin(rounds, examples, terms)
    assert_allclose(result.arrays["w"].numpy(), x, rtol=1e-9, atol=1e-9)
    assert_allclose(strategy.state.v["w"], v, rtol=1e-9, atol=1e-9)


@given(changes=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50), beta_2=st.floats(0, 0.999))
def test_the_second_moment_never_falls_below_zero(changes, beta_2):
    """Its root stays a number."""
    terms = AdamTerms(beta_2=beta_2)
    model, state = {"w": np.zeros(1)}, AdamState.start({"w": np.zeros(1)}, terms)
    for change in changes:
        model, state = yogi_step(model, {"w": model["w"] + change}, state, terms)
        assert state.v["w"][0] >= 0
        assert np.isfinite(model["w"]).all()


def test_it_forgets_a_large_change_slower_than_fedadam():
    """The reason to take it: v falls by at most (1 - beta_2) d^2 a round."""
    terms, model = AdamTerms(beta_2=0.5), {"w": np.zeros(1)}
    state = AdamState({"w": np.zeros(1)}, {"w": np.array([100.0])})
    for _ in range(5):
        _, state = yogi_step(model, {"w": np.ones(1)}, state, terms)
    assert state.v["w"][0] == pytest.approx(100 - 5 * 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(flower, dtype):
    """Model and saved state after two rounds of four are all that the third needs."""
    rounds = np.random.default_rng(1).normal(size=(4, SITES, SIZE)).astype(dtype).tolist()
    start = flower.model(w=START.astype(dtype))

    def run(strategy, arrays, part):
        nodes = {i + 1: moving(flower, i, i + 1, part) for i in range(SITES)}
        return strategy.start(flower.Grid(nodes), arrays, num_rounds=len(part)).arrays

    whole = run(FlameFedYogi(evaluate=False), start, rounds)
    first, second = FlameFedYogi(evaluate=False), FlameFedYogi(evaluate=False)
    half = run(first, start, rounds[:2])
    second.load_state({name: np.array(array) for name, array in first.save_state().items()})
    assert_array_equal(run(second, ArrayRecord(dict(half)), rounds[2:])["w"].numpy(), whole["w"].numpy())


def test_there_is_no_state_before_the_first_round():
    """A checkpoint of nothing loads as nothing."""
    strategy = FlameFedYogi()
    assert strategy.save_state() == {}
    strategy.load_state({})
    assert strategy.state is None


@pytest.mark.parametrize(
    "state",
    [
        {"m/w": np.zeros(2)},
        {"m/w": np.zeros(2), "v/w": np.zeros(3)},
        {"m/w": np.zeros(2), "v/u": np.zeros(2)},
        {"m/w": np.zeros(2), "v/w": np.zeros(2), "control/w": np.zeros(2)},
    ],
    ids=["half", "shapes", "names", "of another strategy"],
)
def test_another_state_is_refused(state):
    """Rather than a run that goes on with half of it."""
    strategy = FlameFedYogi()
    with pytest.raises(ValueError, match="first and second moments"):
        strategy.load_state(state)
    assert strategy.state is None
