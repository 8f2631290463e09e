"""Encoders and their fusion, as the hub runs it: standardise, train round by round, calibrate, test, and look.

Each encoder is averaged over the DIZ that have its modality (`flame_strategies.modality_average`), weighted by their
patients who have it. The result is that of training at each DIZ and averaging, not that of one network trained on the
pooled patients; how far they are apart is measured (`pooled_deep`). What is exact here are the sums: moments, scores.
"""

from collections.abc import Sequence

from flame_strategies.modality_average import FlameModalityAverage, with_shares, without_shares
from flame_strategies.sums import Content, Exchange
from flwr.app import Array, ArrayRecord, ConfigRecord

from multimodal_imaging import deep_model, deep_outcome, saliency
from multimodal_imaging.deep_model import Recipe
from multimodal_imaging.deep_result import DeepResult, Inputs, Trained
from multimodal_imaging.hub import Hub
from multimodal_imaging.prediction_sums import temperatures
from multimodal_imaging.results import Outcome
from multimodal_imaging.settings import Settings
from multimodal_imaging.temperature import Temperature, best_temperature


def run(hub: Hub) -> Outcome:
    """The whole analysis; see `deep_outcome.build` for what it leaves."""
    settings = hub.settings
    inputs, _ = hub.fit(lambda exchange: find_inputs(exchange, settings))
    trained = fit(hub, inputs)
    # whoever is lost from here on changes what is scored, not the network
    found, sites = hub.fit(lambda exchange: evaluate(exchange, settings, inputs, trained))
    exchanges = 1 + settings.rounds + 2 + (found.raw is not None) + (found.saliency is not None)
    return deep_outcome.build(hub.folder, found, sites, exchanges)


def find_inputs(exchange: Exchange, settings: Settings) -> Inputs:
    """Pooled moments. 1 exchange."""
    return Inputs.of(exchange("query.mm_deep_moments", {}), settings)


def fit(hub: Hub, inputs: Inputs) -> Trained:
    """Rounds of averaging, from the recipe's first weights."""
    settings, slots = hub.settings, slots_of(inputs.recipe)
    strategy = strategy_of(settings, slots, hub.min_nodes, hub.timeout)
    start = deep_model.pack(deep_model.initial_weights(inputs.recipe), inputs.recipe)
    result = strategy.start(
        hub.grid,
        with_shares(ArrayRecord({name: Array(array) for name, array in start.items()}), slots),
        num_rounds=settings.rounds,
        train_config=ConfigRecord(inputs.content()),
    )
    packed = {name: array.numpy() for name, array in without_shares(result.arrays).items()}
    losses = {n: float(m["train-loss"]) for n, m in result.train_metrics_clientapp.items() if "train-loss" in m}
    names = dict(zip(slots, settings.modalities, strict=True))
    holders = {n: {names[slot]: count for slot, count in had.items()} for n, had in strategy.holders.items()}
    return Trained(packed, losses, holders)


def strategy_of(settings: Settings, slots: Sequence[str], min_nodes: int, timeout: float) -> FlameModalityAverage:
    """Averaging part by part.

    FedProx and FedBN need nothing more of the hub here: a DIZ reads the proximal term from its approved run config, and
    packs no normalisation layer that it keeps.
    """
    return FlameModalityAverage(
        parts={slot: (slot,) for slot in slots},
        min_holders=settings.min_holders,
        min_nodes=min_nodes,
        evaluate=False,
        timeout=timeout,
    )


def slots_of(recipe: Recipe) -> tuple[str, ...]:
    """The parts that are a modality's, in order."""
    return deep_model.SLOTS[: len(recipe.inputs)]


def evaluate(exchange: Exchange, settings: Settings, inputs: Inputs, trained: Trained) -> DeepResult:
    """Calibrate, score the test patients, and ask for pictures. 2 to 4 exchanges."""

    def about(which: str, at: float = 1.0) -> Content:
        return {"config": {**inputs.content(), "set": which, "temperature": at}, "arrays": trained.packed}

    calibration = exchange("query.mm_deep_scores", about("calibrate"))
    found = Temperature(1.0, float("nan"), float("nan"), 0)
    raw = None
    if settings.classes:
        found = best_temperature(temperatures(), calibration["by_temperature"], int(calibration["n"][0]))
        raw = exchange("query.mm_deep_scores", about("test"))
    test = exchange("query.mm_deep_scores", about("test", found.value))
    pictures = exchange("query.mm_saliency", about("test")) if saliency.allowed(settings) else None
    return DeepResult(settings, inputs, trained, found, calibration, test, raw, pictures)
