"""Release: what may leave of an update. Pure: values in, released values or a refusal out.

Rules this module follows, in this order:

1. What does not fit the allow-list (`allow_list`) does not leave.
2. Under an enforced claim: clip, sum over the blocks of patients, noise (`flame_fl.gate.noised`).
3. What leaves stands in the contract's order, whatever order the app chose. Under an enforced claim its records, names,
   shapes and dtypes are the contract's alone: nothing of them depends on the update.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import EMPTY, Array, Content, Metric
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import MessageTerms, Privacy
from flame_fl.gate.allow_list import check, rejected
from flame_fl.privacy.clipping import clip
from flame_fl.secagg.encoding import Layout
from flame_fl.secagg.streams import Words

Reference = Mapping[tuple[str, str], Array]

CONSTANT_COUNT = 1
"""Under an enforced or a vetted claim the weight a strategy sees is the same for every site."""


@dataclass(frozen=True)
class Released:
    """What leaves, and what a strategy may know of it. `noise_std` is per coordinate, in the update's units."""

    content: Content
    noise_std: float = 0.0
    clip_norm: float = 0.0
    below_clip: float | None = None  # with noise of its own: the share of updates that were within clip_norm
    below_clip_std: float = 0.0
    numbers: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)  # of disclosure control, for the node's log only
    guards: Mapping[tuple[str, str], npt.NDArray[np.int64]] = field(default_factory=dict)  # judged by all DIZ together
    masked: tuple[Layout, Words] | None = None  # the integers to mask instead, and how their sum is read
    failed: str = ""  # under an enforced claim: why a zero vector stands here; for the node's log only


def release(update: Content, reference: Reference, rules: MessageTerms, privacy: Privacy) -> Released:
    """What leaves of `update` where the gate adds no noise.

    Args:
        update: What the sandbox produced.
        reference: What `update = "delta"` is relative to, from `reference_of`.
        rules: The release contract of this message type.
        privacy: The terms'. Under a vetted claim the noise is in the update already.

    Raises:
        RefusedError: 904.
    """
    vetted = privacy.ground == "vetted"
    if vetted:
        update = Content(update.arrays, _constant_counts(rules), update.configs)
    check(update, rules, ranges=not vetted)  # the noise that is in it has no bound
    arrays = _clipped(update, reference, rules, privacy) if privacy.mechanism == "clip" else update.arrays
    std = (privacy.noise_multiplier or 0.0) * (privacy.clip_norm or 0.0) if privacy.mechanism == "sums" else 0.0
    return Released(in_order(arrays, update.metrics, rules), std, privacy.clip_norm or 0.0)


def _constant_counts(rules: MessageTerms) -> dict[str, dict[str, Metric]]:
    counts: dict[str, dict[str, Metric]] = {}
    for rule in rules.metrics:
        counts.setdefault(rule.record, {})[rule.name] = CONSTANT_COUNT
    return counts


def in_order(
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
    if rules.update == "value" or privacy.mechanism not in {"clip", "discrete-gaussian"}:
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


def flatten(update: Content, reference: Reference, rules: MessageTerms) -> Array:
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


def rebuild(
    vector: Array, reference: Reference, rules: MessageTerms, shapes: Mapping[tuple[str, str], tuple[int, ...]]
) -> dict[str, dict[str, Array]]:
    """The inverse of `flatten`: post-processing. What rounding to the array's dtype adds or hides is not counted."""
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
    vector = clip(flatten(update, reference, rules), privacy.clip_norm)
    shapes = {(r, n): a.shape for r, n, a in update.array_items()}
    return rebuild(vector, reference, rules, shapes)
