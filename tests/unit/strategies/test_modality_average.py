"""Averaging part by part: each over the sites that have it, by their examples with it, with and without masks."""

import numpy as np
import pytest
from flame_strategies.errors import NotEnoughNodes
from flame_strategies.modality_average import (
    SHARES,
    FlameModalityAverage,
    FlameModalityBN,
    FlameModalityProx,
    average_parts,
    part_of,
    with_shares,
    without_shares,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

PARTS = {"image": ("image.*",), "genome": ("genome.*",)}
START = {"image.w": np.array([0.5, -2.0]), "genome.w": np.array([[1.0]]), "shared.w": np.array([3.0, 4.0])}


class Site:
    """Changes what it has by numbers of its own; says its shares as the module describes."""

    def __init__(self, flower, number, examples, having):
        self.flower, self.examples, self.having = flower, examples, dict(zip(PARTS, having, strict=True))
        draw = np.random.default_rng(number)
        self.change = {name: draw.normal(size=array.shape) for name, array in START.items()}
        self.seen = []

    def __call__(self, message):
        self.seen.append(dict(message.content["config"]))
        sent = {name: array.numpy() for name, array in message.content["arrays"].items()}
        shares = {part: count / self.examples for part, count in self.having.items()}
        new = {n: sent[n] + shares.get(n.split(".")[0], 1.0) * d for n, d in self.change.items() if n in sent}
        has = {f"sites-{part}": float(count > 0) for part, count in self.having.items()}
        return self.flower.update({**new, SHARES: np.array(list(shares.values()))}, self.examples, loss=1.0, **has)


def twin(sites, rounds):
    """Sums over those that have a part, number by number."""
    model = {name: array.copy() for name, array in START.items()}
    for _ in range(rounds):
        for name in model:
            part = name.split(".")[0]
            weights = [site.having.get(part, site.examples) for site in sites]
            if sum(weights):
                model[name] += sum(w * s.change[name] for w, s in zip(weights, sites, strict=True)) / sum(weights)
    return model


def masked(grid):
    """The grid under secure aggregation: means in every reply, sums whole in the first one."""
    plain = grid.send_and_receive

    def send_and_receive(messages, *, timeout=None):
        replies = list(plain(messages, timeout=timeout))
        sites = [r for r in replies if not r.has_error() and r.content.array_records]
        if not sites:
            return replies
        contents = [reply.content for reply in sites]
        weights = [float(c["metrics"]["num-examples"]) for c in contents]
        mean = {n: np.average([c["arrays"][n].numpy() for c in contents], axis=0, weights=weights)
                for n in contents[0]["arrays"]}  # fmt: skip
        for place, reply in enumerate(sorted(sites, key=lambda r: r.metadata.src_node_id)):
            said = {"num-examples": sum(weights) / len(sites), "loss": 1.0}
            for part in PARTS:
                whole = sum(float(c["metrics"][f"sites-{part}"]) for c in contents)
                said[f"sites-{part}"] = whole if place == 0 else 0.0
            reply.content = RecordDict(
                {
                    "arrays": ArrayRecord({name: Array(array) for name, array in mean.items()}),
                    "metrics": MetricRecord(said),
                    "flame": ConfigRecord({"ground": "none", "noise_std": 0.0, "masked_sites": len(sites)}),
                }
            )
        return replies

    grid.send_and_receive = send_and_receive
    return grid


def go(flower, sites, *, wrap=lambda grid: grid, rounds=1, kind=FlameModalityAverage, **terms):
    grid = wrap(flower.Grid({n: flower.behind_gate(site) for n, site in enumerate(sites, 1)}))
    strategy = kind(parts=PARTS, evaluate=False, **{"min_holders": 1, **terms})
    result = strategy.start(grid, with_shares(flower.model(**START), list(PARTS)), num_rounds=rounds)
    return strategy, result


having = st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.tuples(st.integers(0, n), st.integers(0, n))))


@settings(max_examples=25)
@given(have=st.lists(having, min_size=2, max_size=5), rounds=st.integers(1, 3))
def test_equals_the_naive_twin_with_and_without_masks(flower, have, rounds):
    """Also of a part that no site has: it stays as it was."""
    for wrap in (lambda grid: grid, masked):
        sites = [Site(flower, number, n, parts) for number, (n, parts) in enumerate(have)]
        strategy, result = go(flower, sites, wrap=wrap, rounds=rounds)
        arrays = {name: array.numpy() for name, array in without_shares(result.arrays).items()}
        for name, expected in twin(sites, rounds).items():
            assert_allclose(arrays[name], expected, rtol=1e-9, atol=1e-9)
        counts = {part: sum(site.having[part] > 0 for site in sites) for part in PARTS}
        assert strategy.holders == dict.fromkeys(range(1, rounds + 1), counts)
        said = result.train_metrics_clientapp[rounds]
        assert [said[f"sites-{part}"] for part in PARTS] == list(counts.values())
        assert_array_equal(result.arrays[SHARES].numpy(), 0)


def test_a_part_of_one_site_is_not_diluted(flower):
    """What plain averaging does wrong: the change of a part that a fifth has would shrink to a fifth."""
    sites = [Site(flower, n, 10, (10 if n == 0 else 0, 10)) for n in range(5)]
    _, result = go(flower, sites)
    assert_allclose(result.arrays["image.w"].numpy(), START["image.w"] + sites[0].change["image.w"])


@pytest.mark.parametrize("wrap", [lambda grid: grid, masked], ids=["open", "masked"])
def test_a_part_at_too_few_sites_ends_the_fit(flower, wrap):
    """Two have images where three must; before anything of the round is in the model."""
    sites = [Site(flower, n, 10, (10 if n < 2 else 0, 10)) for n in range(4)]
    grid = wrap(flower.Grid({n: flower.behind_gate(site) for n, site in enumerate(sites, 1)}))
    strategy = FlameModalityAverage(parts=PARTS, evaluate=False)
    with pytest.raises(NotEnoughNodes, match="image at 2"):
        strategy.start(grid, with_shares(flower.model(**START), list(PARTS)), num_rounds=1)
    assert_array_equal(strategy.arrays["image.w"].numpy(), START["image.w"])
    assert strategy.holders == {}


def test_a_part_at_none_is_let_be(flower):
    """With the rule of three: nothing of anybody is in it."""
    sites = [Site(flower, n, 10, (0, 10)) for n in range(3)]
    strategy, result = go(flower, sites, min_holders=3)
    assert_array_equal(result.arrays["image.w"].numpy(), START["image.w"])
    assert strategy.holders[1] == {"image": 0, "genome": 3}


def test_a_site_that_does_not_say_what_it_has_is_not_used(flower):
    """Counting it as having nothing would let a lone site's part through as none."""

    def silent(message):
        return flower.update({name: array.numpy() for name, array in message.content["arrays"].items()}, 10, loss=1.0)

    sites = [Site(flower, n, 10, (10, 10)) for n in range(3)]
    nodes = {n: flower.behind_gate(site) for n, site in enumerate([*sites, silent], 1)}
    strategy = FlameModalityAverage(parts=PARTS, evaluate=False, min_nodes=3)
    strategy.start(flower.Grid(nodes), with_shares(flower.model(**START), list(PARTS)), num_rounds=1)
    assert [refusal.node_id for refusal in strategy.refusals] == [4]
    assert "whether it has the part: sites-image, sites-genome" in strategy.refusals[0].reason


def test_model_without_shares_or_with_an_empty_part_is_refused(flower):
    """Either would average over sites that have nothing of it."""
    grid = flower.Grid({n: flower.behind_gate(Site(flower, n, 5, (5, 5))) for n in (1, 2, 3)})
    with pytest.raises(ValueError, match="with_shares"):
        FlameModalityAverage(parts=PARTS).start(grid, flower.model(**START), num_rounds=1)
    parts = {**PARTS, "video": ("video.*",)}
    with pytest.raises(ValueError, match="belongs to video"):
        FlameModalityAverage(parts=parts).start(grid, with_shares(flower.model(**START), list(parts)), num_rounds=1)
    assert grid.legs("train") == []


@pytest.mark.parametrize("parts", [{}, {"image": "image.*"}, {"image": ()}])
def test_parts_are_lists_of_patterns(parts):
    """A string would be read letter by letter."""
    with pytest.raises(ValueError, match="list of patterns"):
        FlameModalityAverage(parts=parts)
    with pytest.raises(ValueError, match="min_holders"):
        FlameModalityAverage(parts=PARTS, min_holders=0)


def test_facts_come_back(flower):
    """The holders of past rounds are in a checkpoint."""
    strategy, _ = go(flower, [Site(flower, n, 10, (10, 10)) for n in range(3)], rounds=2)
    other = FlameModalityAverage(parts=PARTS)
    other.load_facts(strategy.save_facts())
    assert other.holders == strategy.holders == {1: {"image": 3, "genome": 3}, 2: {"image": 3, "genome": 3}}


def test_with_a_proximal_term_the_nodes_are_told(flower):
    """And the parts are averaged as ever."""
    sites = [Site(flower, n, 10, (10 if n else 0, 10)) for n in range(3)]
    _, result = go(flower, sites, kind=FlameModalityProx, proximal_mu=0.3)
    assert sites[0].seen[0]["proximal-mu"] == 0.3
    assert_allclose(result.arrays["image.w"].numpy(), twin(sites, 1)["image.w"])


def test_with_local_norms_none_may_be_sent(flower):
    """FedBN's refusal and the parts together."""
    sites = [Site(flower, n, 10, (10, 10)) for n in range(3)]
    _, result = go(flower, sites, kind=FlameModalityBN, local=["*.norm"])
    assert_allclose(result.arrays["genome.w"].numpy(), twin(sites, 1)["genome.w"])
    grid = flower.Grid({n: flower.behind_gate(site) for n, site in enumerate(sites, 1)})
    whole = with_shares(flower.model(**START, **{"image.norm": np.ones(1)}), list(PARTS))
    with pytest.raises(ValueError, match=r"without image\.norm"):
        FlameModalityBN(parts=PARTS, local=["*.norm"]).start(grid, whole, num_rounds=1)


def test_average_of_parts_by_hand():
    """Half the patients have images: the mean change of 1 there is a change of 2."""
    model = {"image.w": np.array([1.0]), "shared.w": np.array([1.0]), SHARES: np.zeros(1)}
    mean = {"image.w": np.array([2.0]), "shared.w": np.array([2.0]), SHARES: np.array([0.5])}
    found = average_parts(model, mean, {"image": ("image.*",)})
    assert (found["image.w"][0], found["shared.w"][0], found[SHARES][0]) == (3.0, 2.0, 0.0)
    assert part_of("image.w", PARTS) == "image"
    assert part_of("Image.w", PARTS) is None
