"""SCAFFOLD against a twin that follows algorithm 1 of the paper, and what it does where sites come and go."""

import numpy as np
import pytest
from flame_strategies import NotEnoughNodes
from flame_strategies.scaffold import FlameScaffold, without_control
from flwr.app import Array, ArrayRecord, Error
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.support.sums_only import sums_only

SIZE, RATE = 2, 0.1
START = np.array([4.0, -3.0])
numbers = st.floats(-5, 5, allow_subnormal=False)
# a site's loss is sum_j scale_j (w_j - target_j)^2 / 2
losses = st.lists(
    st.tuples(
        st.lists(st.floats(0.1, 3), min_size=SIZE, max_size=SIZE), st.lists(numbers, min_size=SIZE, max_size=SIZE)
    ),
    min_size=2,
    max_size=5,
)


class Site:
    """What a ClientApp does; its own control variate is all it remembers."""

    def __init__(self, flower, scale, target, examples=1, steps=4):
        self.flower, self.steps, self.examples = flower, steps, examples
        self.scale, self.target = np.array(scale), np.array(target)
        self.own, self.gone = np.zeros(SIZE), False

    def __call__(self, message):
        if self.gone:
            return Error(code=907, reason="withdrawn")
        if message.metadata.message_type == "evaluate":
            return self.flower.update({}, self.examples)
        sent = {name: array.numpy() for name, array in message.content["arrays"].items()}
        x, c = sent["w"], sent["control/w"]
        y = x
        for _ in range(self.steps):
            y = y - RATE * (self.scale * (y - self.target) - self.own + c)
        self.own = self.own - c + (x - y) / (self.steps * RATE)
        rest = {name: array for name, array in sent.items() if name not in {"w", "control/w"}}
        return self.flower.update({"w": y, "control/w": self.own} | rest, self.examples)


def grid_of(flower, sites):
    return flower.Grid({i + 1: flower.behind_gate(site) for i, site in enumerate(sites)})


def twin(losses, rounds, steps, global_rate, shares):
    """Algorithm 1, option II, number by number: clients send changes, the server adds them up."""
    n = len(losses)
    x, c = list(START), [0.0] * SIZE
    own = [[0.0] * SIZE for _ in range(n)]
    for _ in range(rounds):
        dx, dc = [0.0] * SIZE, [0.0] * SIZE
        for i, (scale, target) in enumerate(losses):
            y = list(x)
            for _ in range(steps):
                for j in range(SIZE):
                    gradient = scale[j] * (y[j] - target[j])
                    y[j] = y[j] - RATE * (gradient - own[i][j] + c[j])
            for j in range(SIZE):
                new = own[i][j] - c[j] + (x[j] - y[j]) / (steps * RATE)
                dx[j] += shares[i] * (y[j] - x[j])
                dc[j] += shares[i] * (new - own[i][j])
                own[i][j] = new
        for j in range(SIZE):
            x[j] += global_rate * dx[j]
            c[j] += dc[j]  # |S| / N = 1
    return x, c


@settings(max_examples=40)
@given(losses=losses, rounds=st.integers(1, 5), steps=st.integers(1, 5), rate=st.floats(0.2, 1.5), equal=st.booleans())
def test_equals_the_papers_algorithm(flower, losses, rounds, steps, rate, equal):
    """Model and control variate after random rounds; with equal numbers of examples the shares are the paper's."""
    examples = [1 if equal else i + 1 for i in range(len(losses))]
    sites = [Site(flower, *loss, n, steps) for loss, n in zip(losses, examples, strict=True)]
    strategy = FlameScaffold(global_rate=rate, evaluate=False)
    result = strategy.start(grid_of(flower, sites), flower.model(w=START), num_rounds=rounds)
    x, c = twin(losses, rounds, steps, rate, [n / sum(examples) for n in examples])
    assert_allclose(result.arrays["w"].numpy(), x, rtol=1e-8, atol=1e-8)
    assert_allclose(strategy.control["w"], c, rtol=1e-8, atol=1e-8)


LOSSES = [([1.0, 0.2], [3.0, 1.0]), ([0.3, 2.0], [-2.0, 4.0]), ([2.0, 1.0], [0.0, -3.0])]
EXAMPLES = [5, 20, 10]


def optimum(which):
    """Of the weighted sum of the losses of these sites."""
    scales = np.array([np.array(LOSSES[i][0]) * EXAMPLES[i] for i in which])
    return (scales * [LOSSES[i][1] for i in which]).sum(axis=0) / scales.sum(axis=0)


def run(flower, sites, rounds, strategy=None, arrays=None):
    strategy = strategy or FlameScaffold(min_nodes=2, evaluate=False)
    done = strategy.start(grid_of(flower, sites), arrays or flower.model(w=START), num_rounds=rounds)
    return done.arrays, strategy


def three(flower):
    return [Site(flower, *loss, n, steps=8) for loss, n in zip(LOSSES, EXAMPLES, strict=True)]


def test_the_fixed_point_is_the_pooled_optimum(flower):
    """With the sites' examples as weights, whatever the number of local steps."""
    arrays, _ = run(flower, three(flower), 100)
    assert_allclose(arrays["w"].numpy(), optimum([0, 1, 2]), atol=1e-9)


def test_a_site_that_leaves_for_good_leaves_nothing_in_the_model(flower):
    """After its withdrawal the others go to the optimum of their own patients."""
    sites = three(flower)
    arrays, strategy = run(flower, sites, 5)
    sites[1].gone = True
    arrays, _ = run(flower, sites, 100, strategy, arrays)
    assert_allclose(arrays["w"].numpy(), optimum([0, 2]), atol=1e-9)


def test_a_site_that_lost_its_session_costs_no_bias(flower):
    """Its own control variate starts again from 0 in the middle of the run."""
    sites = three(flower)
    arrays, strategy = run(flower, sites, 20)
    sites[1].own = np.zeros(SIZE)
    arrays, _ = run(flower, sites, 100, strategy, arrays)
    assert_allclose(arrays["w"].numpy(), optimum([0, 1, 2]), atol=1e-9)


def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(flower):
    """The model, the server's control variate, and the sites' sessions, which go on."""
    whole, _ = run(flower, three(flower), 6)
    sites = three(flower)
    half, first = run(flower, sites, 3)
    second = FlameScaffold(evaluate=False)
    second.load_state({name: np.array(array) for name, array in first.save_state().items()})
    resumed, _ = run(flower, sites, 3, second, half)
    assert_array_equal(resumed["w"].numpy(), whole["w"].numpy())


def test_the_control_variate_is_in_training_messages_only(flower):
    """Beside the model in its own record; evaluation and result are the model alone."""
    seen = {}

    class Looking(Site):
        def __call__(self, message):
            seen.setdefault(message.metadata.message_type, []).append(set(message.content["arrays"]))
            return super().__call__(message)

    strategy = FlameScaffold()
    sites = [Looking(flower, *loss) for loss in LOSSES]
    arrays, _ = run(flower, sites, 2, strategy)
    assert seen == {"train": [{"w", "control/w"}] * 6, "evaluate": [{"w"}] * 6}
    assert set(arrays) == set(strategy.arrays) == {"w"}


def test_whole_numbers_have_no_control_variate_and_dtypes_stay(flower):
    """A counter is averaged; float32 travels as float32."""

    def app(message):
        sent = {name: array.numpy() for name, array in message.content["arrays"].items()}
        assert {name: str(array.dtype) for name, array in sent.items()} == {
            "w": "float32",
            "control/w": "float32",
            "seen": "int64",
        }
        return flower.update({"w": sent["w"] + 1, "control/w": sent["control/w"] + 0.1, "seen": sent["seen"] + 3})

    strategy = FlameScaffold(evaluate=False, global_rate=0.5)
    grid = flower.Grid({n: flower.behind_gate(app) for n in (1, 2)})
    start = flower.model(w=np.zeros(2, np.float32), seen=np.array(1))
    arrays = strategy.start(grid, start, num_rounds=2).arrays
    assert_array_equal(arrays["w"].numpy(), np.ones(2, np.float32))
    assert arrays["seen"].numpy() == 7
    assert strategy.control["w"].dtype == np.float32


def test_after_a_round_that_failed_the_model_of_the_last_complete_one_is_there(flower):
    """Without the control variate, which the strategy has besides."""
    sites = three(flower)
    arrays, strategy = run(flower, sites, 2)
    control = strategy.control["w"].copy()
    sites[0].gone = sites[1].gone = True
    with pytest.raises(NotEnoughNodes):
        run(flower, sites, 1, strategy, arrays)
    assert set(strategy.arrays) == {"w"}
    assert_array_equal(strategy.arrays["w"].numpy(), arrays["w"].numpy())
    assert_array_equal(strategy.control["w"], control)


def test_a_reply_without_a_control_variate_is_not_used(flower):
    """A ClientApp that was not written for it is told, by node."""
    sites = [*three(flower), lambda message: flower.update({"w": message.content["arrays"]["w"].numpy()})]
    _, strategy = run(flower, sites, 1)
    assert [(refusal.node_id, refusal.name) for refusal in strategy.refusals] == [(4, "UNUSABLE_REPLY")]


def test_masks_leave_the_result_as_it_is(flower):
    """The server sees means over all sites only, and does not need more."""
    plain, _ = run(flower, three(flower), 4)
    strategy = FlameScaffold(evaluate=False)
    masked = strategy.start(sums_only(grid_of(flower, three(flower))), flower.model(w=START), num_rounds=4).arrays
    assert_allclose(masked["w"].numpy(), plain["w"].numpy(), rtol=1e-12)


@pytest.mark.parametrize("state", [{"w": np.zeros(2)}, {"control/w": np.zeros(2), "m/w": np.zeros(2)}])
def test_another_state_is_refused(state):
    """Rather than a run that goes on with half of it."""
    with pytest.raises(ValueError, match="SCAFFOLD's state"):
        FlameScaffold().load_state(state)


def test_a_control_variate_of_another_model_is_refused(flower):
    """From a checkpoint of another run, say."""
    strategy = FlameScaffold(evaluate=False)
    strategy.load_state({"control/w": np.zeros(7)})
    with pytest.raises(ValueError, match="control variate has other names or shapes"):
        run(flower, three(flower), 1, strategy)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_must_go_forward(rate):
    """eta_g is above 0 and finite."""
    with pytest.raises(ValueError, match="global_rate"):
        FlameScaffold(global_rate=rate)


def test_the_model_alone():
    """Arrays of the control variate are told by their names."""
    both = ArrayRecord({"w": Array(np.zeros(1)), "control/w": Array(np.ones(1))})
    assert list(without_control(both)) == ["w"]
