"""FedProx and FedAdam against naive twins."""

import math

import numpy as np
import pytest
from flame_strategies import AdamTerms, FlameFedAdam, FlameFedProx
from flame_strategies.fedadam import AdamState, adam_step
from numpy.testing import assert_allclose

START = {"w": np.linspace(-1, 1, 6).reshape(3, 2)}
TARGETS = {1: 2.0, 2: -1.0, 3: 0.5}


def proximal_node(flower, node):
    """Minimises (w - target)^2 / 2 + mu/2 (w - w_t)^2 exactly."""

    def app(message):
        mu, sent = message.content["config"]["proximal-mu"], message.content["arrays"]["w"].numpy()
        return flower.update({"w": (TARGETS[node] + mu * sent) / (1 + mu)})

    return flower.behind_gate(app)


def test_fedprox_equals_its_naive_twin(flower):
    """Four rounds with an exact local solver, coordinate by coordinate."""
    mu, rounds = 0.7, 4
    grid = flower.Grid({node: proximal_node(flower, node) for node in TARGETS})
    result = FlameFedProx(proximal_mu=mu, evaluate=False).start(grid, flower.model(**START), num_rounds=rounds)
    for index in np.ndindex(3, 2):
        w = START["w"][index]
        for _ in range(rounds):
            w = sum((target + mu * w) / (1 + mu) for target in TARGETS.values()) / len(TARGETS)
        assert result.arrays["w"].numpy()[index] == pytest.approx(w, rel=1e-13)


def test_fedprox_refuses_a_negative_mu():
    """A negative proximal term would push the sites apart."""
    with pytest.raises(ValueError, match="proximal_mu"):
        FlameFedProx(proximal_mu=-0.1)


def test_fedadam_equals_its_naive_twin(flower):
    """Five rounds, with algorithm 2 of the paper written out for one coordinate."""
    terms, rounds = AdamTerms(eta=0.3, beta_1=0.8, beta_2=0.95, tau=0.01), 5
    nodes = {
        n: flower.behind_gate(lambda m, t=t: flower.update({"w": (m.content["arrays"]["w"].numpy() + t) / 2}))
        for n, t in TARGETS.items()
    }
    strategy = FlameFedAdam(adam=terms, evaluate=False)
    result = strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=rounds)
    for index in np.ndindex(3, 2):
        x, m, v = START["w"][index], 0.0, terms.tau**2
        for _ in range(rounds):
            delta = sum((x + target) / 2 - x for target in TARGETS.values()) / len(TARGETS)
            m = terms.beta_1 * m + (1 - terms.beta_1) * delta
            v = terms.beta_2 * v + (1 - terms.beta_2) * delta**2
            x = x + terms.eta * m / (math.sqrt(v) + terms.tau)
        assert result.arrays["w"].numpy()[index] == pytest.approx(x, rel=1e-12)
        assert strategy.state.v["w"][index] == pytest.approx(v, rel=1e-12)


def test_fedadams_state_is_a_value():
    """A step leaves its arguments as they are, so a saved state can be used again."""
    terms = AdamTerms()
    model, mean = {"w": np.ones(3)}, {"w": np.zeros(3)}
    state = AdamState.start(model, terms)
    first, after = adam_step(model, mean, state, terms)
    again, _ = adam_step(model, mean, state, terms)
    assert_allclose(first["w"], again["w"], rtol=0)
    assert (state.m["w"] == 0).all()
    assert (after.m["w"] != 0).all()


@pytest.mark.parametrize("wrong", [{"eta": 0}, {"tau": 0}, {"beta_1": 1}, {"beta_2": -0.1}])
def test_fedadam_refuses_constants_out_of_range(wrong):
    """Each constant has its range."""
    with pytest.raises(ValueError, match="FedAdam needs"):
        AdamTerms(**wrong)
