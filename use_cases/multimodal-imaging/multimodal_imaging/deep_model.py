"""The network as a run has it: its recipe, its weights as arrays, and a round of training on some patients.

Weights travel part by part, each part one flat float32 array: the release contract lists ``modality1`` to
``modality6``, the run config's modalities in their order, and ``shared``, whatever the modalities are called. What is
not used is one 0. `pack` and `unpack` go from one form to the other.

A DIZ trains only the parts of modalities that its patients have; the others are not even touched by weight decay.
Training is deterministic for a seed and a round, the same at every DIZ, on one thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import cos, pi
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from multimodal_imaging.encoders import BATCH, Input, Sizes
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_net import MODALITY, SHARED, FusionNet, drop_modalities
from multimodal_imaging.settings import Settings

Float = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[Any]]
"""By the network's own names, or by part."""

MOST_MODALITIES = 6
SLOTS = tuple(f"{MODALITY}{number}" for number in range(1, MOST_MODALITIES + 1))
REGRESSION, BINARY = "regression", "binary"
FEDPROX, FEDBN = "fedprox", "fedbn"
_PRIME = 100003
_LAST_RATE = 0.05
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Recipe:
    """The network, and how a DIZ trains it within one round.

    Attributes:
        inputs: The modalities, in the run config's order.
        outputs: 1 for a number or two classes, else one for each class.
        task: regression, binary or multiclass.
        sizes: Of the encoders.
        fusion: late or attention.
        modality_dropout: Chance that a present modality is hidden while training.
        epochs: Passes over the DIZ's training patients.
        batch_size: Patients per step.
        learning_rate: Of AdamW, which begins anew in each round; of the first round, see `rate`.
        rounds: Over which the learning rate falls.
        weight_decay: Decoupled.
        clip_gradient: Bound on a step's gradient norm; 0 for none.
        mu: Of FedProx's term, mu/2 |w - w_t|^2; 0 for none.
        local_norms: FedBN: normalisation layers stay at the DIZ.
        seed: Of first weights, and with the round's number of batches and dropout.
    """

    inputs: tuple[Input, ...]
    outputs: int
    task: str
    sizes: Sizes = field(default_factory=Sizes)
    fusion: str = "attention"
    modality_dropout: float = 0.2
    epochs: int = 2
    batch_size: int = 16
    learning_rate: float = 3e-3
    rounds: int = 15
    weight_decay: float = 1e-2
    clip_gradient: float = 0.0
    mu: float = 0.0
    local_norms: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.inputs) <= MOST_MODALITIES:
            raise InputError(f"A network is of 1 to {MOST_MODALITIES} modalities; the run config names another number.")
        if self.local_norms and self.sizes.norm != BATCH:
            raise InputError(
                'FedBN keeps the parameters of BatchNorm at the DIZ: state norm = "batch", or another strategy. '
                "GroupNorm has nothing that is of a DIZ."
            )

    @classmethod
    def of(cls, settings: Settings, shapes: Mapping[str, tuple[int, ...]]) -> "Recipe":
        """What a run config says, for modalities of these shapes.

        Raises:
            InputError: A network cannot be trained so.
        """
        if settings.task == "survival":
            raise InputError("The network predicts numbers or classes; for survival state another analysis.")
        sizes = Sizes(
            settings.embedding,
            settings.hidden,
            settings.channels,
            settings.norm,
            settings.norm_groups,
            settings.dropout,
        )
        return cls(
            inputs=tuple(Input(name, tuple(shapes[name])) for name in settings.modalities),
            outputs=len(settings.classes) if settings.task == "multiclass" else 1,
            task=settings.task,
            sizes=sizes,
            fusion=settings.fusion,
            modality_dropout=settings.modality_dropout,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            rounds=settings.rounds,
            weight_decay=settings.weight_decay,
            clip_gradient=settings.clip_gradient,
            mu=settings.proximal_mu if settings.strategy == FEDPROX else 0.0,
            local_norms=settings.strategy == FEDBN,
            seed=settings.seed,
        )

    @property
    def parts(self) -> dict[str, str]:
        """Slot of each part that is used, by how the names of its arrays begin."""
        return {
            **{f"{MODALITY}.{of.name}.": slot for of, slot in zip(self.inputs, SLOTS, strict=False)},
            f"{SHARED}.": SHARED,
        }

    def rate(self, round_number: int) -> float:
        """The learning rate of a round: half a cosine (Loshchilov and Hutter, ICLR 2017) from all of it to a twentieth.

        The last networks of the DIZ are then close to each other, and so is their mean to each of them.
        """
        passed = min(max(round_number - 1, 0) / max(1, self.rounds - 1), 1.0)
        return self.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + cos(pi * passed)) / 2)

    def network(self) -> FusionNet:
        """The network, with first weights from torch's current seed."""
        return FusionNet(self.inputs, self.outputs, self.sizes, self.fusion)


@dataclass(frozen=True, eq=False)
class Patients:
    """What a network sees of some patients.

    Attributes:
        values: (n, *sample) float32 by modality; one that nobody has may be left out.
        present: (n, M) bool, who has what.
        target: (n,) standardised numbers, or classes from 0.
    """

    values: Mapping[str, Tensor]
    present: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: Tensor) -> "Patients":
        """Some of them."""
        return Patients({n: v[rows] for n, v in self.values.items()}, self.present[rows], self.target[rows])


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a sandbox with one core: the same bits wherever it runs, and DIZ on one machine do not crowd each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def initial_weights(recipe: Recipe) -> dict[str, npt.NDArray[Any]]:
    """Weights to start from, by the network's names."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return weights_of(recipe.network())


def train(
    weights: Weights, patients: Patients, recipe: Recipe, round_number: int
) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Train from `weights` on one DIZ's patients.

    Args:
        weights: By the network's names, as `initial_weights` gives them.
        patients: Who trains.
        recipe: Epochs, step size and the like.
        round_number: Batches and dropout are drawn anew in each.

    Returns:
        The new weights, and the mean loss over the last epoch, without FedProx's term; 0 without patients.
    """
    with torch.random.fork_rng(), one_thread():
        seed = recipe.seed * _PRIME + round_number
        torch.manual_seed(seed)
        drawn = torch.Generator().manual_seed(seed)
        model = load(weights, recipe)
        model.train()
        trained = _trained(model, patients.present)
        start = [parameter.detach().clone() for parameter in trained]
        optimiser = torch.optim.AdamW(trained, lr=recipe.rate(round_number), weight_decay=recipe.weight_decay)
        loss_of, loss_sum = loss_function(recipe.task), 0.0
        for _ in range(recipe.epochs if len(patients) else 0):
            loss_sum = 0.0
            for rows in torch.split(torch.randperm(len(patients), generator=drawn), recipe.batch_size):
                batch = patients.take(rows)
                present = drop_modalities(batch.present, recipe.modality_dropout, drawn)
                optimiser.zero_grad()
                loss = loss_of(model(batch.values, present), batch.target)
                total = loss + recipe.mu / 2 * _distance(trained, start) if recipe.mu else loss
                total.backward()
                if recipe.clip_gradient:
                    nn.utils.clip_grad_norm_(trained, recipe.clip_gradient)
                optimiser.step()
                loss_sum += loss.item() * len(rows)
        return weights_of(model), loss_sum / max(1, len(patients))


def loss_function(task: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean over a batch of what is minimised, from outputs (b, C) and targets (b,)."""
    if task == REGRESSION:
        return lambda out, target: nn.functional.mse_loss(out[:, 0], target)
    if task == BINARY:
        return lambda out, target: nn.functional.binary_cross_entropy_with_logits(out[:, 0], target.to(out.dtype))
    return nn.functional.cross_entropy


def load(weights: Weights, recipe: Recipe) -> FusionNet:
    """A network with these weights, ready to predict.

    Raises:
        InputError: They are not this network's.
    """
    with torch.random.fork_rng():
        model = recipe.network()
    try:
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    except RuntimeError:
        raise InputError("The weights are not those of the network that the run config describes.") from None
    return model.eval()


def weights_of(model: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """A network's weights, and what its normalisation keeps, by name."""
    return {
        name: tensor.detach().numpy().copy()
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def local_names(recipe: Recipe) -> tuple[str, ...]:
    """What stays at the DIZ: with FedBN all that belongs to a normalisation layer, else nothing."""
    if not recipe.local_norms:
        return ()
    norms = tuple(f"{name}." for name, m in recipe.network().named_modules() if isinstance(m, _NORMS))
    return tuple(name for name in initial_weights(recipe) if name.startswith(norms))


def pack(weights: Weights, recipe: Recipe) -> dict[str, npt.NDArray[np.float32]]:
    """Part by part, (k,) float32 by slot; without what stays at the DIZ. Slots that are not used hold one 0."""
    stay, found = set(local_names(recipe)), {}
    for begin, slot in recipe.parts.items():
        # by name, whatever order they come in
        of = [np.ravel(weights[name]) for name in sorted(weights) if name.startswith(begin) and name not in stay]
        found[slot] = np.concatenate(of).astype(np.float32)
    return {slot: found.get(slot, np.zeros(1, dtype=np.float32)) for slot in (*SLOTS, SHARED)}


def unpack(packed: Weights, recipe: Recipe, local: Weights | None = None) -> dict[str, npt.NDArray[np.float32]]:
    """By the network's names.

    Args:
        packed: As `pack` gives it.
        recipe: The network's.
        local: What the DIZ kept; what it has not yet begins as new.

    Raises:
        InputError: Something is missing, or of another size.
    """
    fresh = initial_weights(recipe)
    stay = set(local_names(recipe))
    found = {name: (local or {}).get(name, fresh[name]) for name in stay}
    for begin, slot in recipe.parts.items():
        names = [name for name in sorted(fresh) if name.startswith(begin) and name not in stay]
        sizes = [fresh[name].size for name in names]
        flat = packed.get(slot)
        if flat is None or flat.shape != (sum(sizes),) or not np.isfinite(flat).all():
            raise InputError(f"The message does not bring {sum(sizes)} finite weights as {slot!r}.")
        cut = np.split(flat, np.cumsum(sizes)[:-1])
        found |= {name: part.reshape(fresh[name].shape) for name, part in zip(names, cut, strict=True)}
    return {name: np.asarray(found[name], dtype=np.float32) for name in fresh}


def _trained(model: FusionNet, present: Tensor) -> list[nn.Parameter]:
    """The parameters of what these patients have: those of an absent modality would only decay."""
    absent = tuple(
        f"{MODALITY}.{of.name}." for of, there in zip(model.inputs, present.any(dim=0), strict=True) if not there
    )
    return [p for name, p in model.named_parameters() if not absent or not name.startswith(absent)]


def _distance(now: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    return torch.stack([((a - b) ** 2).sum() for a, b in zip(now, start, strict=True)]).sum()
