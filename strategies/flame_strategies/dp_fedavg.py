"""DP-FedAvg with adaptive clipping (Andrew, Thakkar, McMahan, Ramaswamy, NeurIPS 2021, arXiv:1905.03871).

A clipping norm that is too large adds noise for nothing, one that is too small cuts the updates. Here the server looks
for the norm C below which a share gamma of the updates lies. Each gate clips to min(C, the terms' clip_norm), noises in
proportion, and tells a noised share b of its updates that were within the norm; then::

    b_mean = sum m_i b_i / sum m_i                   over the replies, m_i their blocks (1 for a whole site)
    C      = C exp(-rate / max(1, s) · (b_mean - gamma))

s is the standard deviation of the noise in b_mean. The paper has s well below 1, where this is its algorithm; with few
sites s may be far above, and undamped steps would then be noise alone.

Privacy is the gates' matter. The share is a coordinate of the same clipped and noised vector as the update, and the
noise follows the norm, so a release costs what it costs without adaptive clipping. C depends on earlier releases only.
A norm above the terms' does nothing: the gates say which one they used, and the search goes on from there.

The server's step is that of FedAvgM (Hsu, Qi, Brown, arXiv:1909.06335), with x the model and y the replies' mean::

    v = momentum v + (y - x)
    x = x + learning_rate v
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from flame_strategies.approval import GATE_RECORD
from flame_strategies.averaging import Arrays
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.noise_aware import GateNoise

log = logging.getLogger("flwr.flame_strategies")

_SAME = 1e-6  # relative: a norm that went through a message or float32
_MOST_NORM = 1e30  # what any terms may allow


@dataclass(frozen=True)
class ClipTerms:
    """How the clipping norm is looked for.

    Attributes:
        initial: The first round's norm, in the update's units; the terms' clip_norm is a good one.
        quantile: gamma, the share of updates that shall lie within the norm, in (0, 1).
        rate: Step on the logarithm of the norm, above 0 (the paper: 0.2).
        floor: The norm never goes below; above 0.
    """

    initial: float
    quantile: float = 0.5
    rate: float = 0.2
    floor: float = 1e-6

    def __post_init__(self) -> None:
        ordered = 0 < self.floor <= self.initial <= _MOST_NORM and 0 < self.quantile < 1
        if not (ordered and 0 < self.rate < math.inf):
            raise ValueError("Adaptive clipping needs 0 < floor <= initial, a quantile in (0, 1) and a rate above 0.")


@dataclass(frozen=True)
class Share:
    """The share of updates within `clip_norm`, over all replies that tell one; `std` is that of its noise."""

    below_clip: float
    std: float
    clip_norm: float


def pooled_share(said: Sequence[GateNoise | None], asked: float) -> Share | None:
    """The share over all updates, None if no gate that followed the norm `asked` tells one.

    Gates whose terms are lower used a lower norm; those that used the largest one count.
    """
    told = [n for n in said if n is not None and n.below_clip is not None and n.clip_norm is not None]
    used = max((n.clip_norm for n in told if n.clip_norm and n.clip_norm <= asked * (1 + _SAME)), default=None)
    if used is None:
        return None
    alike = [n for n in told if n.clip_norm is not None and abs(n.clip_norm - used) <= _SAME * used]
    counts = [max(1, n.blocks) for n in alike]
    share = math.fsum(m * (n.below_clip or 0.0) for m, n in zip(counts, alike, strict=True)) / sum(counts)
    std = math.hypot(*(m * n.below_clip_std for m, n in zip(counts, alike, strict=True))) / sum(counts)
    return Share(share, std, used)


def clip_step(share: Share, terms: ClipTerms, most: float) -> float:
    """The next round's norm: at least the floor, and never above `most`."""
    step = -terms.rate / max(1.0, share.std) * (share.below_clip - terms.quantile)
    # in logarithms, so that no step overflows
    moved = math.exp(min(math.log(share.clip_norm) + step, math.log(most)))
    return min(max(terms.floor, moved), most)


class FlameDpFedAvg(FlameFedAvg):
    """Federated averaging that looks for the clipping norm, with FedAvgM's server step.

    Attributes:
        clip_norm: The norm that the next round asks for.
        velocity: FedAvgM's v; None before the first round.
    """

    def __init__(self, *, clipping: ClipTerms, learning_rate: float = 1.0, momentum: float = 0.0, **terms: Any) -> None:
        """Set how the norm is looked for, the server's step and the terms of `FlameFedAvg`."""
        if not (0 < learning_rate < math.inf and 0 <= momentum < 1):
            raise ValueError("DP-FedAvg needs a learning_rate above 0 and a momentum in [0, 1).")
        super().__init__(**terms)
        self.clipping = clipping
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.clip_norm = clipping.initial
        self.velocity: Mapping[str, npt.NDArray[np.float64]] | None = None
        self._most = _MOST_NORM

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `FlameFedAvg.configure_train`, with the round's norm for the gates."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            message.content[GATE_RECORD] = ConfigRecord({"clip_norm": self.clip_norm})
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """As `FlameFedAvg.aggregate_train`; the metrics gain ``clip_norm``, ``below_clip`` and ``below_clip_std``."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        share = pooled_share(self.said, self.clip_norm)
        if share is None:
            log.warning("Round %d: no gate tells how many updates were within the norm; it stays", server_round)
            return arrays, metrics
        if share.clip_norm < self.clip_norm * (1 - _SAME):  # the terms' own bound: no gate will ever use more
            self._most = share.clip_norm
        said = {"clip_norm": share.clip_norm, "below_clip": share.below_clip, "below_clip_std": share.std}
        self.clip_norm = clip_step(share, self.clipping, self._most)
        return arrays, MetricRecord({**metrics, **said})

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """FedAvgM's step from the model that was sent."""
        old = self.velocity or {name: np.zeros(array.shape) for name, array in model.items()}
        self.velocity = {n: self.momentum * old[n] + (mean[n] - model[n].astype(np.float64)) for n in model}
        return {n: model[n].astype(np.float64) + self.learning_rate * v for n, v in self.velocity.items()}

    def save_state(self) -> dict[str, npt.NDArray[Any]]:
        """The search (``clip``: the next norm and the largest one) and FedAvgM's v, as ``v/NAME``."""
        velocity = {f"v/{name}": array for name, array in (self.velocity or {}).items()}
        return {"clip": np.array([self.clip_norm, self._most]), **velocity}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take back what `save_state` gave."""
        clip = state.get("clip")
        if clip is None or clip.shape != (2,) or any(not n.startswith("v/") for n in state if n != "clip"):
            raise ValueError("this is no search for a clipping norm")
        self.clip_norm, self._most = (float(value) for value in clip)
        self.velocity = {n.removeprefix("v/"): a for n, a in state.items() if n != "clip"} or None
