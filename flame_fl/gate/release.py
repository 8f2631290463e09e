"""Release: what may leave of an update. Pure: values in, released values or a refusal out.

Rules this module follows, in this order:

1. Allow-list. Every array and metric must be listed with its exact name and dtype and an allowed shape; config records
   (free text) never leave. One unlisted item refuses the whole update: a partly released update would hide the attempt.
2. Size. The total is checked against the contract.
3. Finite. NaN and infinity do not leave.
4. Clip and noise, if the terms say so, over arrays and metrics as one vector; under an enforced claim whatever failed
   in 1 to 3, or in the sandbox, becomes the zero vector, so that failing says nothing about the data (decisions 35).

An item may be missing only if it is a metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flame_fl.contract.content import EMPTY, Array, Content, Metric
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import MessageTerms, MetricRule, Privacy
from flame_fl.privacy.accounting import GaussianRelease, site_release
from flame_fl.privacy.clipping import CLIP_INT, clip, clip_to_integers
from flame_fl.privacy.discrete_gaussian import sigma_squared

Reference = Mapping[tuple[str, str], Array]

# Under an enforced claim the weight a strategy sees is the same for every site (decisions 12).
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


def check(update: Content, rules: MessageTerms, *, ranges: bool = True) -> None:
    """Rules 1 to 3. `ranges=False` leaves metrics beyond their range to be clamped by the caller.

    Raises:
        RefusedError: 904, with a detail for the node's log.
    """
    allowed = {(r.record, r.name): r for r in rules.arrays}
    metrics = {(r.record, r.name): r for r in rules.metrics}
    if update.configs:
        raise _rejected("the update holds a config record")
    if update.nbytes > rules.max_bytes:
        raise _rejected(f"the update has {update.nbytes} bytes; {rules.max_bytes} may leave")
    present = set()
    for record, name, array in update.array_items():
        rule = allowed.get((record, name))
        if rule is None:
            raise _rejected(f"array {record!r}/{name!r} is not listed")
        if array.dtype.name != rule.dtype or not rule.allows(array.shape):
            raise _rejected(
                f"array {record!r}/{name!r} is {array.dtype} {array.shape}; {rule.dtype} {rule.shape} may leave"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _rejected(f"array {record!r}/{name!r} is not finite")
        present.add((record, name))
    if missing := sorted(set(allowed) - present):
        raise _rejected(f"array {missing[0]} is missing")
    for record, values in update.metrics.items():
        for name, value in values.items():
            metric = metrics.get((record, name))
            if metric is None:
                raise _rejected(f"metric {record!r}/{name!r} is not listed")
            _check_metric(metric, value, ranges=ranges)
    if empty := [r for r in (*update.arrays, *update.metrics) if r not in {k[0] for k in (*allowed, *metrics)}]:
        raise _rejected(f"record {empty[0]!r} is not listed")


def release(
    update: Content | None,
    reference: Reference,
    rules: MessageTerms,
    privacy: Privacy,
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
        return _noised(update, reference, rules, privacy, noise, failed)
    if update is None:
        raise ValueError("without an enforced claim a failure is refused before this step")
    check(update, rules)
    if privacy.mechanism == "clip":
        return Released(_clipped(update, reference, rules, privacy))
    return Released(update)


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
    """The update as one float64 vector, in the contract's order."""
    parts = []
    for rule in rules.arrays:
        array = update.arrays[rule.record][rule.name].astype(np.float64)
        if (base := reference.get((rule.record, rule.name))) is not None:
            array = array - base.astype(np.float64)
        parts.append(array.reshape(-1))
    flat = np.concatenate(parts) if parts else np.zeros(0)
    if not np.isfinite(flat).all():
        raise _rejected("the difference to the sent arrays is not finite")
    return flat


def _rebuild(
    vector: Array, reference: Reference, rules: MessageTerms, shapes: Mapping[tuple[str, str], tuple[int, ...]]
) -> dict[str, dict[str, Array]]:
    arrays: dict[str, dict[str, Array]] = {}
    offset = 0
    for rule in rules.arrays:
        shape = shapes[(rule.record, rule.name)]
        size = int(np.prod(shape, dtype=np.int64))
        value = vector[offset : offset + size].reshape(shape)
        offset += size
        if (base := reference.get((rule.record, rule.name))) is not None:
            value = value + base.astype(np.float64)
        limit = np.finfo(rule.dtype).max
        arrays.setdefault(rule.record, {})[rule.name] = np.clip(value, -limit, limit).astype(rule.dtype)
    return arrays


def _clipped(update: Content, reference: Reference, rules: MessageTerms, privacy: Privacy) -> Content:
    """Bounded influence without noise: no privacy claim, but no site can push further than clip_norm."""
    assert privacy.clip_norm is not None  # noqa: S101  (Privacy checks it)
    vector = clip(_flatten(update, reference, rules), privacy.clip_norm)
    shapes = {(r, n): a.shape for r, n, a in update.array_items()}
    return Content(_rebuild(vector, reference, rules, shapes), update.metrics)


def _noised(
    update: Content | None,
    reference: Reference,
    rules: MessageTerms,
    privacy: Privacy,
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
            flat = _flatten(update, reference, rules)
            vector = np.concatenate([flat, [share * _centred(rule, update) for rule in paid]])
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


def _check_metric(rule: MetricRule, value: Metric, *, ranges: bool) -> None:
    numbers = value if isinstance(value, list) else [value]
    label = f"metric {rule.record!r}/{rule.name!r}"
    if isinstance(value, list) != (rule.length is not None) or (rule.length is not None and len(numbers) > rule.length):
        raise _rejected(f"{label} is not of the listed length")
    if not all(np.isfinite(x) for x in numbers):
        raise _rejected(f"{label} is not finite")
    if rule.kind == "count" and not all(isinstance(x, int) and x >= 0 for x in numbers):
        raise _rejected(f"{label} is no count")
    if ranges and any(
        (rule.min is not None and x < rule.min) or (rule.max is not None and x > rule.max) for x in numbers
    ):
        raise _rejected(f"{label} is outside its range")


def _rejected(detail: str) -> RefusedError:
    return RefusedError(RefusalCode.RELEASE_REJECTED, detail)
