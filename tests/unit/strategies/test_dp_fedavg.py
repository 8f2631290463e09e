"""DP-FedAvg with adaptive clipping against naive twins, and where the norm settles."""

import logging
import math

import numpy as np
import pytest
from flame_strategies import ClipTerms, FlameDpFedAvg, FlameFedAvg
from flame_strategies.dp_fedavg import Share, clip_step, pooled_share
from flame_strategies.noise_aware import GateNoise
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

START = {"w": np.linspace(-1, 1, 6).reshape(3, 2), "b": np.zeros(2)}
TERMS_CLIP = 5.0
BLOCKS = {4: 10, 7: 30}


def gate(flower, node, *, terms_clip=TERMS_CLIP, noise=lambda: 0.0, std=0.2, heard=None):
    """A gate of unit patient: clips by the norm asked for, tells a noised share, as if each block had its own norm."""

    def app(message):
        if message.metadata.message_type != "train":
            return flower.update({}, 1)
        asked = message.content["flame"]["clip_norm"]
        if heard is not None:
            heard.append((message.content["config"]["server-round"], node, asked))
        used = min(asked, terms_clip)
        norms = block_norms(node)
        moved = {n: a.numpy() + used * node / 10 for n, a in message.content["arrays"].items()}
        content = flower.update(moved, 1, loss=0.0)
        content["flame"] = ConfigRecord(
            {
                "ground": "enforced",
                "noise_std": 0.1 * used,
                "clip_norm": used,
                "blocks": BLOCKS[node],
                "below_clip": sum(norm <= used for norm in norms) / len(norms) + noise(),
                "below_clip_std": std,
            }
        )
        return content

    return flower.behind_gate(app)


def block_norms(node):
    return [0.1 * (i + 1) * node / 4 for i in range(BLOCKS[node])]


def naive_run(rounds, clipping, learning_rate, momentum, *, std=0.2):
    """The module's formulas for every number on its own."""
    model = {name: array.copy() for name, array in START.items()}
    velocity = {name: np.zeros(array.shape) for name, array in START.items()}
    clip, norms = clipping.initial, []
    for _ in range(rounds):
        norms.append(clip)
        used = min(clip, TERMS_CLIP)
        for name, array in model.items():
            for index in np.ndindex(array.shape):
                mean = sum(array[index] + used * node / 10 for node in BLOCKS) / len(BLOCKS)
                velocity[name][index] = momentum * velocity[name][index] + mean - array[index]
                array[index] += learning_rate * velocity[name][index]
        below = total = squares = 0.0
        for node, blocks in BLOCKS.items():
            for norm in block_norms(node):
                below += norm <= used
            total += blocks
            squares += (blocks * std) ** 2
        damped = clipping.rate / max(1.0, math.sqrt(squares) / total)
        clip = used * math.exp(-damped * (below / total - clipping.quantile))
        clip = min(max(clip, clipping.floor), TERMS_CLIP if norms[-1] > TERMS_CLIP else math.inf)
    return model, norms


@pytest.mark.parametrize("std", [0.2, 6.0])
def test_equals_the_naive_twin(flower, std):
    """Model and norms of 12 rounds, from below the terms' bound; with much noise in the share steps are damped."""
    clipping, heard = ClipTerms(initial=4.0, quantile=0.6, rate=0.3), []
    grid = flower.Grid({n: gate(flower, n, std=std, heard=heard) for n in BLOCKS})
    strategy = FlameDpFedAvg(clipping=clipping, learning_rate=0.7, momentum=0.5, evaluate=False)
    result = strategy.start(grid, flower.model(**START), num_rounds=12)
    model, norms = naive_run(12, clipping, 0.7, 0.5, std=std)
    for name, expected in model.items():
        assert_allclose(result.arrays[name].numpy(), expected, rtol=1e-12)
    assert_allclose([asked for _, node, asked in heard if node == 4], norms, rtol=1e-12)
    metrics = result.train_metrics_clientapp[1]
    assert metrics["clip_norm"] == 4.0
    assert metrics["below_clip_std"] == pytest.approx(math.hypot(10 * std, 30 * std) / 40)
    assert metrics["noise_std"] == pytest.approx(0.4 / math.sqrt(2))


def test_it_starts_from_the_terms_bound_if_it_asked_for_more(flower):
    """Gates clip to the terms' norm whatever is asked; the search goes on from there and never asks for more again."""
    heard = []
    grid = flower.Grid({n: gate(flower, n, terms_clip=0.4, heard=heard) for n in BLOCKS})  # almost all are above 0.4
    strategy = FlameDpFedAvg(clipping=ClipTerms(initial=100.0), evaluate=False)
    result = strategy.start(grid, flower.model(**START), num_rounds=6)
    asked = [norm for _, node, norm in heard if node == 4]
    assert asked == [100.0] + [0.4] * 5
    assert result.train_metrics_clientapp[1]["clip_norm"] == 0.4


def test_the_norm_is_asked_of_gates_in_training_only(flower):
    """It travels in the gate's own record; the app's configuration and the caller's stay as they are."""
    config = ConfigRecord({"lr": 0.1})
    grid = flower.Grid({n: gate(flower, n) for n in BLOCKS})
    strategy = FlameDpFedAvg(clipping=ClipTerms(initial=2.0), min_nodes=2)
    strategy.start(grid, flower.model(**START), num_rounds=1, train_config=config)
    sent = {m.metadata.message_type: m.content for m in grid.messages}
    assert dict(sent["train"]["flame"]) == {"clip_norm": 2.0}
    assert dict(sent["train"]["config"]) == {"lr": 0.1, "server-round": 1}
    assert "flame" not in sent["evaluate"]
    assert dict(config) == {"lr": 0.1}


def test_without_a_share_the_norm_stays(flower, caplog):
    """Gates that do not clip adaptively: FedAvg at one norm, and a warning in each round."""
    nodes = {
        n: flower.behind_gate(lambda m: flower.update({"b": m.content["arrays"]["b"].numpy() + 1})) for n in (1, 2)
    }
    strategy = FlameDpFedAvg(clipping=ClipTerms(initial=2.0), evaluate=False)
    with caplog.at_level(logging.WARNING, logger="flwr.flame_strategies"):
        adaptive = strategy.start(flower.Grid(nodes), flower.model(b=np.zeros(2)), num_rounds=3)
    plain = FlameFedAvg(evaluate=False).start(flower.Grid(nodes), flower.model(b=np.zeros(2)), num_rounds=3)
    assert strategy.clip_norm == 2.0
    assert caplog.text.count("it stays") == 3
    assert_array_equal(adaptive.arrays["b"].numpy(), plain.arrays["b"].numpy())


def test_a_run_is_resumed_from_norm_and_velocity(flower):
    """Two runs of three rounds are one of six."""

    def strategy():
        return FlameDpFedAvg(clipping=ClipTerms(initial=4.0), momentum=0.9, evaluate=False)

    grid = flower.Grid({n: gate(flower, n) for n in BLOCKS})
    whole = strategy().start(grid, flower.model(**START), num_rounds=6)
    first, second = strategy(), strategy()
    half = first.start(grid, flower.model(**START), num_rounds=3)
    second.clip_norm, second.velocity = first.clip_norm, first.velocity
    rest = second.start(grid, half.arrays, num_rounds=3)
    assert_array_equal(rest.arrays["w"].numpy(), whole.arrays["w"].numpy())


def told(below_clip, clip_norm=1.0, blocks=0, std=0.1):
    return GateNoise("enforced", 1.0, clip_norm, blocks, below_clip, std)


class TestPooledShare:
    """Whose word counts."""

    def test_blocks_count_each(self):
        share = pooled_share([told(0.2, blocks=10, std=0.3), told(0.6, blocks=30, std=0.1)], 1.0)
        assert share == Share(pytest.approx(0.5), pytest.approx(math.hypot(3, 3) / 40), 1.0)

    def test_whole_sites_count_once(self):
        assert pooled_share([told(1.0), told(0.0), told(0.5)], 1.0).below_clip == pytest.approx(0.5)

    def test_a_gate_that_used_another_norm_does_not_count(self):
        """A larger one than was asked (it does not follow), or a smaller one than others (its own terms')."""
        said = [told(0.1, clip_norm=0.5), told(0.7, clip_norm=1.0), told(0.9, clip_norm=3.0), None]
        assert pooled_share(said, 1.0) == Share(0.7, pytest.approx(0.1), 1.0)

    @pytest.mark.parametrize(
        "said", [[], [None], [told(None)], [told(0.5, clip_norm=None)], [told(0.5, clip_norm=9.0)]]
    )
    def test_nobodys_word(self, said):
        assert pooled_share(said, 1.0) is None


class TestStep:
    """C exp(-rate (b - gamma)) between its bounds."""

    @given(
        below=st.floats(-1e41, 1e41),
        std=st.floats(0, 1e40),
        norm=st.floats(1e-30, 1e30),
        most=st.floats(1e-30, 1e30),
        floor=st.floats(1e-30, 1e-3),
    )
    def test_bounds_hold_for_any_share(self, below, std, norm, most, floor):
        """Never above the terms' bound; not below the floor unless the terms are."""
        terms = ClipTerms(initial=1.0, rate=5.0, floor=floor)
        stepped = clip_step(Share(below, std, norm), terms, most)
        assert min(floor, most) <= stepped <= most

    @given(below=st.floats(-1, 2), norm=st.floats(1e-3, 1e3))
    def test_it_moves_towards_the_quantile(self, below, norm):
        stepped = clip_step(Share(below, 0.1, norm), ClipTerms(initial=1.0, quantile=0.5), 1e30)
        assert stepped == pytest.approx(norm * math.exp(-0.2 * (below - 0.5)), rel=1e-9)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"initial": 0.0},
            {"initial": math.nan},
            {"initial": math.inf},
            {"initial": 1.0, "quantile": 1.0},
            {"initial": 1.0, "rate": 0.0},
            {"initial": 1.0, "rate": math.inf},
            {"initial": 1.0, "floor": 2.0},
        ],
    )
    def test_terms_out_of_range_are_refused(self, wrong):
        with pytest.raises(ValueError, match="Adaptive clipping needs"):
            ClipTerms(**wrong)

    @pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"momentum": 1.0}, {"momentum": -0.1}])
    def test_a_servers_step_out_of_range_is_refused(self, wrong):
        with pytest.raises(ValueError, match="DP-FedAvg needs"):
            FlameDpFedAvg(clipping=ClipTerms(initial=1.0), **wrong)


SPREAD = 0.5  # of the logarithm of the norms
SITES, PER_SITE, ROUNDS, BURN_IN = 5, 40, 500, 100


def settled(quantile, std, *, rng, rate=0.2):
    """Mean of log C over the last rounds, norms being lognormal with median 1 and fresh in every round."""
    terms, norm, logs = ClipTerms(initial=20.0, quantile=quantile, rate=rate), 20.0, []
    for _ in range(ROUNDS):
        said = []
        for _ in range(SITES):
            below = np.mean(np.exp(SPREAD * rng.normal(size=PER_SITE)) <= norm)
            said.append(told(below + std * rng.normal(), clip_norm=norm, blocks=PER_SITE, std=std))
        norm = clip_step(pooled_share(said, norm), terms, 1e30)
        logs.append(math.log(norm))
    return float(np.mean(logs[BURN_IN:])), float(np.std(logs[BURN_IN:]))


def standard_error(quantile, std):
    """Of that mean: the sum of the noise in the shares over the density f of log norms, by linearisation."""
    f = stats.norm.pdf(stats.norm.ppf(quantile)) / SPREAD
    variance = (std**2 + quantile * (1 - quantile) / PER_SITE) / SITES
    return math.sqrt(variance / (ROUNDS - BURN_IN)) / f


@pytest.mark.parametrize("std", [0.1, 0.5])
@pytest.mark.parametrize("quantile", [0.5, 0.8])
def test_the_norm_settles_at_the_quantile(quantile, std):
    """Within 6.5 standard errors and 0.02 for curvature (seen: below 0.01): false alarm below 1e-9.

    The allowance is 0.04 and 0.05 at std = 0.1; what a search for another quantile does then is tested below. At
    std = 0.5 it is 0.11 and 0.15: there the test says that so much noise does not push the norm farther than that.
    """
    mean, _ = settled(quantile, std, rng=np.random.default_rng())
    allowed = 6.5 * standard_error(quantile, std) + 0.02
    assert abs(mean - SPREAD * stats.norm.ppf(quantile)) < allowed


@pytest.mark.parametrize("wrong", [0.4, 0.6])
def test_and_nowhere_else(wrong):
    """The test above rejects a search for another quantile: it lies 0.127 off, 23 standard errors beyond."""
    mean, _ = settled(wrong, 0.1, rng=np.random.default_rng())
    assert abs(mean) > 6.5 * standard_error(0.5, 0.1) + 0.02


def test_a_share_that_is_noise_alone_moves_the_norm_slowly():
    """Noise of 50 in one share (unit site): steps stay at `rate`, where undamped ones would be 10.

    The seed is fixed; the mean of 2,000 absolute steps is 0.2·sqrt(2/pi) = 0.16.
    """
    rng, terms = np.random.default_rng(1), ClipTerms(initial=1.0)
    steps = [abs(math.log(clip_step(Share(0.5 + 50 * rng.normal(), 50.0, 1.0), terms, 1e30))) for _ in range(2000)]
    assert np.mean(steps) == pytest.approx(0.2 * math.sqrt(2 / math.pi), rel=0.1)
