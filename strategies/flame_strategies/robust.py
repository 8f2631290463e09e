"""Robust aggregation: what a few sites send, by error or by intent, moves the model only so far.

With n sites, y_i their models, all operations coordinate by coordinate unless said otherwise (Yin, Chen, Ramchandran,
Bartlett, ICML 2018, arXiv:1803.01498, definitions 1 and 2; Pillutla, Kakade, Harchaoui, IEEE TSP 2022,
arXiv:1912.13445)::

    median             the middle of the y_i, the mean of both middles if n is even
    trimmed-mean       the mean without the floor(trim n) largest and as many smallest
    geometric-median   argmin_z sum_i |z - y_i|, |.| the Euclidean norm over all arrays together

The breakdown point: so many sites may send whatever they like, (n - 1) // 2 for both medians and floor(trim n) for the
trimmed mean, and each coordinate of the result stays between the least and the largest that the others sent (geometric
median: at a bounded distance from them). No rule weighs sites by examples: a site could claim any number. The price is
a bias where honest sites differ: one whose patients are unlike the others' has little say, or none. Metrics are means
as ever, which one site can move.

*Masks* leave nothing but sums over sites, and none of these rules is a function of a sum: masked replies are refused.
*The gates' noise* is no obstacle: each reply carries its own, and the rule is applied to what left. How much of it is
in the result is then not what it is in a mean, and reported as unknown.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from flame_strategies.averaging import Arrays, arrays_of
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.replies import masked_sites

Rule = Literal["median", "trimmed-mean", "geometric-median"]
Combined = dict[str, npt.NDArray[np.float64]]

_LEAST_SITES = 3
_MOST_STEPS = 300
_ENOUGH = 1e-6  # relative change of the distances below which the geometric median is found


def trimmed_sites(trim: float, sites: int) -> int:
    """floor(trim sites), safe from what 0.29 · 100 is in binary."""
    return min(math.floor(trim * sites + 1e-9), (sites - 1) // 2)


def breakdown(rule: Rule, sites: int, trim: float) -> int:
    """How many of the sites may send anything at all without moving the result at will."""
    return trimmed_sites(trim, sites) if rule == "trimmed-mean" else (sites - 1) // 2


def median(updates: Sequence[Arrays]) -> Combined:
    """The coordinate-wise median."""
    return {n: np.asarray(np.median(_stack(updates, n), axis=0), dtype=np.float64) for n in updates[0]}


def trimmed_mean(updates: Sequence[Arrays], trim: float) -> Combined:
    """The coordinate-wise mean without the `trimmed_sites` largest and smallest values."""
    cut = trimmed_sites(trim, len(updates))
    ordered = {name: np.sort(_stack(updates, name), axis=0) for name in updates[0]}
    return {name: np.asarray(rows[cut : len(rows) - cut].mean(axis=0)) for name, rows in ordered.items()}


def geometric_median(updates: Sequence[Arrays]) -> Combined:
    """The point with the least sum of distances, from the coordinate-wise median by Weiszfeld's algorithm.

    In the form of Vardi and Zhang (PNAS 2000), which does not stick at a site's own point unless that is the solution.
    The sum is within 1e-4 of the least.
    """
    point = median(updates)
    distances = _distances(updates, point)
    middle = float(np.median(distances))
    for _ in range(_MOST_STEPS if middle else 0):  # 0: more than half of the sites sent this point
        here = distances <= 1e-12 * middle
        pulls = np.divide(1.0, distances, out=np.zeros(len(updates)), where=~here)  # 0 from infinitely far
        target = {n: np.asarray(np.tensordot(pulls / pulls.sum(), _stack(updates, n), axes=1)) for n in point}
        pull = float(_distances([target], point)[0] * pulls.sum())  # norm of the sum of the unit vectors to the others
        stay = min(1.0, here.sum() / pull) if pull else 1.0
        point = {n: stay * point[n] + (1 - stay) * target[n] for n in point}
        before, distances = distances, _distances(updates, point)
        if np.allclose(distances, before, rtol=_ENOUGH, atol=0.0):
            break
    return point


class FlameRobust(FlameFedAvg):
    """Federated aggregation by a robust rule instead of the mean."""

    def __init__(
        self, *, rule: Rule = "median", trim: float = 0.2, min_nodes: int = _LEAST_SITES, **terms: Any
    ) -> None:
        """Set the rule and the terms of `FlameFedAvg`; `trim`, in (0, 1/2), is the trimmed mean's share at each end."""
        if rule not in {"median", "trimmed-mean", "geometric-median"} or terms.get("weigh_by_noise"):
            raise ValueError("The rule is median, trimmed-mean or geometric-median, and no rule has weights.")
        if min_nodes < _LEAST_SITES:
            raise ValueError(f"min_nodes is {min_nodes}; of fewer than {_LEAST_SITES} sites none is in the middle.")
        if rule == "trimmed-mean" and not (0 < trim < 0.5 and trimmed_sites(trim, min_nodes)):
            raise ValueError(f"trim is {trim}: it must be below 1/2 and cut at least one of {min_nodes} sites.")
        super().__init__(min_nodes=min_nodes, **terms)
        self.rule, self.trim = rule, trim
        self._updates: list[Arrays] = []

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """As `FlameFedAvg.aggregate_train`; the replies' noise is counted, that of the result is unknown.

        Raises:
            NotEnoughNodes: Fewer than `min_nodes` contributed.
            ValueError: The replies are masked.
        """
        arrays, metrics = super().aggregate_train(server_round, replies)
        noise = self.noise[server_round]
        kept = {name: value for name, value in metrics.items() if name not in noise.metrics()}
        if noise.noised:
            unknown = max(noise.noised, noise.unknown)
            noise = self.noise[server_round] = replace(noise, noise_std=None, unknown=unknown, signal_to_noise=None)
        self._updates = []
        return arrays, MetricRecord({**kept, **noise.metrics()})

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """The rule's result; the mean is not used."""
        del model, mean
        if self.rule == "trimmed-mean":
            return trimmed_mean(self._updates, self.trim)
        return median(self._updates) if self.rule == "median" else geometric_median(self._updates)

    def _weights(self, contents: list[RecordDict]) -> list[float]:
        """All alike; keeps the replies for the rule."""
        if any(masked_sites(content) > 1 for content in contents):
            raise ValueError(
                f"Under secure aggregation only sums over sites exist, and a {self.rule} is no function of a sum: "
                "take secure aggregation away, or use a strategy that averages."
            )
        self._updates = [arrays_of(content) for content in contents]
        return [1.0] * len(contents)


def _stack(updates: Sequence[Arrays], name: str) -> npt.NDArray[np.float64]:
    return np.stack([update[name].astype(np.float64) for update in updates])


def _distances(updates: Sequence[Arrays], point: Combined) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):  # garbage may be infinitely far
        squares = [sum(float(np.sum((u[n].astype(np.float64) - p) ** 2)) for n, p in point.items()) for u in updates]
    return np.sqrt(squares)
