"""Release: what may leave of an update. Pure: values in, released values or a refusal out.

Rules this module follows, in this order:

1. What does not fit the allow-list (`allow_list`) does not leave.
2. Clip and noise, if the terms say so, over arrays and metrics as one vector. Under an enforced claim whatever failed
   in 1, or in the sandbox, becomes the zero vector, so that failing says nothing about the data.
3. What leaves stands in the contract's order, whatever order the app chose. Under an enforced claim its records, names,
   shapes and dtypes are the contract's alone: nothing of them depends on the update.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flame_fl.contract.content import EMPTY, Array, Content, Metric
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import MessageTerms, MetricRule, Privacy
from flame_fl.gate.allow_list import check, rejected
from flame_fl.privacy.accounting import GaussianRelease, site_release
from flame_fl.privacy.clipping import CLIP_INT, clip, clip_to_integers
from flame_fl.privacy.discrete_gaussian import sigma_squared

Reference = Mapping[tuple[str, str], Array]

# Under an enforced claim the weight a strategy sees is the same for every site.
CONSTANT_COUNT = 1


@dataclass(frozen=True)
class Released:
    """What leaves, and what it costs. `noise_std` is per coordinate, in the update's units."""

    content: Content
    noise_std: float = 0.0
    failed: str = ""  # under an enforced claim: why the zero vector stands here; for the node's log only


def event_of(privacy: Privacy) -> GaussianRelease | None:
    """The privacy event one release costs; None where no arithmetic claim is made. Known before the data are seen."""
    if privacy.ground != "enforced" or privacy.noise_multiplier is None:
        return None
    return site_release(privacy.noise_multiplier)


def release(
    update: Content | None,
    reference: Reference,
    rules: MessageTerms,
    privacy: Privacy,
    *,
    noise: NoiseSource,
    failed: str = "",
) -> Released:
    """What leaves of `update`.

    Args:
        update: What the sandbox produced; None if it failed (then `failed` says why).
        reference: What `update = "delta"` is relative to, from `reference_of`.
        rules: The release contract of this message type.
        privacy: The claim and its mechanism.
        noise: Exact integer noise.
        failed: Why there is no update.

    Raises:
        RefusedError: 904, never under an enforced claim.
    """
    if privacy.ground == "enforced":
        return _noised(update, reference, rules, privacy, noise=noise, failed=failed)
    if update is None:
        raise ValueError("without an enforced claim a failure is refused before this step")
    check(update, rules)
    arrays = _clipped(update, reference, rules, privacy) if privacy.mechanism == "clip" else update.arrays
    return Released(_in_order(arrays, update.metrics, rules))


def _in_order(
    arrays: Mapping[str, Mapping[str, Array]], metrics: Mapping[str, Mapping[str, Metric]], rules: MessageTerms
) -> Content:
    """The same content in the contract's order."""
    ordered: dict[str, dict[str, Array]] = {}
    for rule in rules.arrays:
        ordered.setdefault(rule.record, {})[rule.name] = arrays[rule.record][rule.name]
    numbers: dict[str, dict[str, Metric]] = {}
    for listed in rules.metrics:
        if (value := metrics.get(listed.record, EMPTY).get(listed.name)) is not None:
            numbers.setdefault(listed.record, {})[listed.name] = value
    return Content(ordered, numbers)


def reference_of(sent: Content, rules: MessageTerms, privacy: Privacy) -> Reference:
    """The sent arrays that `update = "delta"` is relative to. Decided before the data are seen.

    Raises:
        RefusedError: 908, the message lacks one.
    """
    if rules.update == "value" or privacy.mechanism == "none":
        return {}
    reference: dict[tuple[str, str], Array] = {}
    for rule in rules.arrays:
        array = sent.arrays.get(rule.record, EMPTY).get(rule.name)
        fits = array is not None and array.dtype.name == rule.dtype and rule.allows(array.shape)
        if array is None or not fits or not np.isfinite(array).all():
            raise RefusedError(
                RefusalCode.TERMS_VIOLATED,
                f"the message lacks a finite {rule.record!r}/{rule.name!r} of the contract's shape to compare with",
            )
        reference[(rule.record, rule.name)] = array
    return reference


def _flatten(update: Content, reference: Reference, rules: MessageTerms) -> Array:
    """The update as one float64 vector, in the contract's order.

    Raises:
        RefusedError: 904, an array has another shape than the one it is compared with, or lies too far from it.
    """
    parts = []
    for rule in rules.arrays:
        array = update.arrays[rule.record][rule.name].astype(np.float64)
        if (base := reference.get((rule.record, rule.name))) is not None:
            if array.shape != base.shape:
                raise rejected(f"array {rule.record!r}/{rule.name!r} has not the shape of the one that was sent")
            with np.errstate(over="ignore"):  # judged below
                array = array - base.astype(np.float64)
        parts.append(array.reshape(-1))
    flat = np.concatenate(parts) if parts else np.zeros(0)
    if not np.isfinite(flat).all():
        raise rejected("the difference to the sent arrays is not finite")
    return flat


def _rebuild(
    vector: Array, reference: Reference, rules: MessageTerms, shapes: Mapping[tuple[str, str], tuple[int, ...]]
) -> dict[str, dict[str, Array]]:
    """The inverse of `_flatten`: post-processing. What rounding to the array's dtype adds or hides is not counted."""
    arrays: dict[str, dict[str, Array]] = {}
    offset = 0
    for rule in rules.arrays:
        shape = shapes[(rule.record, rule.name)]
        size = int(np.prod(shape, dtype=np.int64))
        value = vector[offset : offset + size].reshape(shape)
        offset += size
        if (base := reference.get((rule.record, rule.name))) is not None:
            value = value + base.astype(np.float64)
        limit = float(np.finfo(rule.dtype).max)
        arrays.setdefault(rule.record, {})[rule.name] = np.clip(value, -limit, limit).astype(rule.dtype)
    return arrays


def _clipped(
    update: Content, reference: Reference, rules: MessageTerms, privacy: Privacy
) -> dict[str, dict[str, Array]]:
    """Bounded influence without noise: no privacy claim, but no site can push further than clip_norm."""
    assert privacy.clip_norm is not None  # noqa: S101  (Privacy checks it)
    vector = clip(_flatten(update, reference, rules), privacy.clip_norm)
    shapes = {(r, n): a.shape for r, n, a in update.array_items()}
    return _rebuild(vector, reference, rules, shapes)


def _noised(
    update: Content | None,
    reference: Reference,
    rules: MessageTerms,
    privacy: Privacy,
    *,
    noise: NoiseSource,
    failed: str,
) -> Released:
    """Clip to integers, add exact noise, divide afterwards. The shape of what leaves is the contract's alone."""
    assert privacy.clip_norm is not None  # noqa: S101  (Privacy checks both)
    assert privacy.noise_multiplier is not None  # noqa: S101
    shapes = {(r.record, r.name): r.exact_shape or () for r in rules.arrays}
    paid = [rule for rule in rules.metrics if rule.kind != "count"]
    size = sum(int(np.prod(s, dtype=np.int64)) for s in shapes.values())
    share = privacy.metric_share * privacy.clip_norm
    vector = np.zeros(size + len(paid))
    if update is not None:
        try:
            check(update, rules, ranges=False)
            vector = np.append(_flatten(update, reference, rules), [share * _centred(rule, update) for rule in paid])
        except RefusedError as err:
            failed = err.detail
    q = clip_to_integers(vector, privacy.clip_norm)
    draws = noise.discrete_gaussian(sigma_squared(privacy.noise_multiplier, CLIP_INT), len(q))
    unit = privacy.clip_norm / CLIP_INT
    out = (q + np.array(draws, dtype=np.int64)) * unit
    metrics: dict[str, dict[str, Metric]] = {}
    for rule, value in zip(paid, out[size:], strict=True):
        metrics.setdefault(rule.record, {})[rule.name] = _from_centred(rule, float(value) / share)
    for rule in rules.metrics:
        if rule.kind == "count":
            metrics.setdefault(rule.record, {})[rule.name] = CONSTANT_COUNT
    content = Content(_rebuild(out[:size], reference, rules, shapes), metrics)
    return Released(content, privacy.noise_multiplier * privacy.clip_norm, failed)


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
