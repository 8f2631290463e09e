"""What is masked: a released answer, or a noised sum, as integers with a layout. Pure.

Every DIZ derives the same layout from the same terms and the same number of sites. A range, and with it the scale, is
decided from the terms alone, so that it can be refused before the data are seen.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import EMPTY, Array, Content
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.secure_terms import SUMMED, largest
from flame_fl.contract.terms import ArrayRule, MessageTerms, MetricRule, Privacy, Terms
from flame_fl.gate.allow_list import largest_of, rejected
from flame_fl.gate.release import Reference
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.secagg.encoding import Layout, Part, encode, scale_of
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.streams import Words

How = str


@dataclass(frozen=True)
class Ranges:
    """The scales of one message type's numbers, for so many sites.

    Attributes:
        bits: 64 if an array has elements of 8 bytes, or there is none; else 32, so that masks add no bytes.
        weight: The weighting count, if the terms name one and this message has it.
        parts: For each array and metric that leaves: how it is added up, and its scale.
    """

    bits: int
    weight: MetricRule | None
    parts: dict[tuple[str, str], tuple[How, float]]


def ranges_of(rules: MessageTerms, terms: Terms, sites: int) -> Ranges:
    """Decide the scales, from the terms alone.

    Raises:
        RefusedError: 908, the sum of so many sites does not fit.
    """
    arrays, masked = rules.leaving.arrays, terms.secure_aggregation
    bits = 32 if arrays and all(np.dtype(rule.dtype).itemsize <= 4 for rule in arrays) else 64
    weight = next((m for m in rules.metrics if m.name == masked.weight and m.kind == "count"), None)
    heaviest = 1.0 if weight is None else float(weight.max or 1.0)
    parts: dict[tuple[str, str], tuple[How, float]] = {}
    try:
        for rule in arrays:
            how = _how(rule, weight)
            bound = bound_of(rule, terms.privacy) * (heaviest if how == "weighted" else 1.0)
            whole = how == "sum" and "int" in rule.dtype
            parts[rule.record, rule.name] = how, scale_of(bound, sites, bits, whole=whole)
        for metric in rules.metrics:
            how = _how(metric, weight)
            bound = max(abs(metric.min or 0.0), abs(metric.max or 0.0), 1e-300)
            bound *= heaviest if how == "weighted" else 1.0
            parts[metric.record, metric.name] = how, scale_of(bound, sites, bits, whole=metric.kind == "count")
    except MaskError as err:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, err.message) from err
    return Ranges(bits, weight, parts)


def encoded(
    released: Content,
    reference: Reference,
    rules: MessageTerms,
    terms: Terms,
    *,
    ranges: Ranges,
    absent: Collection[str],
) -> tuple[Layout, Words]:
    """A released answer as integers.

    Args:
        released: What would leave without masks, in the contract's order.
        reference: What `update = "delta"` is relative to.
        rules: The release contract of this message type.
        terms: The terms.
        ranges: From `ranges_of`.
        absent: Arrays ("RECORD/ARRAY") that this site does not supply: zeros stand for them.

    Raises:
        RefusedError: 904, a number is missing, or beyond its range.
    """
    weight = 1.0
    if ranges.weight is not None:
        stated = released.metrics.get(ranges.weight.record, EMPTY).get(ranges.weight.name)
        if not isinstance(stated, int | float) or not 0 <= stated <= (ranges.weight.max or 0):
            raise rejected(f"the weight {ranges.weight.name!r} is missing or beyond its range")
        weight = float(stated)
    parts: list[Part] = []
    values: list[Array] = []
    for rule in rules.leaving.arrays:
        how, scale = ranges.parts[rule.record, rule.name]
        array = released.arrays[rule.record][rule.name]
        value = array.reshape(-1)
        if (base := reference.get((rule.record, rule.name))) is not None:
            value = value.astype(np.float64) - base.reshape(-1).astype(np.float64)
        if f"{rule.record}/{rule.name}" in absent:
            value = np.zeros_like(value)
        value = _bounded(value, rule, terms.privacy)
        values.append(value.astype(np.float64) * weight if how == "weighted" else value)
        parts.append(_part(rule, "array", rule.dtype, array.shape, how=how, scale=scale))
    for metric in rules.metrics:
        how, scale = ranges.parts[metric.record, metric.name]
        number = released.metrics.get(metric.record, EMPTY).get(metric.name)
        if not isinstance(number, int | float):
            raise rejected(f"metric {metric.name!r} is missing, and what is masked must be whole")
        counted = metric.kind == "count"
        value = np.array([number], np.int64 if counted else np.float64)
        values.append(value * weight if how == "weighted" else value)
        parts.append(_part(metric, "metric", "int64" if counted else "float64", (), how=how, scale=scale))
    layout = Layout(
        bits=32 if ranges.bits == 32 else 64,
        update="delta" if reference else "value",
        parts=tuple(parts),
        weight=None if ranges.weight is None else ranges.weight.name,
    )
    return layout, encode(layout, values)


def bound_of(rule: ArrayRule, privacy: Privacy) -> float:
    """What no element exceeds. A clip norm bounds an answer only where the gate clips it, and not a patient's part."""
    return largest(rule, privacy.clip_norm if privacy.mechanism == "clip" else None)


def noised_bits(sites: int, blocks: int, sigma: float) -> int:
    """How many bits a sum of clipped and noised integers needs: 12 sigma of the whole noise are outside with 1e-32."""
    return 32 if sites * blocks * CLIP_INT + 12 * sigma * sites**0.5 < (1 << 31) else 64


def words(integers: npt.NDArray[np.int64], bits: int) -> Words:
    """Integers modulo 2^bits."""
    unsigned = integers.view(np.uint64)
    return unsigned.astype(np.uint32) if bits == 32 else unsigned.copy()


def _how(rule: ArrayRule | MetricRule, weight: MetricRule | None) -> How:
    if rule.kind in SUMMED:
        return "sum"
    return "mean" if weight is None else "weighted"


def _part(
    rule: ArrayRule | MetricRule, where: str, dtype: str, shape: tuple[int, ...], *, how: How, scale: float
) -> Part:
    stated = {"record": rule.record, "name": rule.name, "where": where, "dtype": dtype, "shape": shape}
    return Part.model_validate({**stated, "how": how, "scale": scale})


def _bounded(value: Array, rule: ArrayRule, privacy: Privacy) -> Array:
    """Within the range that the scale was made for: a clipped update rounds over its norm, a listed bound is one."""
    if privacy.mechanism == "clip" and privacy.clip_norm is not None:  # as float64: a float32 norm may be larger
        value = np.clip(value.astype(np.float64), -privacy.clip_norm, privacy.clip_norm)
    bound = bound_of(rule, privacy)
    if not value.size or largest_of(value) <= bound:
        return value
    if privacy.ground == "vetted":  # its noise has no bound: post-processing
        return np.asarray(np.clip(value.astype(np.float64), -bound, bound))
    raise rejected(f"array {rule.name!r} has an element beyond max_abs")
