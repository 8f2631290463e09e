"""Release under an enforced claim: clip each update into integers, sum, add exact integer noise, divide afterwards.

Rules this module follows:

1. Arrays and metrics are coordinates of one vector, and so is the bit that adaptive clipping needs: one clip, one
   noise.
2. Whatever failed, in the sandbox or against the contract, is the zero vector: failing says nothing about the data.
3. What leaves has the contract's records, names, shapes and dtypes: nothing of its form depends on an update.
4. One update (unit site), or one per block of patients in the order of the blocks (unit patient). The divisor is the
   public number of blocks, whichever of them failed or are empty.
"""

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import EMPTY, Content, Metric
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.task import OWN_RECORD
from flame_fl.contract.terms import MessageTerms, MetricRule, Privacy
from flame_fl.gate.allow_list import check
from flame_fl.gate.masked import noised_bits, words
from flame_fl.gate.release import CONSTANT_COUNT, Reference, Released, flatten, rebuild
from flame_fl.privacy.clipping import CLIP_INT, clip_to_integers
from flame_fl.privacy.discrete_gaussian import sigma_squared
from flame_fl.privacy.distributed import share_of
from flame_fl.secagg.encoding import Layout, Part

CLIP_KEY = "clip_norm"
"""What a message may ask for in the gate's record, if the terms say `adaptive_clip`."""


def clip_norm_of(sent: Content, privacy: Privacy) -> float:
    """The clip norm of this message: the terms', or a smaller one that the message asks for.

    Decided before the data are seen.

    Raises:
        RefusedError: 908, it asks for something else.
    """
    assert privacy.clip_norm is not None  # noqa: S101  (Privacy checks it)
    wished = sent.configs.get(OWN_RECORD, EMPTY).get(CLIP_KEY)
    if wished is None or not privacy.adaptive_clip:
        return privacy.clip_norm
    if not isinstance(wished, int | float) or isinstance(wished, bool) or not 1e-30 <= wished <= 1e30:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, "a clip norm that is no number above 0")
    return min(float(wished), privacy.clip_norm)


def coordinates(rules: MessageTerms, privacy: Privacy) -> int:
    """How many draws of noise one release takes."""
    size = sum(int(np.prod(rule.exact_shape or (), dtype=np.int64)) for rule in rules.arrays)
    return size + sum(rule.kind != "count" for rule in rules.metrics) + privacy.adaptive_clip


def draws_of(rules: MessageTerms, privacy: Privacy) -> int:
    """How many draws one answer takes, wherever they are made: under dp-sgd as many again in each step."""
    return coordinates(rules, privacy) * (privacy.steps or 1)


def sigma_of(privacy: Privacy) -> tuple[int, int]:
    """sigma² of the integer noise, as a fraction."""
    assert privacy.noise_multiplier is not None  # noqa: S101  (Privacy checks it)
    return sigma_squared(privacy.noise_multiplier, CLIP_INT)


class NoisedSum:
    """The clipped updates of one message, summed as integers; `release` adds the noise, once.

    Args:
        reference: What `update = "delta"` is relative to.
        rules: The release contract of the message type.
        privacy: The claim and its mechanism.
        clip_norm: Of this message, from `clip_norm_of`.
    """

    def __init__(self, reference: Reference, rules: MessageTerms, privacy: Privacy, clip_norm: float) -> None:
        self._reference, self._rules, self._privacy, self._clip_norm = reference, rules, privacy, clip_norm
        self._shapes = {(r.record, r.name): r.exact_shape or () for r in rules.arrays}
        self._paid = [rule for rule in rules.metrics if rule.kind != "count"]
        self._share = privacy.metric_share * clip_norm
        self._clipped: list[npt.NDArray[np.int32] | None] = []
        self._failed: list[str] = []

    def add(self, update: Content | None, failed: str = "") -> None:
        """One update; None, or one that does not fit the contract, counts as the zero vector."""
        self._clipped.append(None)
        if update is None:
            self._failed.append(failed or "there is no update")
            return
        try:
            check(update, self._rules, ranges=False)
            vector = flatten(update, self._reference, self._rules)
        except RefusedError as err:
            self._failed.append(err.detail)
            return
        rest = [self._share * _centred(rule, update) for rule in self._paid]
        if self._privacy.adaptive_clip:
            rest.append(self._share * (1.0 if _within(vector, self._clip_norm) else -1.0))
        parts = self._rules.clip_parts(len(rest), self._privacy.metric_share, apart=self._privacy.adaptive_clip)
        joined = np.append(vector, rest) if rest else vector
        self._clipped[-1] = clip_to_integers(joined, self._clip_norm, parts).astype(np.int32)  # each |q| ≤ 2^20

    def forget(self, number: int, why: str) -> None:
        """The update that was added as this one, counted from 1, is the zero vector after all."""
        self._clipped[number - 1] = None
        self._failed.append(why)

    def release(self, noise: NoiseSource) -> Released:
        """What leaves. Call it once: the same sum under fresh noise is another release."""
        privacy, blocks = self._privacy, self._privacy.blocks or 1
        assert privacy.noise_multiplier is not None  # noqa: S101  (Privacy checks it)
        out = self._noised(noise, sigma_of(privacy)) * (self._clip_norm / CLIP_INT / blocks)
        size = len(out) - len(self._paid) - privacy.adaptive_clip
        metrics: dict[str, dict[str, Metric]] = {}
        for rule, value in zip(self._paid, out[size : size + len(self._paid)], strict=True):
            metrics.setdefault(rule.record, {})[rule.name] = _from_centred(rule, float(value) / self._share)
        for rule in self._rules.metrics:
            if rule.kind == "count":
                metrics.setdefault(rule.record, {})[rule.name] = CONSTANT_COUNT
        std = privacy.noise_multiplier * self._clip_norm / blocks
        return Released(
            Content(rebuild(out[:size], self._reference, self._rules, self._shapes), metrics),
            noise_std=std,
            clip_norm=self._clip_norm,
            below_clip=(1.0 + float(out[-1]) / self._share) / 2.0 if privacy.adaptive_clip else None,
            below_clip_std=std / self._share / 2.0,
            failed="; ".join(self._failed),
        )

    def masked(self, noise: NoiseSource, sites: int, honest: int) -> Released:
        """What leaves under masks: the integers, with this site's share of the noise, and how the sum is read.

        Args:
            noise: The source.
            sites: How many sites are in the set-up.
            honest: How many shares make the whole noise; 1 where every site adds all of it.
        """
        privacy, blocks = self._privacy, self._privacy.blocks or 1
        share = share_of(sigma_of(privacy), honest)
        integers = self._noised(noise, share)
        scale = CLIP_INT * blocks / self._clip_norm
        parts = [
            Part(record=r.record, name=r.name, where="array", dtype=r.dtype, shape=r.exact_shape or (), how="mean",
                 scale=scale)
            for r in self._rules.arrays
        ]  # fmt: skip
        for rule in self._paid:
            low, high = _bounds(rule)
            half = (high - low) / 2
            parts.append(
                Part(record=rule.record, name=rule.name, where="metric", dtype="float64", shape=(), how="mean",
                     scale=scale, factor=half / self._share, offset=(low + high) / 2)
            )  # fmt: skip
        if privacy.adaptive_clip:
            parts.append(
                Part(record="", name="below_clip", where="below-clip", dtype="float64", shape=(), how="mean",
                     scale=scale, factor=0.5 / self._share, offset=0.5)
            )  # fmt: skip
        sigma = (share[0] / share[1]) ** 0.5
        bits = noised_bits(sites, blocks, sigma)
        layout = Layout(bits=bits, update="delta" if self._reference else "value", parts=tuple(parts))
        std = sigma / scale
        constants: dict[str, dict[str, Metric]] = {}
        for rule in self._rules.metrics:
            if rule.kind == "count":
                constants.setdefault(rule.record, {})[rule.name] = CONSTANT_COUNT
        return Released(
            Content(metrics=constants),
            noise_std=std,
            clip_norm=self._clip_norm,
            below_clip_std=std / self._share / 2.0,
            failed="; ".join(self._failed),
            masked=(layout, words(integers, bits)),
        )

    def _noised(self, noise: NoiseSource, sigma: tuple[int, int]) -> npt.NDArray[np.int64]:
        """The sum with noise, as integers. Only once: the same sum under fresh noise is another release."""
        total = np.zeros(coordinates(self._rules, self._privacy), dtype=np.int64)
        for clipped in self._clipped:
            if clipped is not None:
                total += clipped
        return total + noise.discrete_gaussian(sigma, len(total))


def _within(vector: "np.ndarray[tuple[int], np.dtype[np.float64]]", clip_norm: float) -> bool:
    largest = float(np.max(np.abs(vector), initial=0.0))
    return largest <= clip_norm and float(np.linalg.norm(vector)) <= clip_norm


def _bounds(rule: MetricRule) -> tuple[float, float]:
    assert rule.min is not None  # noqa: S101  (Terms checks both under an enforced claim)
    assert rule.max is not None  # noqa: S101
    return rule.min, rule.max


def _centred(rule: MetricRule, update: Content) -> float:
    """The metric mapped from [min, max] to [-1, 1]; a missing one is the middle."""
    low, high = _bounds(rule)
    value = update.metrics.get(rule.record, EMPTY).get(rule.name, (low + high) / 2)
    number = min(max(float(value), low), high) if isinstance(value, int | float) else (low + high) / 2
    return (2 * number - low - high) / (high - low)


def _from_centred(rule: MetricRule, value: float) -> float:
    low, high = _bounds(rule)
    return (value * (high - low) + low + high) / 2
