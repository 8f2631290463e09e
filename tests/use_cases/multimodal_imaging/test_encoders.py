"""Encoders: shapes, what they may not depend on, and what is refused."""

import pytest
import torch
from multimodal_imaging.encoders import Input, Sizes, encoder, normalisation, parameters_of
from multimodal_imaging.errors import InputError
from torch import nn

TABLE, PICTURE, VOLUME = Input("genome", (5,)), Input("xray", (20, 16)), Input("T1", (12, 14, 10))


@pytest.mark.parametrize("of", [TABLE, PICTURE, VOLUME], ids=lambda of: of.name)
@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_every_kind_gives_an_embedding(of, norm):
    """Of the stated length, for each patient of a batch."""
    net = encoder(of, Sizes(embedding=7, hidden=8, channels=(4, 8), norm=norm, groups=2))
    assert net(torch.randn(3, *of.sample)).shape == (3, 7)


@pytest.mark.parametrize("of", [TABLE, PICTURE, VOLUME], ids=lambda of: of.name)
def test_with_group_norm_a_patient_does_not_see_the_others_and_nothing_is_kept(of):
    """Alone or in a batch the same embedding, also while training; there are no running statistics."""
    torch.manual_seed(0)
    net = encoder(of, Sizes(hidden=8, channels=(4, 8), groups=2, dropout=0.0)).train()
    x = torch.randn(4, *of.sample)
    torch.testing.assert_close(net(x)[:1], net(x[:1]), rtol=1e-4, atol=1e-5)
    assert not list(net.buffers())
    batch = encoder(of, Sizes(hidden=8, channels=(4, 8), norm="batch", dropout=0.0)).train()
    assert not torch.allclose(batch(x)[:2], batch(x[:2]), atol=1e-3)


def test_the_number_of_weights_does_not_depend_on_the_grid():
    """So one network fits images of any size."""
    small, large = (parameters_of(encoder(Input("T1", sides), Sizes())) for sides in ((12, 12, 12), (24, 28, 24)))
    assert small == large


def test_group_norm_takes_groups_that_divide_the_channels():
    """6 channels in 4 groups: 2 groups do."""
    assert normalisation(Sizes(groups=4), 6, 3).num_groups == 2
    assert normalisation(Sizes(groups=4), 5, 3).num_groups == 1
    assert isinstance(normalisation(Sizes(groups=0), 6, 3), nn.Identity)
    assert isinstance(normalisation(Sizes(norm="batch"), 6, 2), nn.BatchNorm2d)


def test_images_too_small_for_the_layers_are_refused():
    """With what to do."""
    with pytest.raises(InputError, match="4x9x9 are too small for 3 layers"):
        encoder(Input("T1", (4, 9, 9)), Sizes())
