"""The trainer for a module of one's own: the vetted steps, with Opacus's gradients."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: there is no module to train")
pytest.importorskip("opacus", reason="opacus is not installed: nothing gives gradients per record")

from flame_vetted import reviewed  # noqa: E402
from flame_vetted.claim import Claim  # noqa: E402
from flame_vetted.cohort import people  # noqa: E402
from flame_vetted.dp_sgd import Descent, prepare  # noqa: E402

from flame_fl.contract.errors import InputError  # noqa: E402
from tests.vetted.made import MadeView, model, whole_sum  # noqa: E402

RNG = np.random.default_rng(9)
X = RNG.normal(size=(30, 3))
Y = RNG.normal(size=30)
WHO = [f"p{i % 20}" for i in range(30)]
LAYERS: list[dict[str, Any]] = [
    {"kind": "linear", "inputs": 3, "outputs": 5},
    {"kind": "tanh"},
    {"kind": "linear", "inputs": 5, "outputs": 1},
]


def made() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def loss(out: Any, y: Any) -> Any:
    return ((out[:, 0] - y) ** 2).sum()


def test_a_step_is_that_of_the_same_stated_model() -> None:
    """Clipped integer sums agree up to float32: patients with two records, several clipped."""
    view = MadeView(WHO, {**dict(zip("abc", X.T.tolist(), strict=True)), "y": Y.tolist()})
    stated = model(*LAYERS, features=[{"names": ["a", "b", "c"], "low": -9, "high": 9}])
    trainer = prepare(stated, view)
    trainer = type(trainer)(trainer.network, trainer.people, trainer.x, Y)
    weights = RNG.normal(size=trainer.network.width).astype(np.float32).astype(np.float64)
    of = reviewed.gradients(made(), torch.from_numpy(X).float(), torch.from_numpy(Y).float(), loss)
    everybody = people(WHO, np.ones(30, bool), 100)
    for clip_norm in (0.5, 1e3):
        ours = whole_sum(trainer.people, lambda r: trainer.gradients_of(weights, r), len(weights), clip_norm)
        theirs = whole_sum(everybody, lambda r: of(weights, r), len(weights), clip_norm)
        assert ours == pytest.approx(theirs, rel=1e-4, abs=300)


def test_it_learns_in_place_and_leaves_no_hooks() -> None:
    module = made()
    before = [p.detach().clone() for p in module.parameters()]
    claim = Claim("dp-sgd", clip_norm=1.0, noise_multiplier=0.5, sample_rate=0.5, steps=3)
    reviewed.train(
        module, torch.from_numpy(X).float(), torch.from_numpy(Y).float(), WHO,
        loss=loss, claim=claim, descent=Descent(0.1, 20),
    )  # fmt: skip
    assert all(not torch.equal(p, old) for p, old in zip(module.parameters(), before, strict=True))
    assert not any(m._forward_hooks or m._backward_hooks for m in module.modules())
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_layer_that_mixes_records_is_an_error() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 1))
    claim = Claim("dp-sgd", clip_norm=1.0, noise_multiplier=1.0, sample_rate=0.5)
    with pytest.raises(InputError, match="BatchNorm"):
        reviewed.train(
            module, torch.zeros(4, 3), torch.zeros(4), list("abcd"), loss=loss, claim=claim, descent=Descent(0.1, 4)
        )
