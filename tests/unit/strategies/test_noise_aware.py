"""The gates' noise at the server: reported as it is, never added to, and unusable words about it say nothing."""

import logging
import math

import numpy as np
import pytest
from flame_strategies import FlameFedAvg, FlameFedProx
from flame_strategies.averaging import weighted_mean
from flame_strategies.noise_aware import (
    FLOWER_BIT_KEY,
    FLOWER_CLIP_KEY,
    GateNoise,
    equally_weighted,
    mean_noise,
    noise_flaw,
    precision_weights,
    read_noise,
    signal_to_noise,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower_strategies
from flwr.supercore import differential_privacy as flower_dp
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.support.statistics import standard_deviation_is

D = 20_000
START = {"w": np.zeros((D // 2, 2))}
STDS = {3: 0.5, 1: 2.0, 2: 1.0}


def said(ground="enforced", noise_std=0.5, **more):
    return ConfigRecord({"node": "diz", "ground": ground, "noise_std": noise_std, **more})


def reply(array, record=None, weight=1, **metrics):
    content = {
        "arrays": ArrayRecord({"w": Array(np.asarray(array))}),
        "metrics": MetricRecord({"num-examples": weight, **metrics}),
    }
    return RecordDict(content if record is None else {**content, "flame": record})


def noising_nodes(flower, stds, *, signal=0.0, seed=0, ground="enforced", weights=None):
    """Gates that add Gaussian noise to a constant change of the model, and say so."""
    rng = np.random.default_rng(seed)
    weights = weights or {}

    def node(number, std):
        def app(message):
            model = message.content["arrays"]["w"].numpy()
            record = said(ground if std else "none", std)
            return reply(model + signal + std * rng.normal(size=model.shape), record, weights.get(number, 1))

        return flower.behind_gate(app)

    return {number: node(number, std) for number, std in stds.items()}


class TestReported:
    """FlameFedAvg tells the noise of its mean without being asked."""

    def test_the_stated_sigma_is_that_of_the_mean(self, flower):
        """Empirical noise of D = 20,000 coordinates; false alarm below 1e-8 (`standard_deviation_is`)."""
        grid = flower.Grid(noising_nodes(flower, STDS, seed=None))
        strategy = FlameFedAvg(min_nodes=3, evaluate=False)
        result = strategy.start(grid, flower.model(**START), num_rounds=1)
        stated = result.train_metrics_clientapp[1]["noise_std"]
        assert stated == pytest.approx(math.sqrt(0.5**2 + 2.0**2 + 1.0**2) / 3, rel=1e-12)
        noise = result.arrays["w"].numpy().reshape(-1)
        assert standard_deviation_is(noise, stated)
        assert not standard_deviation_is(noise, 1.1 * stated)  # noise that was added twice, or too little, would show
        assert not standard_deviation_is(noise, 0.9 * stated)

    def test_nothing_is_added_to_what_the_gates_sent(self, flower):
        """The mean is the plain one of the replies, bit for bit."""
        seen = {}

        def remembering(number, node):
            def app(message):
                content = node(message)
                if message.metadata.message_type == "train":
                    seen[number] = content["arrays"]["w"].numpy()
                return content

            return app

        nodes = {n: remembering(n, node) for n, node in noising_nodes(flower, STDS).items()}
        result = FlameFedAvg(min_nodes=3, evaluate=False).start(flower.Grid(nodes), flower.model(**START), 1)
        plain = weighted_mean([{"w": seen[n]} for n in sorted(seen)], [1.0] * 3)
        assert_array_equal(result.arrays["w"].numpy(), plain["w"])

    def test_without_noise_the_metrics_are_the_apps_own(self, flower):
        """Neither gates that add none nor nodes without a gate change what a strategy reports."""
        for record in (said("none", 0.0), said("reviewed", 0.0), None):
            nodes = {n: flower.behind_gate(lambda _m, r=record: reply(START["w"], r, n_=1.0)) for n in (1, 2)}
            result = FlameFedAvg(evaluate=False).start(flower.Grid(nodes), flower.model(**START), 1)
            assert set(result.train_metrics_clientapp[1]) == {"n_"}

    def test_every_strategy_reports(self, flower):
        """The noise of each round is kept, too."""
        strategy = FlameFedProx(proximal_mu=0.1, min_nodes=3, evaluate=False)
        result = strategy.start(flower.Grid(noising_nodes(flower, STDS)), flower.model(**START), num_rounds=2)
        for server_round in (1, 2):
            stated = result.train_metrics_clientapp[server_round]["noise_std"]
            assert strategy.noise[server_round].noise_std == stated == pytest.approx(math.sqrt(5.25) / 3)

    def test_one_reply_of_unknown_noise_makes_the_means_unknown(self, flower):
        """A figure that leaves some of the noise out would read as too little."""
        nodes = noising_nodes(flower, STDS) | {9: flower.behind_gate(lambda _m: reply(START["w"]))}
        strategy = FlameFedAvg(min_nodes=4, evaluate=False)
        result = strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=1)
        assert result.train_metrics_clientapp[1]["noise_unknown_nodes"] == 1
        assert "noise_std" not in result.train_metrics_clientapp[1]
        assert strategy.noise[1].noise_std is None


class TestWeights:
    """Under an arithmetic claim the number of examples is not a weight."""

    def test_mixed_grounds_are_weighted_alike(self, flower):
        """A site that states 500 examples does not drown the one whose gate says 1; metrics likewise."""
        nodes = {
            1: flower.behind_gate(lambda _m: reply(START["w"] + 3.0, said("reviewed", 0.0), 500, loss=3.0)),
            2: flower.behind_gate(lambda _m: reply(START["w"] - 1.0, said("enforced", 0.25), 1, loss=-1.0)),
        }
        result = FlameFedAvg().start(flower.Grid(nodes), flower.model(**START), num_rounds=1)
        assert_allclose(result.arrays["w"].numpy(), 1.0, rtol=1e-12)
        metrics = result.train_metrics_clientapp[1]
        assert metrics["loss"] == pytest.approx(1.0)
        assert metrics["noise_std"] == pytest.approx(0.125)
        assert result.evaluate_metrics_clientapp[1]["loss"] == pytest.approx(1.0)

    def test_a_claim_counts_whatever_else_its_gate_says(self):
        """An unusable noise_std does not bring the examples back as weights."""
        contents = [reply(np.ones(2), said("reviewed", 0.0), 500), reply(np.ones(2), said("vetted", -1.0))]
        equal = equally_weighted(contents, "num-examples")
        assert [c["metrics"]["num-examples"] for c in equal] == [1, 1]
        assert contents[0]["metrics"]["num-examples"] == 500

    def test_without_a_claim_examples_weigh(self):
        contents = [reply(np.ones(2), said("reviewed", 0.0), 500), reply(np.ones(2), None, 3)]
        assert [c["metrics"]["num-examples"] for c in equally_weighted(contents, "num-examples")] == [500, 3]

    @given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8), st.data())
    def test_precision_weights_have_the_least_noise(self, stds, data):
        """No other weights give the mean less."""
        noises = [GateNoise("enforced", std) for std in stds]
        others = data.draw(st.lists(st.floats(1e-3, 1e3), min_size=len(stds), max_size=len(stds)))
        best = mean_noise(noises, precision_weights(noises)).noise_std
        assert best <= mean_noise(noises, others).noise_std * (1 + 1e-12)
        assert best == pytest.approx(sum(std**-2 for std in stds) ** -0.5, rel=1e-9)

    def test_the_option_weights_by_noise_and_reports_it(self, flower):
        """Two sites with noise 1 and 3: shares 0.9 and 0.1."""
        nodes = noising_nodes(flower, {1: 1.0, 2: 3.0}, seed=None)
        strategy = FlameFedAvg(evaluate=False, weigh_by_noise=True)
        result = strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=1)
        assert strategy.noise[1].shares == pytest.approx((0.9, 0.1))
        assert result.train_metrics_clientapp[1]["noise_std"] == pytest.approx(math.sqrt(0.9))
        assert standard_deviation_is(result.arrays["w"].numpy().reshape(-1), math.sqrt(0.9))

    @pytest.mark.parametrize("stds", [{1: 1.0, 2: 0.0}, {1: 0.0, 2: 0.0}])
    def test_it_falls_back_where_a_reply_has_no_noise(self, flower, stds, caplog):
        """A site without noise would have all the weight."""
        strategy = FlameFedAvg(evaluate=False, weigh_by_noise=True)
        with caplog.at_level(logging.WARNING, logger="flwr.flame_strategies"):
            strategy.start(flower.Grid(noising_nodes(flower, stds)), flower.model(**START), num_rounds=1)
        assert strategy.noise[1].shares == (0.5, 0.5)
        assert "not known of all" in caplog.text


BAD = {
    "no ground": ConfigRecord({"noise_std": 1.0}),
    "unknown ground": said("proven"),
    "ground is a list": said(["enforced"]),
    "NaN": said(noise_std=float("nan")),
    "infinite": said(noise_std=float("inf")),
    "negative": said(noise_std=-1.0),
    "a word": said(noise_std="0.5"),
    "a truth value": said(noise_std=True),
    "a list": said(noise_std=[0.5]),
    "too large": said(noise_std=1e300),
    "an enormous integer": said(noise_std=1 << 62, clip_norm=-(1 << 62)),
    "too small": said(noise_std=1e-300),
    "enforced without noise": said(noise_std=0.0),
    "clip_norm negative": said(clip_norm=-1.0),
    "blocks negative": said(blocks=-3),
    "blocks not whole": said(blocks=2.5),
    "share NaN": said(below_clip=float("nan"), below_clip_std=0.1),
    "share out of reach": said(below_clip=1e6, below_clip_std=0.1),
    "share a word": said(below_clip="all", below_clip_std=0.1),
    "share's noise negative": said(below_clip=0.5, below_clip_std=-0.1),
}


class TestUnusableRecords:
    """What no gate writes says nothing, and the node is named."""

    @pytest.mark.parametrize("kind", BAD)
    def test_they_are_set_aside_with_a_reason(self, kind):
        content = reply(np.ones(2), BAD[kind])
        assert noise_flaw(content)
        assert read_noise(content) is None

    @pytest.mark.parametrize("kind", BAD)
    def test_the_update_is_used_and_the_noise_unknown(self, flower, kind, caplog):
        """The round goes on; its noise is not made up, and the log names the node."""
        bad = flower.behind_gate(lambda _m: reply(START["w"] + 1.0, BAD[kind]))
        nodes = noising_nodes(flower, {1: 0.1, 2: 0.1}) | {77: bad}
        with caplog.at_level(logging.WARNING, logger="flwr.flame_strategies"):
            result = FlameFedAvg(min_nodes=3, evaluate=False).start(flower.Grid(nodes), flower.model(**START), 1)
        assert result.arrays["w"].numpy().mean() == pytest.approx(1 / 3, abs=0.01)
        assert "noise_std" not in result.train_metrics_clientapp[1]
        assert "node 77" in caplog.text

    def test_good_ones_are_read(self):
        record = said("enforced", 2, unit="patient", clip_norm=1.5, blocks=40, below_clip=1.2, below_clip_std=0.3)
        assert read_noise(reply(np.ones(2), record)) == GateNoise("enforced", 2.0, 1.5, 40, 1.2, 0.3)
        assert read_noise(reply(np.ones(2), said("none", 0.0))) == GateNoise("none", 0.0)
        assert noise_flaw(reply(np.ones(2))) is read_noise(reply(np.ones(2))) is None

    def test_a_vetted_training_has_noise_that_its_gate_cannot_tell(self):
        """It noises its steps: 0 at the gate is not an update without noise."""
        noise = read_noise(reply(np.ones(2), said("vetted", 0.0)))
        assert noise.noise_std is None
        assert mean_noise([noise], [1.0]).metrics() == {"noise_unknown_nodes": 1.0}


FLOWER_WRAPPERS = {
    "server, fixed": lambda s: flower_strategies.DifferentialPrivacyServerSideFixedClipping(s, 1.0, 1.0, 2),
    "client, fixed": lambda s: flower_strategies.DifferentialPrivacyClientSideFixedClipping(s, 1.0, 1.0, 2),
    "server, adaptive": lambda s: flower_strategies.DifferentialPrivacyServerSideAdaptiveClipping(
        s, 0.1, 2, clipped_count_stddev=1.0
    ),
    "client, adaptive": lambda s: flower_strategies.DifferentialPrivacyClientSideAdaptiveClipping(
        s, 0.1, 2, clipped_count_stddev=1.0
    ),
}


class TestNoiseTwice:
    """Flower's DP strategies would noise the mean once more."""

    @pytest.mark.parametrize("wrapper", FLOWER_WRAPPERS)
    @pytest.mark.parametrize("ground", ["enforced", "vetted"])
    def test_a_wrapped_strategy_is_refused_where_gates_noise(self, flower, wrapper, ground):
        def with_bit(node):
            def app(message):
                content = node(message)
                if message.metadata.message_type == "train" and "adaptive" in wrapper:
                    content["metrics"][FLOWER_BIT_KEY] = 1
                return content

            return app

        nodes = {n: with_bit(f) for n, f in noising_nodes(flower, {1: 0.5, 2: 0.5}, signal=1.0, ground=ground).items()}
        strategy = FLOWER_WRAPPERS[wrapper](FlameFedAvg(evaluate=False))
        with pytest.raises(ValueError, match="gates have clipped and noised"):
            strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=1)

    @pytest.mark.parametrize("wrapper", ["server, fixed", "client, fixed"])
    def test_it_is_not_where_they_do_not(self, flower, wrapper):
        """Noise at the server alone is the researcher's own choice."""
        strategy = FLOWER_WRAPPERS[wrapper](FlameFedAvg(evaluate=False))
        nodes = noising_nodes(flower, {1: 0.0, 2: 0.0}, signal=1.0)
        result = strategy.start(flower.Grid(nodes), flower.model(**START), num_rounds=1)
        assert result.arrays["w"].numpy().std() > 0

    def test_a_modifier_of_flowers_shows_in_the_metrics(self, flower):
        """The adaptive modifier leaves its bit, also without Flower's strategy."""
        nodes = {n: flower.behind_gate(lambda _m: reply(START["w"], said(), **{FLOWER_BIT_KEY: 1})) for n in (1, 2)}
        with pytest.raises(ValueError, match="adaptiveclipping_mod"):
            FlameFedAvg(evaluate=False).start(flower.Grid(nodes), flower.model(**START), num_rounds=1)

    def test_flowers_clipping_norm_in_the_configuration_shows(self, flower):
        config = ConfigRecord({FLOWER_CLIP_KEY: 1.0})
        grid = flower.Grid(noising_nodes(flower, {1: 0.5, 2: 0.5}))
        with pytest.raises(ValueError, match="fixedclipping_mod"):
            FlameFedAvg(evaluate=False).start(grid, flower.model(**START), num_rounds=1, train_config=config)

    def test_the_names_are_flowers_own(self):
        """They are not part of Flower's public interface: an update that renames them shows here."""
        assert (FLOWER_CLIP_KEY, FLOWER_BIT_KEY) == (flower_dp.KEY_CLIPPING_NORM, flower_dp.KEY_NORM_BIT)


class TestSignalToNoise:
    """Estimated from what came back, the noise's own share taken off."""

    def test_it_is_found_again(self, flower):
        """Change 0.3 under noise 0.5/sqrt(2), D = 20,000: ratio 0.849, standard error 0.010; six of them at most.

        False alarm below 1e-8; a noise that is counted as signal would give 1.31.
        """
        grid = flower.Grid(noising_nodes(flower, {1: 0.5, 2: 0.5}, signal=0.3, seed=None))
        result = FlameFedAvg(evaluate=False).start(grid, flower.model(**START), num_rounds=1)
        expected = 0.3 / (0.5 / math.sqrt(2))
        assert result.train_metrics_clientapp[1]["signal_to_noise"] == pytest.approx(expected, abs=0.06)

    def test_noise_alone_has_none(self):
        """Below (8/D)^(1/4) = 0.14, two standard errors; the seed is fixed."""
        noise = {"w": np.random.default_rng(3).normal(size=D)}
        assert signal_to_noise({"w": np.zeros(D)}, noise, 1.0) < (8 / D) ** 0.25

    @pytest.mark.parametrize("std", [None, 0.0])
    def test_without_noise_there_is_no_ratio(self, std):
        assert signal_to_noise({"w": np.zeros(3)}, {"w": np.ones(3)}, std) is None

    def test_what_overflows_has_none(self):
        assert signal_to_noise({"w": np.zeros(3)}, {"w": np.full(3, 1e308)}, 1e-30) is None
        assert signal_to_noise({}, {}, 1.0) is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=10))
def test_the_means_noise_equals_its_naive_twin(pairs):
    """sqrt(sum of squares) in plain loops."""
    noises = [GateNoise("enforced" if std else "none", std) for std, _ in pairs]
    total = variance = 0.0
    for _, weight in pairs:
        total += weight
    for std, weight in pairs:
        variance += (weight / total * std) ** 2
    got = mean_noise(noises, [weight for _, weight in pairs])
    assert got.noise_std == pytest.approx(math.sqrt(variance), rel=1e-9, abs=1e-150)
    assert sum(got.shares) == pytest.approx(1.0)
    assert got.noised == sum(std > 0 for std, _ in pairs)
