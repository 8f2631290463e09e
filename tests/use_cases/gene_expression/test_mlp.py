"""The network, its rounds of averaging, and the scores of the samples it was not trained on."""

import numpy as np
import pytest
import torch
from gene_expression import mlp
from gene_expression.classify_model import ClassifySettings
from gene_expression.errors import InputError
from gene_expression.mlp_run import find_inputs, fit_network, run_mlp
from gene_expression.site_mlp import train
from gene_expression.table import Request
from gene_expression.validation import Population
from sklearn.metrics import roc_auc_score

from tests.use_cases.gene_expression.phenotype_sites import CLASSES, GENES, STAGES, make

RECIPE = mlp.Recipe(hidden=8, epochs=3, learning_rate=0.02, dropout=0.1)
SETTINGS = ClassifySettings("group", CLASSES, numeric=("age",), select=5, validation="none", bins=50)


@pytest.fixture(autouse=True)
def one_thread():
    """As in a sandbox with one core; threads of several tests would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(n=80):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 6))
    return z, (z[:, 0] - z[:, 1] > 0).astype(np.int64)


def averaging(sites, rounds=4):
    """Federated averaging in plain numpy, as FlameFedAvg does it: weighted by samples."""

    def run(start, config):
        weights = dict(start)
        for number in range(1, rounds + 1):
            request = Request({**config, "server-round": number}, weights)
            updates = [train(table, request) for table in sites.tables]
            total = sum(metrics["num-examples"] for _, metrics in updates)
            weights = {
                name: sum(
                    arrays[name].astype(np.float64) * metrics["num-examples"] / total for arrays, metrics in updates
                ).astype(np.float32)
                for name in weights
            }
        return weights

    return run


def test_training_is_deterministic_and_leaves_no_trace():
    """The same bits for a seed and round, others in another round; torch's random state and what was sent stay."""
    z, place = data()
    sent = mlp.initial_weights(6, 2, RECIPE)
    copy = {name: array.copy() for name, array in sent.items()}
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first, second = (mlp.train(sent, z, place, RECIPE, 3)[0] for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    other, _ = mlp.train(sent, z, place, RECIPE, 4)
    for name in sent:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_array_equal(sent[name], copy[name])
    assert not np.array_equal(first["hidden.weight"], other["hidden.weight"])


@pytest.mark.parametrize("groups", [0, 2])
def test_training_learns(groups):
    """With and without group normalisation; probabilities add up to 1."""
    z, place = data()
    recipe = mlp.Recipe(hidden=8, epochs=30, learning_rate=0.02, dropout=0.0, norm_groups=groups)
    start = mlp.initial_weights(6, 2, recipe)
    assert ("norm.weight" in start) == (groups > 0)
    weights, loss = mlp.train(start, z, place, recipe, 1)
    p = mlp.predict(weights, z, recipe)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == place).mean() > 0.95
    assert 0 < loss < np.log(2)


def test_no_layer_has_running_statistics():
    """They would leave with the weights: buffers of the network are none."""
    for groups in (0, 4):
        network = mlp.network(3, 2, mlp.Recipe(hidden=8, norm_groups=groups))
        assert not list(network.buffers())


def test_a_site_without_samples_sends_back_what_came():
    """And weighs nothing."""
    sites = make(60, 4).sites()
    inputs = find_inputs(sites, SETTINGS, {"case": GENES[:3]}, Population(split="test"))
    start = mlp.initial_weights(4, 2, RECIPE)
    config = {**inputs.content(SETTINGS, RECIPE), "classes": ["control", "case"]}
    table = make(60, 4)
    table.codes["split"][:] = 0
    arrays, metrics = train(table.table(table.home == 0, 2**63), Request(config, start))
    assert metrics == {"num-examples": 0, "train-loss": 0.0}
    for name in start:
        np.testing.assert_array_equal(arrays[name], start[name])


def test_area_under_the_curve_is_that_of_the_pooled_test_samples():
    """Scores of the same network, pooled, in the same bins: to the last digit."""
    study = make(240, 6)
    sites = study.sites()
    found = run_mlp(sites, averaging(sites), SETTINGS, RECIPE, GENES, ask=sites.ask)
    rows = study.codes["split"] == 1
    names = [name.removeprefix("gene:") for name in found.inputs.design.columns]
    X = np.column_stack([study.genes[:, GENES.index(n)] if n in GENES else study.numbers[n] for n in names])[rows]
    p = mlp.predict(found.weights, (X - found.inputs.scaling.centre) / found.inputs.scaling.scale, RECIPE)[:, 1]
    truth = study.codes["group"][rows]
    curve = found.test.curves["case"]
    assert curve.auc == pytest.approx(roc_auc_score(truth, np.floor(p * 50)), abs=1e-14)
    assert curve.low <= roc_auc_score(truth, p) <= curve.high
    assert curve.auc > 0.75
    assert sum(scores.samples for scores in found.test_by_site.values()) == rows.sum()
    assert np.trace(found.test.confusion) == ((p >= 0.5) == truth).sum()


def test_sites_train_as_the_content_says():
    """One round from one site's rows is training on them with pooled centre and scale."""
    study = make(100, 7)
    sites = study.sites()
    inputs = find_inputs(sites, SETTINGS, {"case": ("G0", "G2")}, Population())
    weights = fit_network(averaging(type(sites)(sites.tables[:1]), rounds=1), SETTINGS, RECIPE, inputs)
    train_rows = study.codes["split"] == 0
    X = np.column_stack([study.genes[:, 0], study.genes[:, 2], study.numbers["age"]])
    np.testing.assert_allclose(inputs.scaling.centre, X[train_rows].mean(axis=0))
    np.testing.assert_allclose(inputs.scaling.scale, X[train_rows].std(axis=0))
    own = train_rows & (study.home == 0)
    z = (X[own] - inputs.scaling.centre) / inputs.scaling.scale
    expected, _ = mlp.train(mlp.initial_weights(3, 2, RECIPE), z, study.codes["group"][own], RECIPE, 1)
    for name in expected:
        np.testing.assert_allclose(weights[name], expected[name], rtol=1e-6)


def test_several_classes_and_validation_by_patients():
    """One output each; every training sample is scored once, by a network that did not see its patient."""
    study = make(150, 8)
    sites = study.sites()
    settings = ClassifySettings("stage", STAGES, select=4, outer_folds=3, bins=20, stability=2)
    found = run_mlp(sites, averaging(sites, rounds=2), settings, RECIPE, GENES)
    assert found.validation.samples == (study.codes["split"] == 0).sum()
    assert len(found.by_fold) == 3
    assert found.validation.counts.shape == (3, 2, 20)
    assert set(found.stability) == set(STAGES)


def test_validation_by_sites_and_odd_groups_are_refused():
    """A site whose samples are all held out has nothing to train on."""
    sites = make(60).sites()
    with pytest.raises(InputError, match="by patients"):
        run_mlp(sites, averaging(sites), ClassifySettings("group", CLASSES, validation="sites"), RECIPE, GENES)
    with pytest.raises(InputError, match="does not divide"):
        mlp.Recipe(hidden=8, norm_groups=3)


def test_recipe_survives_the_way_through_a_message():
    """Numbers come back as they were."""
    assert mlp.Recipe.from_content(RECIPE.content()) == RECIPE
    assert mlp.Recipe.from_content({}) == mlp.Recipe()
