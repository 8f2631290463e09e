"""Networks, scalings and images by which a hub, or whoever made an image, would get more than sums over groups.

Each attack works by the formula that the DIZ computes, and fails through `approved.check` and the DIZ's function.
"""

import gzip
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from multimodal_imaging import (
    approved,
    client_app,
    deep_model,
    image_store,
    images,
    prediction_sums,
    saliency,
    site_deep,
)
from multimodal_imaging.deep_scores import view_names
from multimodal_imaging.errors import InputError
from multimodal_imaging.image_checks import Refused
from multimodal_imaging.pooled_deep import InMemory
from multimodal_imaging.site import Request

from tests.use_cases.multimodal_imaging import deep_sites, made

FEATURES = 4
"""Of the tables of `deep_sites`: a score and three columns."""


def ask(query, site, said, config, arrays, kept=None):
    """What the DIZ answers, after what the app holds every message to."""
    approved.check(query, config, arrays, client_app.ASKED, said)
    request = Request(said, config, arrays, {} if kept is None else kept)
    if query == "train":
        return site_deep.train(site, request)[0]
    return client_app.ANSWERS[query](site, request)


def scaling(**more):
    return {
        "centre": [0.0] * FEATURES,
        "scale": [1.0] * FEATURES,
        "outcome-centre": 50.0,
        "outcome-scale": 12.0,
        **more,
    }


@pytest.fixture(scope="module")
def start():
    """Settings, DIZ, recipe, and the approved seed's weights."""
    said = deep_sites.settings()
    sites = deep_sites.sites(said)
    recipe = site_deep.recipe_of(sites[0], said)
    return said, sites, recipe, deep_model.pack(deep_model.initial_weights(recipe), recipe)


@pytest.fixture(scope="module")
def spotlight():
    """A network that looks at images of one patient of one DIZ alone: whose blood pressure is highest.

    The phenome's logit is larger than that of T1 unless its unit falls to 0, which it does beyond a threshold between
    the highest and the next.
    """
    said = deep_sites.settings(fusion="attention", min_group=5)
    site = deep_sites.site(0, said, n=60)
    recipe = site_deep.recipe_of(site, said)
    rows = np.flatnonzero(~site.train & site.blocks["T1"].there & np.isfinite(site.blocks["phenome"].values[:, 0]))
    rows = rows[np.argsort(-site.blocks["phenome"].values[rows, 0])]
    highest, following = site.blocks["phenome"].values[rows[:2], 0]
    weights = deep_model.initial_weights(recipe)
    for name in weights:
        if ".phenome." in name or ".genome." in name or ".key." in name or name == "shared.query":
            weights[name] = np.zeros_like(weights[name])
    weights["shared.query"][0] = 1
    weights["modality.T1.key.bias"][0] = 300
    for name in ("genome", "phenome"):
        weights[f"modality.{name}.key.weight"][0, 0] = 1
        weights[f"modality.{name}.encoder.1.weight"][:] = 1
    weights["modality.genome.encoder.4.bias"][0] = -1e6
    first, bias = (weights[f"modality.phenome.encoder.0.{part}"] for part in ("weight", "bias"))
    first[0, 0], bias[1], bias[2] = -1, 1000, -1000  # the others of the group fix its mean and spread
    weights["modality.phenome.encoder.4.weight"][0, 0] = 1e9
    centre, scale = [0.0] * FEATURES, [1.0] * FEATURES
    centre[1], scale[1] = float((highest + following) / 2), 1e-3
    config = scaling(centre=centre, scale=scale, set="test")
    return said, site, recipe, weights, config, rows[0]


def looked_at(site, said, recipe, weights, config):
    """Rows of the test patients at whose T1 the network looks."""
    request = Request(said, config, {})
    rows = site_deep.asked(site, request)
    patients = site_deep.see(site, request, recipe, rows)
    found, weight = saliency.gradient_input(deep_model.load(weights, recipe), patients)
    column = said.modalities.index("T1")
    has = site.blocks["T1"].there[rows] & np.isfinite(site.blocks["phenome"].values[rows, 0])
    return rows[has & (found["T1"].reshape(len(rows), -1).sum(axis=1) > 0) & (weight[:, column] > saliency.WEIGHS)]


def test_a_network_that_looks_at_one_patient(spotlight, monkeypatch):
    """It exists; the DIZ refuses its weights, and would answer zeros if it did not."""
    said, site, recipe, weights, config, target = spotlight
    assert looked_at(site, said, recipe, weights, config).tolist() == [target]
    packed = deep_model.pack(weights, recipe)
    for query in ("mm_saliency", "mm_deep_scores"):
        with pytest.raises(InputError, match="further from the approved seed"):
            ask(query, site, said, config, packed)
    monkeypatch.setattr(site_deep, "anchored", lambda *_: None)
    lacking = ~np.isfinite(site.blocks["phenome"].values[:, 0])
    alone = replace(site, train=site.train | lacking)  # who has no blood pressure is looked at as well
    found = ask("mm_saliency", alone, said, config, packed)
    column = said.modalities.index("T1")
    assert found["counts"][column] == 0
    assert not found["weights"][column].any()
    assert not found["images"].any()
    assert not found["maps"][FEATURES:].any()


@pytest.mark.parametrize("overrides", [{"saliency": False}, {"norm": "none"}, {"norm": "batch"}])
def test_pictures_that_were_not_approved(start, overrides):
    said, sites, _, packed = start
    with pytest.raises(InputError, match="Pictures need"):
        ask("mm_saliency", sites[0], replace(said, **overrides), scaling(set="test"), packed)


@given(st.integers(4, 13), st.integers(4, 9), st.integers(0, 99))
def test_maps_are_means_over_boxes(height, width, seed):
    """Of at least 4 x 4 points, and nothing is lost."""
    drawn = np.random.default_rng(seed).random((height, width))
    found = saliency.coarse(drawn)
    assert found.shape == drawn.shape
    assert found.sum() == pytest.approx(drawn.sum())
    assert len(np.unique(found.round(12))) <= (height // 4) * (width // 4)
    np.testing.assert_allclose(found[:4, :4] if min(height, width) > 7 else found.mean(), found[0, 0]
                               if min(height, width) > 7 else drawn.mean())  # fmt: skip


def test_first_round_is_the_approved_seed_s(start):
    """Not even a little else; a later round as far as training goes."""
    said, sites, recipe, packed = start
    ask("train", sites[0], said, scaling(**{"server-round": 1}), packed)
    moved = {slot: part + np.float32(0.01) for slot, part in packed.items()}
    with pytest.raises(InputError, match="further from the approved seed"):
        ask("train", sites[0], said, scaling(**{"server-round": 1}), moved)
    ask("train", sites[0], said, scaling(**{"server-round": 2}), moved)
    far = {slot: part + np.float32(2 * 2 * site_deep.FREE_STEPS * recipe.rate(1)) for slot, part in packed.items()}
    with pytest.raises(InputError, match="further from the approved seed"):
        ask("train", sites[0], said, scaling(**{"server-round": 2}), far)
    for number in (0, -1, said.rounds + 1):
        with pytest.raises(InputError, match="rounds 1 to"):
            ask("train", sites[0], said, scaling(**{"server-round": number}), packed)


@pytest.mark.parametrize(
    "overrides", [{}, {"fusion": "late", "strategy": "fedprox"}, {"norm": "batch", "epochs": 3, "batch_size": 8}]
)
def test_honest_training_is_within_half_of_what_is_allowed(overrides, monkeypatch):
    """DIZ of 6 to 150 patients; relative to what is allowed, weights go furthest in the first round."""
    said = deep_sites.settings(saliency=False, rounds=1, **overrides)
    sites = [deep_sites.site(number, said, n=n) for number, n in enumerate((6, 150, 30, 20, 30))]
    whole, asked = site_deep.anchored, []

    def half(sent, recipe, rounds, steps):
        asked.append(rounds)
        whole(sent, recipe, rounds, steps // 2)

    monkeypatch.setattr(site_deep, "anchored", half)
    InMemory(sites, said).run()
    assert set(asked) == {0, 1}


def test_running_statistics_that_no_batch_has(start):
    said, sites, _, _ = start
    said = replace(said, norm="batch")
    recipe = site_deep.recipe_of(sites[0], said)
    weights = deep_model.initial_weights(recipe)
    name = next(name for name in weights if name.endswith("running_var"))
    weights[name] = weights[name] - 2
    with pytest.raises(InputError, match="further from the approved seed"):
        ask("mm_deep_scores", sites[0], said, scaling(set="test"), deep_model.pack(weights, recipe))


def test_centres_and_scales_stay_those_of_the_session(start):
    """Two thresholds that differ a little would tell of who is between."""
    said, sites, _, packed = start
    kept = {}
    ask("mm_deep_scores", sites[0], said, scaling(set="test"), packed, kept)
    ask("mm_deep_scores", sites[0], said, scaling(set="calibrate"), packed, kept)
    for key, other in {"centre": [0.1] * FEATURES, "scale": [2.0] * FEATURES, "outcome-centre": 51.0,
                       "outcome-scale": 1.0}.items():  # fmt: skip
        for query, more in (("mm_deep_scores", {"set": "test"}), ("train", {}), ("mm_saliency", {"set": "test"})):
            with pytest.raises(InputError, match="Centres and scales changed"):
                ask(query, sites[0], said, scaling(**{**more, key: other}), packed, kept)


def test_a_tiny_scale_sets_nobody_apart(start):
    """By the formula all would be beyond 1e9; what the network sees is within 8, and a quarter of a deviation is 1."""
    said, sites, recipe, _ = start
    own = sites[0]
    values = own.blocks["phenome"].values[:, 0]
    middle = float(np.nanmedian(values))
    config = scaling(centre=[0.0, middle, 0.0, 0.0], scale=[1.0, 1e-12, 1.0, 1.0], **{"outcome-scale": 1e-12})
    rows = site_deep.trained(own, said)
    assert np.nanmax(abs(values[rows] - middle) / 1e-12) > 1e9
    seen = site_deep.see(own, Request(said, config, {}), recipe, rows)
    z = seen.values["phenome"].numpy()[:, 0]
    here = np.isfinite(values[rows])
    assert abs(seen.values["phenome"].numpy()).max() <= site_deep.LARGEST
    assert float(seen.target.abs().max()) <= site_deep.LARGEST
    expected = (values[rows] - middle)[here] / (site_deep.LEAST_SHARE * np.nanstd(values[rows]))
    np.testing.assert_allclose(z[here], np.clip(expected, -8, 8), rtol=1e-5, atol=1e-6)


def test_views_do_not_differ_by_a_patient(start):
    """Of one patient without phenome, sums of all and of the phenome alone would differ by that one's outcome."""
    said, sites, _, packed = start
    own = sites[0]
    block = own.blocks["phenome"]
    target = int(np.flatnonzero(~own.train & own.blocks["genome"].there)[0])
    there = np.arange(own.rows) != target
    blocks = {
        **own.blocks,
        "phenome": replace(block, there=there, values=np.where(there[:, None], block.values, np.nan)),
    }
    own = replace(own, blocks=blocks)
    test = np.flatnonzero(~own.train)
    age = own.numbers["age"]
    assert age[test].sum() - age[test][there[test]].sum() == pytest.approx(age[target])
    found = ask("mm_deep_scores", own, said, scaling(set="test"), packed)
    alone = view_names(said.modalities).index("only phenome")
    assert found["values"][0, 0] == found["values"][alone, 0] == pytest.approx(age[test].sum())
    assert len(set(found["n"].tolist())) == 1


def test_errors_cannot_be_zoomed_into(start):
    """A network that says one number makes errors outcomes; bins stay wide and no bin of a DIZ has fewer than 5."""
    said, _, _, packed = start
    own = deep_sites.site(0, said, n=120)
    config = scaling(set="test", **{"outcome-centre": 20.0, "outcome-scale": 1e-3})
    found = ask("mm_deep_scores", own, replace(said, min_cell=5), config, packed)
    errors = found["errors"][0]
    y = own.numbers["age"][site_deep.asked(own, Request(said, config, {}))]
    assert errors.sum() == len(y)
    assert errors[errors > 0].min() >= 5
    fine = np.bincount((abs(y - 20.0) / 1e-3 / 0.01).astype(int))
    assert fine.max() == 1, "with the message's unit each patient has a bin"
    unit = site_deep.outcome_scaling(own, Request(said, config, {}))[1]
    assert unit >= site_deep.LEAST_SHARE * np.std(own.numbers["age"][site_deep.trained(own, said)]) * 0.999


@given(st.lists(st.integers(0, 7), min_size=1, max_size=40), st.integers(1, 9))
def test_small_bins_are_merged_upwards(counts, least):
    """Nobody is lost, no error becomes smaller, and none is moved beyond the largest."""
    counts = np.array(counts, dtype=np.int64)
    found = prediction_sums.merged(counts, least)
    assert found.sum() == counts.sum()
    assert (np.cumsum(found) <= np.cumsum(counts)).all()
    assert (found[found > 0] >= min(least, counts.sum())).all()
    if counts.any():
        assert np.flatnonzero(found)[-1] == np.flatnonzero(counts)[-1]
    if least == 1:
        np.testing.assert_array_equal(found, counts)


def test_a_volume_that_swells_is_refused_by_its_header(tmp_path):
    """Two gigabytes of zeros, packed into little, of which not a voxel is read."""
    head = bytearray(made.nifti(tmp_path / "a.nii", np.zeros((8, 8, 8), np.uint8)).read_bytes()[:352])
    head[42:48] = struct.pack("<3h", 1240, 1240, 1240)
    file = tmp_path / "b.nii.gz"
    file.write_bytes(gzip.compress(bytes(head)))
    assert reason(image_store.Entry("P", "T1", (file,))) == "dimensions"


def test_a_picture_that_swells_is_refused_by_its_header(tmp_path):
    """Pixels that are not there: the size is looked at first."""
    file = tmp_path / "a.png"
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    head = struct.pack(">IIBBBBB", 13000, 13000, 8, 0, 0, 0, 0)
    body = part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(Refused) as refused:
        images.read_png(file)
    assert refused.value.reason == "dimensions"


def test_want_of_memory_is_a_reason_and_no_crash(tmp_path, monkeypatch):
    """One patient's image would end the run, and say so of a DIZ."""
    file = made.nifti(tmp_path / "a.nii", made.head())

    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(image_store, "check_volume", none_left)
    assert reason(image_store.Entry("P", "T1", (file,))) == "unreadable"


def reason(entry):
    with pytest.raises(Refused) as refused:
        image_store.on_grid(entry, made.settings())
    return refused.value.reason


def test_torch_is_left_as_it_was(start):
    """`anchored` draws the seed's weights anew for each message."""
    said, sites, _, packed = start
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    ask("mm_deep_scores", sites[0], said, scaling(set="test"), packed)
    assert torch.equal(torch.rand(1), expected)
