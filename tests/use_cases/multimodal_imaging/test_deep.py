"""The network at DIZ and hub: rounds, parts, calibration, scores; equal to pooled patients where it must be."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from flame_strategies.output import load_model
from flwr.app import ArrayRecord
from multimodal_imaging import deep_model, deep_outcome, prediction_sums, site_deep
from multimodal_imaging.deep_model import Recipe
from multimodal_imaging.deep_result import Inputs
from multimodal_imaging.deep_run import find_inputs
from multimodal_imaging.deep_scores import auc, class_scores, number_scores, view_names
from multimodal_imaging.encoders import Input, Sizes
from multimodal_imaging.errors import InputError
from multimodal_imaging.pooled_deep import InMemory, together
from multimodal_imaging.site import Request
from multimodal_imaging.temperature import best_temperature, share_within, width_for
from sklearn.metrics import balanced_accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from tests.use_cases.multimodal_imaging import deep_sites

TASKS = {
    "regression": {},
    "binary": {"outcome": "diagnosis", "task": "binary"},
    "multiclass": {"outcome": "stage", "task": "multiclass"},
}
RECIPE = Recipe((Input("genome", (2,)), Input("T1", (6, 6))), 1, "regression", Sizes(4, 4, (2,), groups=2))


def inputs_of(sites, said):
    return find_inputs(InMemory(sites, said), said)


def message(said, inputs, weights=None, **config):
    packed = weights or deep_model.pack(deep_model.initial_weights(inputs.recipe), inputs.recipe)
    return Request(said, {**inputs.content(), **config}, packed)


@pytest.fixture(scope="module")
def ran():
    """One run by task, 2 rounds."""
    known = {}

    def go(task):
        if task not in known:
            said = deep_sites.settings(rounds=2, **TASKS[task])
            sites = deep_sites.sites(said)
            known[task] = said, sites, InMemory(sites, said).run()
        return known[task]

    return go


@pytest.mark.parametrize("fusion", ["late", "mean", "attention"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_weights_survive_packing(fusion, norm):
    """Part by part, whatever is in them; slots that are not used hold one 0."""
    recipe = replace(RECIPE, fusion=fusion, sizes=replace(RECIPE.sizes, norm=norm))
    weights = deep_model.initial_weights(recipe)
    packed = deep_model.pack(weights, recipe)
    assert list(packed) == [f"modality{n}" for n in range(1, 7)] + ["shared"]
    assert sum(part.size for part in packed.values()) == sum(w.size for w in weights.values()) + 4
    back = deep_model.unpack(packed, recipe)
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)


def test_weights_of_another_size_or_not_finite_are_refused():
    """A hub may not choose the network."""
    packed = deep_model.pack(deep_model.initial_weights(RECIPE), RECIPE)
    for odd in (packed["shared"][:-1], packed["shared"] * np.nan, None):
        with pytest.raises(InputError, match="finite weights as 'shared'"):
            deep_model.unpack({**packed, "shared": odd}, RECIPE)


def test_training_is_deterministic_and_leaves_no_trace():
    """The same bits for a seed and round, others in another round; torch's random state and what was sent stay."""
    draw = torch.Generator().manual_seed(0)
    values = {of.name: torch.randn(20, *of.sample, generator=draw) for of in RECIPE.inputs}
    seen = deep_model.Patients(values, torch.ones(20, 2, dtype=torch.bool), torch.randn(20, generator=draw))
    sent = deep_model.initial_weights(RECIPE)
    copy = {name: array.copy() for name, array in sent.items()}
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    first, second = (deep_model.train(sent, seen, RECIPE, 3)[0] for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    other, _ = deep_model.train(sent, seen, RECIPE, 4)
    for name in sent:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_array_equal(sent[name], copy[name])
    assert any(not np.array_equal(first[name], other[name]) for name in sent)


def test_a_strong_proximal_term_keeps_the_weights():
    """FedProx: the larger mu, the shorter the way; 0 is plain training."""
    draw = torch.Generator().manual_seed(0)
    values = {of.name: torch.randn(30, *of.sample, generator=draw) for of in RECIPE.inputs}
    seen = deep_model.Patients(values, torch.ones(30, 2, dtype=torch.bool), torch.randn(30, generator=draw))
    sent = deep_model.initial_weights(RECIPE)

    def way(mu):
        found, _ = deep_model.train(sent, seen, replace(RECIPE, mu=mu, weight_decay=0.0, epochs=4), 1)
        return sum(float(((found[name] - sent[name]) ** 2).sum()) for name in sent)

    assert way(0.0) > 1.2 * way(1.0) > 1.2 * way(30.0)


def test_fedbn_needs_batch_norm():
    """GroupNorm keeps nothing that is of a DIZ."""
    with pytest.raises(InputError, match='norm = "batch"'):
        replace(RECIPE, local_norms=True)


@pytest.mark.parametrize("task", TASKS)
def test_moments_are_those_of_the_pooled_training_patients(task):
    """And who has what is counted over the DIZ."""
    said = deep_sites.settings(**TASKS[task])
    sites = deep_sites.sites(said)
    found, pooled = inputs_of(sites, said), together(sites)
    own = np.concatenate([pooled.blocks[n].values for n in ("genome", "phenome")], axis=1)[pooled.train]
    np.testing.assert_allclose(found.centre, np.nanmean(own, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, np.nanstd(own, axis=0), rtol=1e-9)
    age = pooled.numbers["age"][pooled.train]
    assert found.outcome == ((0.0, 1.0) if said.classes else pytest.approx((age.mean(), age.std())))
    assert found.holders == {"genome": 4, "phenome": 5, "T1": 3}
    for name, block in pooled.blocks.items():
        assert found.patients[name] == (block.there & pooled.train).sum()


def test_a_modality_at_too_few_sites_ends_the_run():
    """Before a round: with two holders each knows the other's encoder."""
    said = deep_sites.settings()
    sites = [deep_sites.site(n, said, lacks=("T1",) if n > 1 else ()) for n in range(5)]
    with pytest.raises(InputError, match="T1 at 2"):
        inputs_of(sites, said)


def test_a_site_answers_with_its_own_training_and_shares():
    """What `modality_average` expects; of a modality it lacks, the weights as they came."""
    said = deep_sites.settings(calibration=0.0)
    sites = deep_sites.sites(said)
    inputs = inputs_of(sites, said)
    own = sites[3]  # without images
    request = message(said, inputs, **{"server-round": 2})
    arrays, metrics = site_deep.train(own, request)
    rows = np.flatnonzero(own.train & np.any([b.there for b in own.blocks.values()], axis=0))
    had = np.array([own.blocks[name].there[rows].sum() for name in said.modalities])
    np.testing.assert_allclose(arrays["shares"], had / len(rows), rtol=1e-6)
    assert metrics["num-examples"] == len(rows)
    assert [metrics[f"sites-modality{n}"] for n in range(1, 7)] == [1, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(arrays["modality3"], request.arrays["modality3"])
    assert not np.array_equal(arrays["shared"], request.arrays["shared"])
    seen = site_deep.see(own, request, inputs.recipe, rows)
    expected, loss = deep_model.train(deep_model.initial_weights(inputs.recipe), seen, inputs.recipe, 2)
    packed = deep_model.pack(expected, inputs.recipe)
    np.testing.assert_array_equal(arrays["shared"], packed["shared"])
    change = (packed["modality1"].astype(float) - request.arrays["modality1"]) * had[0] / len(rows)
    np.testing.assert_allclose(arrays["modality1"], request.arrays["modality1"] + change, atol=1e-7)
    assert metrics["train-loss"] == loss


def test_one_site_that_has_all_is_pooled_training():
    """Averaging over one is nothing: round after round the same network as without a federation."""
    said = deep_sites.settings(rounds=2)
    pooled = together(deep_sites.sites(said))
    inputs = Inputs.of(InMemory([pooled], said)("query.mm_deep_moments", {}), replace(said, min_holders=1))
    found = InMemory([pooled], said).fit(inputs)
    rows = site_deep.trained(pooled, said)
    rows = rows[~site_deep.calibrating(pooled, said)[rows]]
    seen = site_deep.see(pooled, message(said, inputs), inputs.recipe, rows)
    weights = deep_model.initial_weights(inputs.recipe)
    for number in (1, 2):
        weights, _ = deep_model.train(weights, seen, inputs.recipe, number)
    for slot, part in deep_model.pack(weights, inputs.recipe).items():
        np.testing.assert_allclose(found.packed[slot], part, atol=2e-5)


def test_who_calibrates_neither_trains_nor_tests():
    """The three sets are apart, and the same wherever a patient is."""
    said = deep_sites.settings(calibration=0.3)
    sites = deep_sites.sites(said)
    own, pooled = sites[0], together(sites)
    held, request = site_deep.calibrating(own, said), message(said, inputs_of(sites, said))
    calibrate, test = (
        site_deep.asked(own, replace(request, config={**request.config, "set": name})) for name in ("calibrate", "test")
    )
    assert held[calibrate].all()
    assert own.train[calibrate].all()
    assert not own.train[test].any()
    _, metrics = site_deep.train(own, request)
    assert metrics["num-examples"] == len(site_deep.trained(own, said)) - len(calibrate)
    np.testing.assert_array_equal(site_deep.calibrating(pooled, said)[: own.rows], held)
    with pytest.raises(InputError, match="none of the sets"):
        site_deep.asked(own, replace(request, config={"set": "train"}))


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_the_pooled_test_patients(ran, task):
    """From sums and counts the same numbers as scikit-learn gives for all outputs, for every view."""
    said, sites, result = ran(task)
    pooled = together(sites)
    request = message(said, result.inputs, result.trained.packed, set="test")
    rows = site_deep.asked(pooled, request)
    out = site_deep.outputs(pooled, request, result.inputs.recipe, rows)
    y = site_deep.outcome(pooled, said)[rows]
    scores = (class_scores if said.classes else number_scores)(result.test)
    assert len(scores) == len(view_names(said.modalities)) == 7
    for own, found in zip(out, scores, strict=True):
        assert found.patients == len(rows)
        if task == "regression":
            p = own[:, 0] * result.inputs.outcome[1] + result.inputs.outcome[0]
            assert found.measures["mae"] == pytest.approx(mean_absolute_error(y, p), rel=1e-6)
            assert found.measures["r2"] == pytest.approx(r2_score(y, p), rel=1e-5)
            assert found.measures["r"] == pytest.approx(np.corrcoef(y, p)[0, 1], rel=1e-5)
            continue
        p = prediction_sums.softmax(prediction_sums.two_sided(own) / result.temperature.value)
        binned = np.floor(p * said.score_bins)
        truth = y.astype(int)
        assert found.measures["balanced accuracy"] == pytest.approx(balanced_accuracy_score(truth, p.argmax(axis=1)))
        assert found.measures["log loss"] == pytest.approx(log_loss(truth, p), rel=1e-5)
        classes = [1] if task == "binary" else range(3)
        areas = [roc_auc_score(truth == c, binned[:, c]) for c in classes]
        assert found.measures["auc"] == pytest.approx(np.mean(areas), abs=1e-6)


def test_who_has_nothing_left_gets_the_offset(ran):
    """Who lacks T1 is foretold by T1 alone as everybody else who does."""
    said, sites, result = ran("regression")
    pooled = together(sites)
    request = message(said, result.inputs, result.trained.packed, set="test")
    rows = site_deep.asked(pooled, request)
    out = site_deep.outputs(pooled, request, result.inputs.recipe, rows)
    alone = out[view_names(said.modalities).index("only T1"), :, 0]
    there = pooled.blocks["T1"].there[rows]
    assert len(np.unique(alone[~there])) == 1
    assert len(np.unique(alone[there])) > 20
    assert len(np.unique(result.test["n"])) == 1


def test_temperature_of_known_outputs_is_found():
    """Outputs that are three times too sure: T = 3, from sums over two sites, finer than the grid."""
    draw = np.random.default_rng(0)
    z = draw.normal(0, 1.5, (6000, 3))
    p = prediction_sums.softmax(z)
    place = np.array([draw.choice(3, p=row) for row in p])
    halves = [slice(0, 2500), slice(2500, 6000)]
    sums = sum(prediction_sums.class_sums(place[h], 3 * z[None, h], 1.0, 10)["by_temperature"] for h in halves)
    found = best_temperature(prediction_sums.temperatures(), sums, 6000)
    assert found.value == pytest.approx(3.0, rel=0.04)
    assert found.after <= log_loss(place, prediction_sums.softmax(z)) + 1e-4
    assert found.before == pytest.approx(log_loss(place, prediction_sums.softmax(3 * z)), rel=1e-6)
    assert best_temperature(prediction_sums.temperatures(), sums * 0, 0).value == 1.0


def test_a_temperature_out_of_reach_is_refused(ran):
    """A hub that makes everybody sure could read outputs one by one."""
    said, sites, result = ran("binary")
    for odd in (0.0, 0.01, 1000.0, float("nan")):
        with pytest.raises(InputError, match="temperature"):
            site_deep.mm_deep_scores(
                sites[0], message(said, result.inputs, result.trained.packed, set="test", temperature=odd)
            )


def test_scaling_that_does_not_fit_is_refused(ran):
    """Wrong number, not finite, or not above 0."""
    said, sites, result = ran("regression")
    fine = message(said, result.inputs)
    odd = ({"scale": [0.0] * 4}, {"centre": [1.0]}, {"centre": [float("nan")] * 4}, {"outcome-scale": -1.0})
    for config in odd:
        with pytest.raises(InputError, match=r"centre"):
            site_deep.train(sites[0], replace(fine, config={**fine.config, **config}))


def test_width_holds_the_stated_share():
    """Split conformal from counts: never narrower than from the errors themselves, and at most a bin wider."""
    errors = np.abs(np.random.default_rng(0).normal(0, 2, 199))
    counts = np.bincount(np.minimum(errors / 0.1, 399).astype(int), minlength=400)
    width = width_for(counts, 0.1, 0.9)
    exact = np.sort(errors)[int(np.ceil(200 * 0.9)) - 1]
    assert exact <= width <= exact + 0.1
    assert share_within(counts, 0.1, width) == pytest.approx((errors <= width).mean())
    assert width_for(counts[:1] * 0, 0.1, 0.9) == np.inf
    assert width_for(np.array([3, 0]), 0.1, 0.9) == np.inf


@pytest.mark.parametrize(("other", "own", "area"), [([1, 0], [0, 1], 1), ([0, 1], [1, 0], 0), ([2, 2], [2, 2], 0.5)])
def test_area_by_hand(other, own, area):
    """Ties count one half; without one of the classes there is none."""
    assert auc(np.array([other, own])) == area
    assert np.isnan(auc(np.array([[0, 0], own])))


def test_fedbn_keeps_norms_at_the_site():
    """They are in no answer, and in the next round the site goes on from its own."""
    said = deep_sites.settings(norm="batch", strategy="fedbn", rounds=2)
    sites = deep_sites.sites(said)
    plain = deep_sites.settings(norm="batch", rounds=2)
    inputs, all_of = inputs_of(sites, said), inputs_of(sites, plain)
    local = deep_model.local_names(inputs.recipe)
    assert any(name.endswith("running_mean") for name in local)
    sizes = {name: array.size for name, array in deep_model.initial_weights(inputs.recipe).items()}
    kept = {}
    arrays, _ = site_deep.train(sites[0], replace(message(said, inputs), kept=kept))
    both, _ = site_deep.train(sites[0], message(plain, all_of))
    parts = ("modality1", "modality2", "modality3", "shared")
    assert sum(both[slot].size - arrays[slot].size for slot in parts) == sum(sizes[name] for name in local)
    assert isinstance(kept["norms"], ArrayRecord)
    assert set(kept["norms"]) == set(local)
    again, sent = dict(kept), {slot: arrays[slot] for slot in (*deep_model.SLOTS, "shared")}
    site_deep.train(sites[0], replace(message(said, inputs, sent, **{"server-round": 2}), kept=again))
    name = next(name for name in local if name.endswith("running_mean"))
    assert not np.array_equal(kept["norms"][name].numpy(), again["norms"][name].numpy())


@pytest.mark.parametrize("task", TASKS)
def test_outcome_and_model_files(ran, task, tmp_path):
    """Figures lie where the entries say; the model can be read again and gives the same outputs."""
    said, _, result = ran(task)
    (tmp_path / "plots").mkdir()
    outcome = deep_outcome.build(tmp_path, result, (1, 2, 3, 4, 5), 6)
    assert all((tmp_path / figure["file"]).stat().st_size > 500 for figure in outcome.figures)
    assert json.loads(json.dumps(outcome.details))["holders"]["1"] == {"genome": 4, "phenome": 5, "T1": 3}
    assert outcome.numbers["test, all"]["patients"] == result.test["n"][0]
    arrays, described = load_model(tmp_path)
    assert described["modalities"]["T1"]["shape"] == list(deep_sites.SIDES)
    weights = {name.removeprefix("weights/"): a for name, a in arrays.items() if name.startswith("weights/")}
    packed = deep_model.pack(weights, result.inputs.recipe)
    for slot, part in packed.items():
        np.testing.assert_array_equal(part, result.trained.packed[slot])
    assert len(outcome.tables[0]["rows"]) == 7
    labels = [line["label"] for line in outcome.headline]
    assert ("temperature" in labels) == bool(said.classes)
