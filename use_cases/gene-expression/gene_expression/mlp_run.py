"""The multilayer perceptron, as the hub runs it: choose inputs, then average the DIZ's networks round by round.

The inputs are the screen's genes, of several classes the union of what each against the others needs, and the clinical
columns, all standardised by pooled moments of the training samples. Averaging is FedAvg (McMahan et al.,
"Communication-efficient learning of deep networks from decentralized data", AISTATS 2017), weighted by training
samples: the result is that of training at each DIZ and averaging, not that of one network trained on the pooled rows.

The outer cross-validation is by patients: a DIZ whose samples are all held out would have nothing to train on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.glm_design import Design, Scaling
from flame_strategies.sums import Content, Exchange

from gene_expression import mlp
from gene_expression.by_site import Ask
from gene_expression.classify_model import ClassifySettings, Scores
from gene_expression.classify_run import TEST, choose, repeat_screen, score_test, screen, total, within
from gene_expression.errors import InputError
from gene_expression.screen_run import Screened
from gene_expression.stability import Stability
from gene_expression.validation import Population

Weights = Mapping[str, npt.NDArray[Any]]

Train = Callable[[Weights, Mapping[str, Any]], Weights]
"""Rounds of federated averaging, from weights and the content of the messages' config record to weights."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a network reads, and how it is standardised: a design's columns, centre and scale (p,)."""

    design: Design
    scaling: Scaling
    population: Population

    def content(self, settings: ClassifySettings, recipe: mlp.Recipe) -> dict[str, Any]:
        """All that a DIZ needs beside the weights, as one config record."""
        return {
            **self.design.content(),
            **settings.words,
            "scored": list(settings.scored),
            **self.population.content(),
            **recipe.content(),
            "centre": self.scaling.centre.tolist(),
            "scale": self.scaling.scale.tolist(),
        }


@dataclass(frozen=True, eq=False)
class MlpResult:
    """What the network found; see `classify_run.ClassifyResult`.

    Attributes:
        settings: Its own.
        recipe: Of the network.
        inputs: Of the model of all training samples.
        weights: Its weights by name.
        screens: By class that is scored.
        validation: Over the samples held out of all outer folds; None without.
        by_fold: The same by fold.
        test: Of the test samples.
        test_by_site: By DIZ.
        stability: By class that is scored.
    """

    settings: ClassifySettings
    recipe: mlp.Recipe
    inputs: Inputs
    weights: Weights
    screens: Mapping[str, Screened]
    validation: Scores | None
    by_fold: tuple[Scores, ...]
    test: Scores | None
    test_by_site: Mapping[str, Scores]
    stability: Mapping[str, Stability]


def run_mlp(
    exchange: Exchange,
    train: Train,
    settings: ClassifySettings,
    recipe: mlp.Recipe,
    genes: Sequence[str],
    *,
    ask: Ask | None = None,
) -> MlpResult:
    """Screen, train, validate, and score the test samples.

    Args:
        exchange: Asks all sites and returns sums.
        train: Rounds of federated averaging.
        settings: Classes, columns and validation; what concerns the penalty does not matter.
        recipe: The network.
        genes: Ids that the screen chooses from.
        ask: Asks the same with answers by DIZ.

    Raises:
        InputError: The validation is by groups of DIZ.
    """
    if settings.validation == "sites":
        raise InputError('The network is validated by patients: state validation = "patients" or "none".')
    screens = screen(exchange, settings, genes, Population())
    inputs = find_inputs(exchange, settings, choose(screens, settings, 0), Population())
    weights = fit_network(train, settings, recipe, inputs)
    outer, by_fold = settings.outer(()), []
    if outer is not None:
        found = screen(exchange, settings, genes, outer)
        for fold in range(outer.count):
            own = find_inputs(exchange, settings, choose(found, settings, fold), outer.one(fold))
            content = scoring(
                settings, recipe, own, fit_network(train, settings, recipe, own), outer.one(fold, held_out=True)
            )
            by_fold.append(Scores.of(settings.scored, exchange("query.mlp_scores", content)))
    content = scoring(settings, recipe, inputs, weights, TEST)
    test, by_site = score_test(exchange, ask, "query.mlp_scores", settings, content)
    halves = repeat_screen(exchange, settings, genes) if settings.stability else {}
    return MlpResult(settings, recipe, inputs, weights, screens, total(by_fold), tuple(by_fold), test, by_site, halves)


def find_inputs(
    exchange: Exchange, settings: ClassifySettings, genes: Mapping[str, Sequence[str]], population: Population
) -> Inputs:
    """The columns, with their pooled moments over one set of samples. 1 exchange."""
    used = tuple(dict.fromkeys(gene for level in settings.scored for gene in genes[level]))
    design = settings.design(settings.scored[0], used)
    about = within(exchange, {"phenotype": settings.words, "of": population.content()})
    sums = about("query.glm_moments", {"design": {**design.content(), "family": "logistic"}})
    return Inputs(design, Scaling.of(sums, intercept=False, centred=True), population)


def fit_network(train: Train, settings: ClassifySettings, recipe: mlp.Recipe, inputs: Inputs) -> Weights:
    """Train from the recipe's first weights."""
    start = mlp.initial_weights(len(inputs.design.columns), len(settings.classes), recipe)
    return train(start, inputs.content(settings, recipe))


def scoring(
    settings: ClassifySettings, recipe: mlp.Recipe, inputs: Inputs, weights: Weights, population: Population
) -> Content:
    """The message that asks for counts of a network's scores."""
    return {
        "config": {**inputs.content(settings, recipe), **population.content()},
        "arrays": {name: np.asarray(array, dtype=np.float32) for name, array in weights.items()},
        "model": {"cuts": settings.cuts},
    }
