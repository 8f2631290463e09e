"""The fusion: what is absent does not enter, weights are weights, and modality dropout hides without hiding all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from multimodal_imaging.encoders import Input, Sizes
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_net import FusionNet, drop_modalities

INPUTS = (Input("genome", (3,)), Input("phenome", (4,)), Input("T1", (6, 6, 6)))
SIZES = Sizes(embedding=5, hidden=6, channels=(2,), groups=2, dropout=0.0)
FUSIONS = ("late", "mean", "attention")


def net(fusion, seed=0, outputs=2, **sizes):
    torch.manual_seed(seed)
    model = FusionNet(INPUTS, outputs, Sizes(**{**SIZES.__dict__, **sizes}), fusion)
    if fusion == "late":  # as after some training
        for part in model.modality.values():
            torch.nn.init.normal_(part.weight)
    return model.eval()


def patients(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    values = {of.name: torch.randn(n, *of.sample, generator=draw) for of in INPUTS}
    present = torch.rand(n, len(INPUTS), generator=draw) < 0.6
    present[:, 0] |= ~present.any(dim=1)
    return values, present


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_absent_does_not_enter(fusion, seed):
    """Anything may stand where a modality is absent; of each patient the output is that of the patient alone."""
    model, (values, present) = net(fusion), patients(4, seed)
    out = model(values, present)
    assert out.shape == (4, 2)
    noise = {
        of.name: torch.where(present[:, m].reshape(-1, *[1] * len(of.sample)), values[of.name], torch.nan)
        for m, of in enumerate(INPUTS)
    }
    torch.testing.assert_close(model(noise, present), out)
    for row in range(4):
        had = [m for m in range(3) if present[row, m]]
        alone = model({INPUTS[m].name: values[INPUTS[m].name][[row]] for m in had}, present[[row]])
        torch.testing.assert_close(alone[0], out[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_weights_are_above_0_where_present_and_add_up(fusion):
    """With "mean" they are equal; a patient who is left with nothing has none, and the offset alone as output."""
    model, (values, present) = net(fusion), patients(5)
    said, logits = model.embed(values, present)
    a = model.weights(logits)
    assert torch.equal(a > 0, present)
    torch.testing.assert_close(a.sum(dim=1), torch.ones(5))
    if fusion == "mean":
        torch.testing.assert_close(a, present / present.sum(dim=1, keepdim=True))
    nothing = model.fuse(said, logits, torch.zeros(3, dtype=torch.bool))
    offset = model.shared.head.bias if fusion == "attention" else model.shared.bias
    torch.testing.assert_close(nothing, offset.expand(5, 2))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_leaving_a_modality_out_is_the_patient_without_it(fusion):
    """An ablation of the fusion, without computing the encoders again."""
    model, (values, present) = net(fusion), patients(6)
    keep = torch.tensor([True, False, True])
    left = present & keep
    some = left.any(dim=1)
    out = model.fuse(*model.embed(values, present), keep)
    again = model({name: v[some] for name, v in values.items()}, left[some])
    torch.testing.assert_close(out[some], again)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_only_what_is_present(fusion):
    """And none of them is NaN, also where a patient has nothing left."""
    model, (values, present) = net(fusion).train(), patients(5)
    present[:, 2] = False
    present[0] = False
    model(values, present).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(grad is None for name, grad in grads.items() if name.startswith("modality.T1."))
    found = [grad for grad in grads.values() if grad is not None]
    assert all(torch.isfinite(grad).all() for grad in found)
    assert any(grad.abs().sum() > 0 for name, grad in grads.items() if name.startswith("modality.genome.encoder"))


def test_one_patient_alone_has_no_batch_statistics():
    """BatchNorm would stop the run; the modality is let be in this batch."""
    model, (values, present) = net("attention", norm="batch").train(), patients(4)
    present[:, 2] = torch.tensor([True, False, False, False])
    assert torch.isfinite(model(values, present)).all()


@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any), min_size=1, max_size=12),
    rate=st.floats(0, 0.95),
    seed=st.integers(0, 99),
)
def test_modality_dropout_leaves_something_that_was_there(rows, rate, seed):
    """Never what was absent, always at least one, all at rate 0; the same for a seed."""
    present = torch.tensor(rows)
    kept = drop_modalities(present, rate, torch.Generator().manual_seed(seed))
    assert not (kept & ~present).any()
    assert kept.any(dim=1).all()
    assert rate > 0 or torch.equal(kept, present)
    assert torch.equal(kept, drop_modalities(present, rate, torch.Generator().manual_seed(seed)))


def test_modality_dropout_has_the_stated_chance():
    """Of patients who have all three; those of whom all would go keep one of them, none more often."""
    kept = drop_modalities(torch.ones(20000, 3, dtype=torch.bool), 0.5, torch.Generator().manual_seed(1))
    # each is kept with 1/2, and with 1/3 where all three fell, which is 1/8 of the time
    for share in kept.double().mean(dim=0).tolist():
        assert share == pytest.approx(1 / 2 + 1 / 24, abs=0.015)


def test_odd_names_and_fusions_are_refused():
    """A dot would belong to another part."""
    with pytest.raises(InputError, match="no dot"):
        FusionNet((Input("T1.w", (3,)),), 1, SIZES, "late")
    with pytest.raises(InputError, match="no fusion 'early'"):
        FusionNet(INPUTS, 1, SIZES, "early")
