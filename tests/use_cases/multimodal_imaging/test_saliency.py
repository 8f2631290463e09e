"""What the network looks at: right by hand, only sums over groups, and pictures of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from multimodal_imaging import deep_model, plots, saliency, saliency_plots, site_saliency
from multimodal_imaging.deep_run import find_inputs
from multimodal_imaging.pooled_deep import InMemory, together
from multimodal_imaging.site import Request
from PIL import Image

from tests.use_cases.multimodal_imaging import deep_sites


@pytest.fixture(scope="module")
def trained():
    said = deep_sites.settings(rounds=8, learning_rate=0.01)
    sites = deep_sites.sites(said)
    return said, sites, InMemory(sites, said).run()


def ask(said, result, **overrides):
    return Request(replace(said, **overrides), {**result.inputs.content(), "set": "test"}, dict(result.trained.packed))


def test_a_linear_network_by_hand():
    """|weight x input| divided by its sum; an indicator's share goes to its feature."""

    class Linear(torch.nn.Module):
        inputs = (deep_model.Input("genome", (2,)),)

        def embed(self, values, present):
            return values["genome"] @ torch.tensor([3.0, -1.0, 0.5, 0.0])[:, None], torch.zeros(len(present), 1)

        def fuse(self, said, logits):
            return said

        def weights(self, logits):
            return torch.ones_like(logits)

    x = torch.tensor([[1.0, -2.0, 0.0, 0.0], [0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    patients = deep_model.Patients({"genome": x}, torch.ones(3, 1, dtype=torch.bool), torch.zeros(3))
    found, weights = saliency.gradient_input(Linear(), patients)
    np.testing.assert_allclose(found["genome"], [[3 / 5, 2 / 5], [0.5 / 2.5, 2 / 2.5], [0, 0]])
    np.testing.assert_array_equal(weights, 1)


def test_sums_are_those_of_the_pooled_patients(trained):
    """Maps, images, weights and counts; each patient weighs 1."""
    said, sites, result = trained
    parts = [site_saliency.mm_saliency(site, ask(said, result, min_group=1)) for site in sites]
    whole = site_saliency.mm_saliency(together(sites), ask(said, result, min_group=1))
    for name, array in whole.items():
        np.testing.assert_allclose(sum(part[name] for part in parts), array, rtol=1e-4, atol=1e-5)
    maps = saliency_plots.split_maps(whole["maps"], {of.name: of.shape for of in result.inputs.recipe.inputs})
    for (name, found), count in zip(maps.items(), whole["counts"], strict=True):
        assert found.sum() == pytest.approx(count, rel=0.05), name
    np.testing.assert_allclose(whole["weights"][:, :-1].sum(axis=1), whole["weights"][:, -1], rtol=1e-6)


def test_a_small_group_is_left_out(trained):
    """Fewer than min-group of a DIZ's test patients: zeros, and not counted; also of the images."""
    said, sites, result = trained
    own = sites[0]
    there = (own.blocks["T1"].there & ~own.train).sum()
    kept = site_saliency.mm_saliency(own, ask(said, result, min_group=int(there)))
    gone = site_saliency.mm_saliency(own, ask(said, result, min_group=int(there) + 1))
    assert kept["counts"][2] == there
    assert kept["images"].any()
    assert gone["counts"][2] == 0
    assert not gone["images"].any()
    assert not gone["weights"][2].any()
    assert not gone["maps"][4:].any()
    nothing = site_saliency.mm_saliency(own, ask(said, result, min_group=10**6))
    assert not any(array.any() for array in nothing.values())


def test_the_network_looks_where_the_outcome_is_told(trained, monkeypatch):
    """The spot gets clearly more than its share of the volume, and than it gets from a network that has not learned.

    Looked at voxel by voxel: on this small grid the boxes of what leaves are as large as the spot.
    """
    said, sites, result = trained
    monkeypatch.setattr(saliency, "SIDE", 1)
    recipe = result.inputs.recipe

    def spot(sums):
        volume = saliency_plots.split_maps(sums["maps"], {of.name: of.shape for of in recipe.inputs})["T1"]
        return volume[deep_sites.SPOT].mean() / volume.mean()

    start = deep_model.pack(deep_model.initial_weights(recipe), recipe)
    before = InMemory(sites, said)(
        "query.mm_saliency", {"config": {**result.inputs.content(), "set": "test"}, "arrays": start}
    )
    content = {"config": {**result.inputs.content(), "set": "test"}, "arrays": dict(result.trained.packed)}
    after = InMemory(sites, said)("query.mm_saliency", content)
    assert spot(after) > 1.4
    assert spot(after) > 1.25 * spot(before)


@pytest.mark.parametrize("shape", [(10, 12, 9), (16, 11)], ids=["volume", "picture"])
def test_pictures_show_the_map_on_the_image(tmp_path, shape):
    """Colour where the map is strong, grey elsewhere; the same bytes for the same numbers."""
    behind = np.ones(shape)
    said = np.full(shape, 1e-6)
    said[tuple(slice(side // 2 - 2, side // 2 + 2) for side in shape)] = 1.0
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        entry = saliency_plots.image(folder, "T1", said, behind, 25)
        files.append(folder / entry["file"])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "25 test patients" in entry["caption"]
    pixels = np.asarray(Image.open(files[0]).convert("RGB")).astype(int)
    coloured = (pixels[..., 0] - pixels[..., 2]) > 80
    assert 0.001 < coloured.mean() < 0.5


def test_nothing_to_look_at_is_no_error(tmp_path):
    """A network that ignores the image, and images that are empty."""
    empty = np.zeros((6, 6, 6))
    assert (tmp_path / saliency_plots.image(tmp_path, "T1", empty, empty, 10)["file"]).exists()
    assert saliency_plots.tables(tmp_path, {"genome": (("score",), np.ones(1))}) is None


def test_pictures_of_synthetic_data_say_so(tmp_path):
    for word in ("synthetic data", ""):
        with plots.marked(word):
            entry = saliency_plots.fusion_weights(tmp_path, ["genome", "T1"], np.full((2, 2), 0.5))
        assert ("synthetic data" in (tmp_path / entry["file"]).read_text()) == bool(word)


def test_inputs_come_from_the_message_alone(trained):
    """A request without weights is refused."""
    said, sites, _ = trained
    inputs = find_inputs(InMemory(sites, said), said)
    with pytest.raises(Exception, match="finite weights"):
        site_saliency.mm_saliency(sites[0], Request(said, {**inputs.content(), "set": "test"}, {}))
