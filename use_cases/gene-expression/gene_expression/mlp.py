"""A small multilayer perceptron for classes: genes and clinical columns -> hidden layer -> one output for each class.

The inputs are standardised with pooled moments, and the genes are the screen's, so that every DIZ trains the same small
network and nobody's own selection enters. Dropout on the inputs and weight decay keep a network with more inputs than a
DIZ has patients from memorising them. There is no batch normalisation: its running statistics would be averages over
DIZ of different patients, and would leave with the weights. Group normalisation (Wu and He, ECCV 2018) needs none.

Training is deterministic for a seed on one thread.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gene_expression.errors import InputError

Float = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Recipe:
    """The network, and how a DIZ trains it within one round.

    Attributes:
        hidden: Width of the hidden layer.
        norm_groups: Groups of its group normalisation, a divisor of `hidden`; 0 for none.
        epochs: Passes over the DIZ's training samples.
        batch_size: Samples per step.
        learning_rate: Of AdamW.
        weight_decay: Decoupled.
        dropout: Share of inputs dropped while training.
        seed: Of the first weights, and with the round's number of batches and dropout.
    """

    hidden: int = 16
    norm_groups: int = 0
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.norm_groups and self.hidden % self.norm_groups:
            raise InputError(f"norm-groups = {self.norm_groups} does not divide hidden = {self.hidden}.")

    @classmethod
    def from_content(cls, config: Mapping[str, Any]) -> "Recipe":
        """From a message's ``mlp_...`` numbers; what is not there keeps its default."""
        given: dict[str, Any] = {
            name: type(value)(config[f"mlp_{name}"]) for name, value in asdict(cls()).items() if f"mlp_{name}" in config
        }
        return cls(**given)

    def content(self) -> dict[str, int | float]:
        """As a message's config record."""
        return {f"mlp_{name}": value for name, value in asdict(self).items()}


def network(inputs: int, outputs: int, recipe: Recipe) -> nn.Sequential:
    """The network, with torch's default initialisation from the current seed."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        dropout=nn.Dropout(recipe.dropout), hidden=nn.Linear(inputs, recipe.hidden)
    )
    if recipe.norm_groups:
        layers["norm"] = nn.GroupNorm(recipe.norm_groups, recipe.hidden)
    layers["activation"] = nn.SiLU()
    layers["output"] = nn.Linear(recipe.hidden, outputs)
    return nn.Sequential(layers)


def initial_weights(inputs: int, outputs: int, recipe: Recipe) -> dict[str, npt.NDArray[np.float32]]:
    """Weights to start from, by name."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return _weights(network(inputs, outputs, recipe))


def train(
    weights: Weights, z: Float, place: npt.NDArray[np.int64], recipe: Recipe, round_number: int
) -> tuple[dict[str, npt.NDArray[np.float32]], float]:
    """Train from `weights` on one DIZ's samples.

    Args:
        weights: By name, as `initial_weights` gives them.
        z: (n, inputs) standardised columns.
        place: (n,) classes, from 0.
        recipe: Epochs, step size and the like.
        round_number: Batches and dropout are drawn anew in each.

    Returns:
        The new weights, and the mean cross-entropy over the last epoch.
    """
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed * 100003 + round_number)
        model = _load(weights, recipe)
        model.train()
        inputs, targets = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(place)
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        loss_sum = 0.0
        for _ in range(recipe.epochs if len(place) else 0):
            loss_sum = 0.0
            for batch in torch.split(torch.randperm(len(targets)), recipe.batch_size):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
                loss.backward()
                optimiser.step()
                loss_sum += loss.item() * len(batch)
        return _weights(model), loss_sum / max(1, len(targets))


def predict(weights: Weights, z: Float, recipe: Recipe) -> Float:
    """(n, outputs) probabilities of the classes of (n, inputs) standardised columns."""
    model = _load(weights, recipe)
    model.eval()
    with torch.no_grad():
        found: Float = torch.softmax(model(torch.from_numpy(z.astype(np.float32))).double(), dim=1).numpy()
    return found


def _load(weights: Weights, recipe: Recipe) -> nn.Sequential:
    model = network(weights["hidden.weight"].shape[1], len(weights["output.bias"]), recipe)
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return model


def _weights(model: nn.Sequential) -> dict[str, npt.NDArray[np.float32]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
