"""The phenotype analyses as the app runs them: from a run's settings to an `Outcome`."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from flame_strategies.cox import Ties
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.glm_design import Categorical
from flame_strategies.sums import Content, GridExchange
from flwr.app import Array, ArrayRecord, ConfigRecord

from gene_expression.by_site import Answers, Ask, ask_each
from gene_expression.classify_model import ClassifySettings
from gene_expression.classify_run import run_classify
from gene_expression.errors import InputError
from gene_expression.hub import Hub
from gene_expression.phenotype_outcome import classify_outcome, mlp_outcome, survival_outcome
from gene_expression.results import Outcome
from gene_expression.settings import Settings
from gene_expression.survival_model import SurvivalSettings
from gene_expression.survival_run import run_survival


def classify(hub: Hub) -> Outcome:
    """Elastic-net logistic regression."""
    settings = classify_settings(hub.settings)
    genes = _genes(hub)

    def run(exchange: GridExchange) -> tuple[Any, int]:
        result = run_classify(exchange, settings, genes, ask=_asker(hub, exchange))
        return result, len(exchange.history)

    (result, exchanges), sites = hub.fit(run)
    return classify_outcome(result, sites, exchanges)


def survival(hub: Hub) -> Outcome:
    """Cox's regression, or the discrete-time model."""
    settings = survival_settings(hub.settings)
    genes = _genes(hub)

    def run(exchange: GridExchange) -> tuple[Any, int]:
        result = run_survival(exchange, settings, genes, ask=_asker(hub, exchange))
        return result, len(exchange.history)

    (result, exchanges), sites = hub.fit(run)
    return survival_outcome(result, sites, exchanges)


def mlp(hub: Hub) -> Outcome:
    """The multilayer perceptron."""
    from gene_expression.mlp import Recipe  # noqa: PLC0415 -- torch, only for the network
    from gene_expression.mlp_run import Weights, run_mlp  # noqa: PLC0415

    said = hub.settings
    settings, genes = classify_settings(said), _genes(hub)
    recipe = Recipe(
        hidden=said.hidden,
        norm_groups=said.norm_groups,
        epochs=said.epochs,
        batch_size=said.batch_size,
        learning_rate=said.learning_rate,
        weight_decay=said.weight_decay,
        dropout=said.dropout,
        seed=said.seed,
    )

    def train(start: Weights, config: Mapping[str, Any]) -> Weights:
        strategy = FlameFedAvg(min_nodes=hub.min_nodes, evaluate=False, timeout=hub.timeout)
        outcome = strategy.start(
            hub.grid,
            ArrayRecord({name: Array(np.asarray(array)) for name, array in start.items()}),
            num_rounds=said.rounds,
            train_config=ConfigRecord(dict(config)),
        )
        return {name: array.numpy() for name, array in outcome.arrays.items()}

    def run(exchange: GridExchange) -> tuple[Any, int]:
        result = run_mlp(exchange, train, settings, recipe, genes, ask=_asker(hub, exchange))
        return result, len(exchange.history) + said.rounds * (1 + len(result.by_fold))

    (result, exchanges), sites = hub.fit(run)
    return mlp_outcome(result, sites, exchanges, said.rounds)


RUNS: dict[str, Callable[[Hub], Outcome]] = {"classify": classify, "mlp": mlp, "survival": survival}


def classify_settings(settings: Settings) -> ClassifySettings:
    """What a run's settings say of a classification."""
    numeric, categorical = _covariates(settings)
    return ClassifySettings(
        outcome=settings.outcome,
        classes=settings.levels[settings.outcome],
        numeric=numeric,
        categorical=categorical,
        select=settings.select,
        l1_ratio=settings.l1_ratio,
        penalties=settings.penalties,
        folds=settings.folds,
        validation=settings.validation,
        outer_folds=settings.outer_folds,
        site_groups=settings.site_groups,
        stability=settings.stability,
        bins=settings.roc_bins,
        seed=settings.seed,
    )


def survival_settings(settings: Settings) -> SurvivalSettings:
    """What a run's settings say of a survival analysis.

    Raises:
        InputError: There is no grid of times: curves and the screen need one also with a baseline hazard for each DIZ.
    """
    numeric, categorical = _covariates(settings)
    return SurvivalSettings(
        time=settings.outcome,
        event=settings.event,
        grid=tuple(settings.times.tolist()),
        model=settings.survival_model,
        ties=cast("Ties", settings.ties),
        strata_by_site=settings.strata_by_site,
        numeric=numeric,
        categorical=categorical,
        cox_select=settings.cox_select,
        select=settings.select,
        l1_ratio=settings.l1_ratio,
        penalties=settings.penalties,
        folds=settings.folds,
        validation=settings.validation,
        outer_folds=settings.outer_folds,
        site_groups=settings.site_groups,
        stability=settings.stability,
        bins=settings.roc_bins,
        seed=settings.seed,
    )


def _covariates(settings: Settings) -> tuple[tuple[str, ...], tuple[Categorical, ...]]:
    numeric = tuple(name for name in settings.covariates if name not in settings.levels)
    levels = settings.levels
    return numeric, tuple(Categorical(name, levels[name]) for name in settings.covariates if name in levels)


def _genes(hub: Hub) -> tuple[str, ...]:
    """The genes that the screen chooses from: the panel's, or those that the run config names."""
    known = set(hub.panel.genes)
    if unknown := [gene for gene in hub.settings.genes if gene not in known]:
        raise InputError(f"The panel {hub.settings.panel!r} has no genes {', '.join(unknown[:5])}; see its file.")
    return hub.settings.genes or tuple(hub.panel.genes)


def _asker(hub: Hub, exchange: GridExchange) -> Ask:
    """Questions to the sites of a fit, which are known once it has begun."""

    def ask(message_type: str, content: Content) -> Answers:
        return ask_each(hub.grid, exchange.sites, hub.timeout)(message_type, content)

    return ask
