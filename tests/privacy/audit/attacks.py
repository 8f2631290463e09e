"""Worst-case neighbours of every enforced mechanism: two inputs as far apart as inputs can be, and where to look.

A vector here is what left, in units of the clip norm and of the sum over blocks: arrays, then the metrics on their
share of the ball, then the bit of adaptive clipping. In these units two inputs lie at most 2 apart, the noise has a
standard deviation of noise_multiplier on each coordinate, and the best test there is reads along `direction`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import Content
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.terms import MessageTerms, Privacy
from flame_fl.gate.noised import NoisedSum
from flame_fl.gate.release import Reference, Released, reference_of
from tests.support.gates import enforced, message_terms

Floats = npt.NDArray[np.float64]
Updates = Sequence[Content | None]

DIMENSIONS = 16
MULTIPLIER = 0.5  # with a sensitivity of 2 clip_norm: mu = 4, where few releases tell much; 2.0 is mu = 1
HUGE = 1e3
_ONES = np.full(DIMENSIONS, 1 / math.sqrt(DIMENSIONS))


def rules_with(*, share: float | None = None, metric: bool = True, update: str = "value") -> MessageTerms:
    """Two arrays of eight (clipped apart if there is a share), a loss in [0, 10] and a count."""
    listed = [
        {"record": "r", "name": name, "dtype": "float64", "shape": [DIMENSIONS // 2]}
        | ({"clip_share": share} if share else {})
        for name in "ab"
    ]
    loss = [{"record": "m", "name": "loss", "kind": "mean", "min": 0.0, "max": 10.0}] if metric else []
    count = {"record": "m", "name": "num-examples", "kind": "count"}
    return message_terms(arrays=listed, metrics=[*loss, count], update=update)


def update_of(vector: Floats, loss: float | None = None, count: int = 50) -> Content:
    """What an app answers. `vector` has shape (16,)."""
    half = DIMENSIONS // 2
    metrics = {"num-examples": count} | ({} if loss is None else {"loss": loss})
    return Content({"r": {"a": vector[:half], "b": vector[half:]}}, {"m": metrics})


@dataclass(frozen=True, eq=False)
class Setting:
    """One mechanism: contract, claim, and what was sent."""

    rules: MessageTerms = field(default_factory=rules_with)
    privacy: Privacy = field(default_factory=lambda: _site(MULTIPLIER))
    sent: Content = field(default_factory=lambda: update_of(np.zeros(DIMENSIONS)))

    @cached_property
    def reference(self) -> Reference:
        """What "delta" is relative to."""
        return reference_of(self.sent, self.rules, self.privacy)

    def released(self, updates: Updates, noise: NoiseSource) -> Released:
        """One release, as the gate makes it."""
        assert self.privacy.clip_norm is not None
        total = NoisedSum(self.reference, self.rules, self.privacy, self.privacy.clip_norm)
        for update in updates:
            total.add(update)
        return total.release(noise)

    def vector(self, updates: Updates, noise: NoiseSource) -> Floats:
        """One release, as coordinates."""
        return self.coordinates(self.released(updates, noise))

    def coordinates(self, released: Released) -> Floats:
        """What left, in the units above."""
        clip_norm, share = self.privacy.clip_norm or 1.0, self.privacy.metric_share
        arrays = [
            released.content.arrays["r"][name] - (self.sent.arrays["r"][name] if self.rules.update == "delta" else 0.0)
            for name in "ab"
        ]
        rest = []
        if (loss := released.content.metrics["m"].get("loss")) is not None:
            rest.append(share * clip_norm * (float(loss) - 5.0) / 5.0)  # type: ignore[arg-type]
        if self.privacy.adaptive_clip:
            assert released.below_clip is not None
            rest.append(share * clip_norm * (2.0 * released.below_clip - 1.0))
        flat = np.concatenate([*arrays, rest])
        scaled: Floats = flat * ((self.privacy.blocks or 1) / clip_norm)
        return scaled


@dataclass(frozen=True, eq=False)
class Attack:
    """Two neighbours and a direction of length 1. `tight`: they show all that the claim allows."""

    name: str
    setting: Setting
    one: Updates
    other: Updates
    direction: Floats
    tight: bool = True

    def projections(self, size: int, noise: NoiseSource) -> tuple[Floats, Floats]:
        """What `size` releases about each of the two show, along the direction."""
        one, other = (
            np.array([self.direction @ self.setting.vector(updates, noise) for _ in range(size)])
            for updates in (self.one, self.other)
        )
        return one, other


def _along(*rest: float, arrays: Floats = _ONES) -> Floats:
    whole = np.append(arrays, rest)
    unit: Floats = whole / np.linalg.norm(whole)
    return unit


def _site(multiplier: float, **changes: object) -> Privacy:
    return enforced(noise_multiplier=multiplier, metric_share=1.0, **changes)


def attacks(multiplier: float = MULTIPLIER) -> dict[str, Attack]:
    """All of them, by name."""
    first = np.zeros(DIMENSIONS)
    first[0] = HUGE
    site = _site(multiplier)
    plain, no_metric = Setting(rules_with(), site), Setting(rules_with(metric=False), site)
    adaptive = Setting(rules_with(metric=False), _site(multiplier, adaptive_clip=True))
    shares = Setting(rules_with(share=math.sqrt(0.5), metric=False), site)
    sent = update_of(np.linspace(-100.0, 100.0, DIMENSIONS))
    delta = Setting(rules_with(metric=False, update="delta"), site, sent)
    blocks = Setting(rules_with(metric=False), _site(multiplier, unit="patient", blocks=2, slot_seconds=1.0))
    rest: list[Content | None] = [update_of(_ONES)]
    base = np.concatenate([delta.sent.arrays["r"][name] for name in "ab"])
    listed = [
        Attack(
            "site: far outside the ball, one side against the other",
            no_metric,
            [update_of(HUGE * _ONES)],
            [update_of(-HUGE * _ONES)],
            _along(),
        ),
        Attack(
            "site: arrays and metric at their ends together",
            plain,
            [update_of(_ONES, 10.0)],
            [update_of(-_ONES, 0.0)],
            _along(1.0),
        ),
        Attack(
            "site: the metric alone",
            plain,
            [update_of(0 * _ONES, 10.0)],
            [update_of(0 * _ONES, 0.0)],
            _along(1.0, arrays=0 * _ONES),
        ),
        Attack(
            "site: one coordinate, read against its neighbour",
            no_metric,
            [update_of(first)],
            [update_of(-first)],
            _along(arrays=np.array([1.0, -1.0, *np.zeros(DIMENSIONS - 2)])),
            tight=False,
        ),
        Attack(
            "site: adaptive clipping, its bit and the arrays together",
            adaptive,
            [update_of(0.999999 * _ONES)],
            [update_of(-1.000001 * _ONES)],
            _along(1.0),
        ),
        Attack(
            "site: arrays clipped apart, each at its share",
            shares,
            [update_of(HUGE * _ONES)],
            [update_of(-HUGE * _ONES)],
            _along(),
        ),
        Attack(
            "site: a delta to what was sent",
            delta,
            [update_of(base + HUGE * _ONES)],
            [update_of(base - HUGE * _ONES)],
            _along(),
        ),
        Attack(
            "patient: one block turned round",
            blocks,
            [update_of(HUGE * _ONES), *rest],
            [update_of(-HUGE * _ONES), *rest],
            _along(),
        ),
    ]
    return {attack.name: attack for attack in listed}
