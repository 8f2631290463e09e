"""FedBN: what is shared is averaged as a twin does it, and what is local is nowhere in messages."""

from fnmatch import fnmatchcase

import numpy as np
import pytest
from flame_strategies.fedbn import FlameFedBN, is_local, split_local
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tests.support.sums_only import sums_only

names = st.text("abn.123", min_size=1, max_size=8)
LOCAL = ["*.norm.*", "bn?.*"]
START = {"1.weight": np.array([0.5, -2.0]), "2.bias": np.array([1.0])}


class Site:
    """Keeps its normalisation; both parts of its model depend on each other."""

    def __init__(self, flower, number, extra=()):
        self.flower, self.number, self.extra = flower, number, extra
        self.own = {"bn1.mean": np.zeros(2), "1.norm.scale": np.ones(1)}

    def __call__(self, message):
        shared = {name: array.numpy() for name, array in message.content["arrays"].items()}
        weight, bias = shared["1.weight"], shared["2.bias"]
        self.own["bn1.mean"] = 0.5 * self.own["bn1.mean"] + weight * self.number
        self.own["1.norm.scale"] = self.own["1.norm.scale"] + bias / 10
        reply = {"1.weight": 0.9 * weight + 0.1 * self.own["bn1.mean"], "2.bias": bias * 0.5 + self.own["1.norm.scale"]}
        return self.flower.update(reply | {name: np.zeros(1) for name in self.extra}, self.number)


def twin(sites, rounds):
    """Each site's loop and the mean by examples, number by number."""
    w, b = [0.5, -2.0], 1.0
    mean, scale = {n: [0.0, 0.0] for n in sites}, dict.fromkeys(sites, 1.0)
    for _ in range(rounds):
        new_w, new_b = [0.0, 0.0], 0.0
        for n in sites:
            share = n / sum(sites)
            scale[n] += b / 10
            new_b += share * (b * 0.5 + scale[n])
            for j in range(2):
                mean[n][j] = 0.5 * mean[n][j] + w[j] * n
                new_w[j] += share * (0.9 * w[j] + 0.1 * mean[n][j])
        w, b = new_w, new_b
    return w, b


@settings(max_examples=20)
@given(sites=st.lists(st.integers(1, 6), min_size=2, max_size=5, unique=True), rounds=st.integers(1, 5))
def test_equals_the_naive_twin_with_and_without_masks(flower, sites, rounds):
    """Shared arrays after random rounds."""
    w, b = twin(sites, rounds)
    for wrap in (lambda grid: grid, sums_only):
        grid = wrap(flower.Grid({n: flower.behind_gate(Site(flower, n)) for n in sites}))
        strategy = FlameFedBN(local=LOCAL, evaluate=False)
        arrays = strategy.start(grid, flower.model(**START), num_rounds=rounds).arrays
        assert_allclose(arrays["1.weight"].numpy(), w, rtol=1e-10)
        assert_allclose(arrays["2.bias"].numpy(), [b], rtol=1e-10)


def test_no_local_name_is_in_any_message(flower):
    """Of training and of evaluation."""
    sites = {n: Site(flower, n) for n in (1, 2)}
    nodes = {
        n: flower.behind_gate(lambda m, s=s: s(m) if m.metadata.message_type == "train" else flower.update({}))
        for n, s in sites.items()
    }
    grid = flower.Grid(nodes)
    FlameFedBN(local=LOCAL).start(grid, flower.model(**START), num_rounds=2)
    sent = [set(record) for m in grid.messages for record in m.content.array_records.values()]
    assert sent == [set(START)] * 8


@pytest.mark.parametrize("leg", ["train", "evaluate"])
def test_a_reply_that_holds_a_local_array_is_not_used(flower, leg):
    """A node without a gate, or with terms that list it: the refusal names the array, the run goes on."""

    def app(message):
        if message.metadata.message_type != "train":
            content = flower.update({"bn1.mean": np.ones(2)} if leg == "evaluate" else {}, loss=1.0)
            return RecordDict({"other": content["arrays"], "metrics": content["metrics"]})
        return Site(flower, 3, extra=["bn1.mean"] if leg == "train" else [])(message)

    def good(number):
        site = Site(flower, number)
        return lambda m: site(m) if m.metadata.message_type == "train" else flower.update({}, loss=1.0)

    nodes = {1: good(1), 2: good(2), 3: app}
    strategy = FlameFedBN(local=LOCAL)
    strategy.start(
        flower.Grid({n: flower.behind_gate(node) for n, node in nodes.items()}), flower.model(**START), num_rounds=1
    )
    assert [(r.node_id, r.leg) for r in strategy.refusals] == [(3, leg)]
    assert "stay at the site: bn1.mean" in strategy.refusals[0].reason


def test_a_model_with_its_local_part_is_not_sent(flower):
    """A mistake that would hand one site's layers to all."""
    grid = flower.Grid({n: flower.behind_gate(Site(flower, n)) for n in (1, 2)})
    whole = flower.model(**START, **{"bn1.mean": np.zeros(2)})
    with pytest.raises(ValueError, match=r"without bn1\.mean"):
        FlameFedBN(local=LOCAL).start(grid, whole, num_rounds=1)
    assert grid.legs("train") == []


@given(model=st.dictionaries(names, st.integers(), min_size=1, max_size=8), patterns=st.lists(names, max_size=3))
def test_the_parts_are_the_model(model, patterns):
    """Nothing is lost or in both, and the local part is what a pattern fits."""
    patterns = [pattern.replace("n", "*") for pattern in patterns]
    fits = {name for name in model for pattern in patterns if fnmatchcase(name, pattern)}
    idle = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in model)]
    if idle or fits == set(model):
        with pytest.raises(ValueError, match=r"No array|nothing is left"):
            split_local(model, patterns)
        return
    shared, local = split_local(model, patterns)
    assert shared | local == model
    assert set(local) == fits
    assert not set(shared) & fits


def test_a_pattern_that_fits_nothing_is_an_error():
    """A misspelt pattern would let leave what it was meant for."""
    with pytest.raises(ValueError, match=r"name like \*\.batchnorm\.\*"):
        split_local({"1.weight": 0, "bn1.mean": 1}, ["bn1.*", "*.batchnorm.*"])


def test_patterns_are_of_whole_names_and_heed_case():
    """As in a shell."""
    assert is_local("layer.bn1.weight", ["*.bn?.*"])
    assert not is_local("layer.bn1.weight", ["bn?.*"])
    assert not is_local("layer.BN1.weight", ["*.bn?.*"])


@pytest.mark.parametrize("local", ["*.bn1.*", [], [""]])
def test_patterns_are_a_list_that_says_something(local):
    """A string would be read letter by letter."""
    with pytest.raises(ValueError, match="list of patterns"):
        FlameFedBN(local=local)


def test_it_starts_from_the_shared_part(flower):
    """As the document has it."""
    shared, local = split_local({**START, "bn1.mean": np.zeros(2)}, ["bn?.*"])
    assert set(local) == {"bn1.mean"}
    strategy = FlameFedBN(local=["bn?.*"], evaluate=False)
    arrays = ArrayRecord({name: Array(array) for name, array in shared.items()})
    grid = flower.Grid({n: flower.behind_gate(Site(flower, n)) for n in (1, 2)})
    assert set(strategy.start(grid, arrays, num_rounds=1, train_config=ConfigRecord()).arrays) == set(START)
