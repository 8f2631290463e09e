"""The MLP clock."""

import numpy as np
import torch
from methylation_age import mlp

RECIPE = mlp.Recipe(hidden=8, epochs=30, learning_rate=0.01, dropout=0.0)


def _data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    z = generator.normal(size=(80, 6))
    return z, z @ np.array([0.6, -0.4, 0.0, 0.0, 0.3, 0.0])


def test_training_is_deterministic() -> None:
    """The same seed gives the same bits."""
    z, y = _data()
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(mlp.train(mlp.initial_weights(6, RECIPE, 0), z, y, RECIPE)[0])
    for name in runs[0]:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])


def test_training_learns() -> None:
    """Error falls to a small share of the guess."""
    z, y = _data()
    weights, _ = mlp.train(mlp.initial_weights(6, RECIPE, 0), z, y, RECIPE)
    assert ((mlp.predict(weights, z, RECIPE) - y) ** 2).mean() < 0.1 * y.var()


def test_training_does_not_change_what_was_sent() -> None:
    """The update is a difference from the weights that came; they must still be there."""
    z, y = _data()
    sent = mlp.initial_weights(6, RECIPE, 0)
    copy = {name: array.copy() for name, array in sent.items()}
    mlp.train(sent, z, y, RECIPE)
    for name in sent:
        np.testing.assert_array_equal(sent[name], copy[name])


def test_initial_weights_leave_the_random_state_alone() -> None:
    """The hub's seed for the weights does not decide anything else."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    mlp.initial_weights(4, RECIPE, seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_recipe_follows_the_run_config() -> None:
    """Keys mlp-... set the recipe, others do not matter."""
    recipe = mlp.Recipe.from_config({"mlp-hidden": 3, "mlp-learning-rate": 0.5, "rounds": 9})
    assert (recipe.hidden, recipe.learning_rate, recipe.epochs) == (3, 0.5, mlp.Recipe().epochs)
