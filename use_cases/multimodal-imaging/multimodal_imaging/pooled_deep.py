"""The same network on pooled patients, beside the federated one, over several seeds: how far averaging is from pooling.

At the desk, where all patients are at hand: the federation runs in memory, with the functions that run at the DIZ and
the strategy's own formula, without masks. For pooled training all patients are one DIZ. Everything else is the same:
first weights, recipe, passes over the data, who calibrates, who tests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.averaging import weighted_mean
from flame_strategies.modality_average import SHARES, average_parts
from flame_strategies.sums import Content, Sums, add_up

from multimodal_imaging import deep_model, plots, site_deep, site_saliency
from multimodal_imaging.deep_result import DeepResult, Inputs, Trained
from multimodal_imaging.deep_run import evaluate, find_inputs, slots_of
from multimodal_imaging.deep_scores import Scores, class_scores, number_scores
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Arrays, Block, Request, Site

ANSWERS = {**site_deep.ANSWERS, **site_saliency.ANSWERS}

VARIANTS: Mapping[str, tuple[bool, Mapping[str, str]]] = {
    "pooled, GroupNorm": (True, {"norm": "group", "strategy": "fedavg"}),
    "FedAvg, GroupNorm": (False, {"norm": "group", "strategy": "fedavg"}),
    "FedProx, GroupNorm": (False, {"norm": "group", "strategy": "fedprox"}),
    "pooled, BatchNorm": (True, {"norm": "batch", "strategy": "fedavg"}),
    "FedAvg, BatchNorm": (False, {"norm": "batch", "strategy": "fedavg"}),
    "FedBN, BatchNorm": (False, {"norm": "batch", "strategy": "fedbn"}),
}
"""What is compared: whether patients are pooled, and settings."""


@dataclass
class InMemory:
    """The DIZ of one run, in one process; an `Exchange`.

    Attributes:
        sites: Their patients.
        settings: Of the run.
        kept: What each keeps for itself.
    """

    sites: Sequence[Site]
    settings: Settings
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = [{} for _ in self.sites]

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every DIZ, and add up."""
        answer = ANSWERS[message_type.removeprefix("query.")]
        requests = self._requests({**content.get("config", {})}, {**content.get("arrays", {})})
        both = zip(self.sites, requests, strict=True)
        return add_up({number: answer(site, request) for number, (site, request) in enumerate(both)})

    def fit(self, inputs: Inputs) -> Trained:
        """All rounds."""
        recipe, slots = inputs.recipe, slots_of(inputs.recipe)
        model: Arrays = deep_model.pack(deep_model.initial_weights(recipe), recipe)
        shares = np.zeros(len(slots), dtype=np.float32)
        losses, holders = {}, {}
        for number in range(1, self.settings.rounds + 1):
            sent = {**model, SHARES: shares}
            requests = self._requests({**inputs.content(), "server-round": number}, sent)
            replies = [site_deep.train(site, request) for site, request in zip(self.sites, requests, strict=True)]
            weights = [metrics["num-examples"] for _, metrics in replies]
            mean = weighted_mean([arrays for arrays, _ in replies], weights)
            moved = average_parts(sent, mean, {slot: (slot,) for slot in slots})
            model = {name: moved[name].astype(np.float32) for name in model}
            said = [metrics["train-loss"] for _, metrics in replies]
            losses[number] = float(np.average(said, weights=weights))
            holders[number] = {
                name: int(sum(metrics[f"sites-{slot}"] for _, metrics in replies))
                for name, slot in zip(self.settings.modalities, slots, strict=True)
            }
        return Trained(model, losses, holders)

    def run(self) -> DeepResult:
        """Moments, rounds, scores."""
        inputs = find_inputs(self, self.settings)
        return evaluate(self, self.settings, inputs, self.fit(inputs))

    def _requests(self, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> list[Request]:
        return [Request(self.settings, config, arrays, kept=kept) for kept in self.kept]


def together(sites: Sequence[Site]) -> Site:
    """All patients as if they were one DIZ's."""
    first = sites[0]
    return Site(
        node=0,
        patients=tuple(patient for site in sites for patient in site.patients),
        numbers={name: np.concatenate([site.numbers[name] for site in sites]) for name in first.numbers},
        codes={name: np.concatenate([site.codes[name] for site in sites]) for name in first.codes},
        levels=first.levels,
        train=np.concatenate([site.train for site in sites]),
        blocks={name: _block([site.blocks[name] for site in sites]) for name in first.blocks},
    )


def compare(
    sites: Sequence[Site],
    settings: Settings,
    seeds: Sequence[int],
    variants: Sequence[str] = tuple(VARIANTS),
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Scores]]:
    """The test patients' scores, all modalities, by variant and seed.

    Args:
        sites: The DIZ.
        settings: Of the run; seed, norm, strategy and saliency are set here.
        seeds: Of first weights, batches, dropout and of who calibrates.
        variants: Some of `VARIANTS`.
        tell: Called with each result, for people.
    """
    pooled, found = together(sites), dict[str, list[Scores]]()
    for variant in variants:
        at_once, stated = VARIANTS[variant]
        for seed in seeds:
            own = replace(settings, **stated, seed=seed, saliency=False, min_holders=1 if at_once else 3)
            result = InMemory([pooled] if at_once else sites, own).run()
            scores = (class_scores if settings.classes else number_scores)(result.test)[0]
            found.setdefault(variant, []).append(scores)
            tell(f"{variant}, seed {seed}: " + ", ".join(f"{n} {v:.3f}" for n, v in scores.measures.items()))
    return found


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean, and half the width of its interval over seeds (Student's t)."""
    from scipy.stats import t  # noqa: PLC0415 -- at the desk alone

    count = len(values)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * float(np.std(values, ddof=1)) / sqrt(count)
    return float(np.mean(values)), half


def draw(folder: Path, found: Mapping[str, Sequence[Scores]], measure: str) -> plots.Entry:
    """A measure by variant: every seed, mean and interval."""
    with plots.figure(folder, "pooled-and-federated", 6.4, 0.9 + 0.42 * len(found)) as (axes,):
        for place, (variant, scores) in enumerate(found.items()):
            values = [score.measures[measure] for score in scores]
            colour = plots.GREEN if variant.startswith("pooled") else plots.BLUE
            colour = plots.ORANGE if variant == "FedAvg, BatchNorm" else colour
            mean, half = interval(values)
            axes.errorbar(mean, place, xerr=half, fmt="o", color=colour, capsize=3)
            axes.scatter(values, [place] * len(values), s=10, color=plots.GREY, zorder=0)
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        axes.set(xlabel=f"{measure} of the test patients")
    seeds = len(next(iter(found.values())))
    return plots.entry(
        "pooled-and-federated",
        "Pooled and federated",
        f"Grey: {seeds} seeds; dots and lines: mean with its 95 % interval over them.",
    )


def _block(blocks: Sequence[Block]) -> Block:
    first = blocks[0]
    starts = np.concatenate([[0], np.cumsum([len(block.there) for block in blocks])])

    def pixels(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        home = np.searchsorted(starts, rows, side="right") - 1
        parts = [block.pixels(rows[home == n] - starts[n]) for n, block in enumerate(blocks) if block.pixels]
        joined = np.concatenate(parts)
        found = np.empty_like(joined)
        found[np.concatenate([np.flatnonzero(home == n) for n in range(len(blocks))])] = joined
        return found

    return Block(
        first.name,
        first.kind,
        first.features,
        np.concatenate([block.values for block in blocks]),
        np.concatenate([block.there for block in blocks]),
        pixels if first.pixels else None,
    )
