"""A small multilayer perceptron clock: preselected CpGs -> hidden layer -> standardised transformed age.

The inputs are standardised with the pooled moments and the CpGs are those with the largest pooled correlation with
age, so that every DIZ trains the same small network and nobody's own selection enters. Dropout on the inputs and
weight decay keep a network with more inputs than a DIZ has patients from memorising them. There is no normalisation
layer: its running statistics would be averages over DIZ of different age, and would leave with the weights.

Training is deterministic for a given torch seed on one thread.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Float = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Recipe:
    """How a DIZ trains within one round.

    Attributes:
        hidden: Width of the hidden layer.
        epochs: Passes over the DIZ's training samples.
        batch_size: Samples per step.
        learning_rate: Of Adam.
        weight_decay: Decoupled (AdamW).
        dropout: Share of inputs dropped while training.
    """

    hidden: int = 32
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3

    @classmethod
    def from_config(cls, run_config: Mapping[str, object]) -> "Recipe":
        """From the run config's ``mlp-...`` keys; what is not there keeps its default."""
        given = {
            field.name: type(field.default)(run_config[key])
            for field in fields(cls)
            if (key := f"mlp-{field.name.replace('_', '-')}") in run_config
        }
        return cls(**given)


def network(inputs: int, recipe: Recipe) -> nn.Sequential:
    """The network, with torch's default initialisation from the current seed."""
    return nn.Sequential(
        OrderedDict(
            dropout=nn.Dropout(recipe.dropout),
            hidden=nn.Linear(inputs, recipe.hidden),
            activation=nn.SiLU(),
            output=nn.Linear(recipe.hidden, 1),
        )
    )


def initial_weights(inputs: int, recipe: Recipe, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Weights to start from, by name."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _weights(network(inputs, recipe))


def train(weights: Weights, z: Float, y: Float, recipe: Recipe) -> tuple[dict[str, npt.NDArray[np.float32]], float]:
    """Train from `weights` on one DIZ's samples.

    Args:
        weights: By name, as `initial_weights` gives them.
        z: (n, inputs) standardised betas.
        y: (n,) standardised transformed ages.
        recipe: Epochs, step size and the like.

    Returns:
        The new weights, and the mean squared error over the last epoch.
    """
    model = _load(weights, z.shape[1], recipe)
    model.train()
    inputs, targets = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(y.astype(np.float32))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    loss_sum = 0.0
    for _ in range(recipe.epochs):
        loss_sum = 0.0
        for batch in torch.randperm(len(targets)).split(recipe.batch_size):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(model(inputs[batch])[:, 0], targets[batch])
            loss.backward()
            optimiser.step()
            loss_sum += loss.item() * len(batch)
    return _weights(model), loss_sum / max(1, len(targets))


def predict(weights: Weights, z: Float, recipe: Recipe) -> Float:
    """(n,) standardised transformed ages predicted from (n, inputs) standardised betas."""
    model = _load(weights, z.shape[1], recipe)
    model.eval()
    with torch.no_grad():
        predicted: Float = model(torch.from_numpy(z.astype(np.float32)))[:, 0].numpy().astype(np.float64)
    return predicted


def _load(weights: Weights, inputs: int, recipe: Recipe) -> nn.Sequential:
    model = network(inputs, recipe)
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return model


def _weights(model: nn.Sequential) -> dict[str, npt.NDArray[np.float32]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
