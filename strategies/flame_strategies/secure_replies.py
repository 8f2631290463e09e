"""From masked replies to a sum, and from the sum to replies that stand for it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from flame_fl.secagg.encoding import Layout, Part, decode
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import KEY, MASKED_ARRAY, MASKED_RECORD, MaskedReply
from flame_strategies.approval import GATE_RECORD
from flame_strategies.averaging import cast_back
from flame_strategies.errors import NothingToAverage, UnusableReply

MASKED_SITES = "masked_sites"
"""In the record "flame" of a reply: how many sites are in the sum that it stands for."""


@dataclass(frozen=True)
class Masked:
    """One node's masked answer."""

    said: MaskedReply
    layout: Layout
    vector: npt.NDArray[Any]


def masked_of(reply: Message) -> Masked | None:
    """What a gate sent, None if this is no masked answer of the size that it states."""
    record = reply.content.config_records.get(GATE_RECORD)
    arrays = reply.content.array_records.get(MASKED_RECORD)
    if record is None or arrays is None or MASKED_ARRAY not in arrays:
        return None
    try:
        said = MaskedReply.read(record.get(KEY))
        layout = Layout.read(said.layout)
    except MaskError:
        return None
    vector = arrays[MASKED_ARRAY].numpy()
    fits = vector.dtype == np.dtype(f"uint{layout.bits}") and vector.shape == (layout.size,)
    return Masked(said, layout, vector) if fits else None


def total_of(masked: Mapping[int, Masked]) -> Any:
    """The sum of all vectors modulo 2^32 or 2^64: shape (m,)."""
    vectors = [one.vector for one in masked.values()]
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    return total


def hand_out(
    replies: Mapping[int, Message], masked: Mapping[int, Masked], total: Any, models: Mapping[int, RecordDict]
) -> dict[int, Message]:
    """Replies whose sum is the sum, and whose weighted mean is the mean.

    Args:
        replies: The masked ones, by node.
        masked: The same, read.
        total: Their unmasked sum.
        models: What each node was sent: what `update = "delta"` is relative to.

    Raises:
        UnusableReply: The sum of the weights is 0, or a model that the difference is relative to was not sent.
    """
    layout, sites = next(iter(masked.values())).layout, len(masked)
    sums = decode(layout, total)
    weight = _weight(layout, sums)
    for position, node in enumerate(sorted(replies)):
        reply = replies[node]
        arrays: dict[str, dict[str, Array]] = {}
        metrics: dict[str, dict[str, Any]] = {}
        flame = {name: v for name, v in reply.content.config_records[GATE_RECORD].items() if name != KEY}
        flame[MASKED_SITES] = sites
        for part in layout.parts:
            value = _share(part, sums[part.record, part.name], layout, position=position, sites=sites, weight=weight)
            if part.where == "array":
                if layout.update == "delta" and part.how != "sum":
                    value = value + _sent(models[node], part)
                dtype = np.dtype(part.dtype)
                cast = value if part.how == "sum" else cast_back(np.asarray(value), dtype)
                arrays.setdefault(part.record, {})[part.name] = Array(np.ascontiguousarray(cast).reshape(part.shape))
            elif part.where == "metric":
                number = np.asarray(value).item()
                metrics.setdefault(part.record, {})[part.name] = number
            else:
                flame["below_clip"] = float(value)
        for name, record in reply.content.metric_records.items():  # constants that the gate sent beside
            metrics.setdefault(name, {}).update(record)
        content = RecordDict({GATE_RECORD: ConfigRecord(flame)})
        for name, found in arrays.items():
            content[name] = ArrayRecord(found)
        for name, values in metrics.items():
            content[name] = MetricRecord(values)
        reply.content = content
    return dict(replies)


def _weight(layout: Layout, sums: Mapping[tuple[str, str], npt.NDArray[Any]]) -> float:
    if not any(part.how == "weighted" for part in layout.parts):
        return 1.0
    found = [float(sums[p.record, p.name]) for p in layout.parts if p.where == "metric" and p.name == layout.weight]
    if not found or found[0] <= 0:
        raise NothingToAverage(f"The sites' {layout.weight} add up to 0, so there is no weighted mean.")
    return found[0]


def _share(
    part: Part, total: npt.NDArray[Any], layout: Layout, *, position: int, sites: int, weight: float
) -> npt.NDArray[Any]:
    """What one of the replies says of a part."""
    if part.how == "sum":
        if part.where == "metric" and part.name == layout.weight:
            return np.asarray(total / sites)
        return total if position == 0 else np.zeros_like(total)
    mean = total / (weight if part.how == "weighted" else sites)
    return np.asarray(part.offset + part.factor * mean)


def _sent(model: RecordDict, part: Part) -> npt.NDArray[np.float64]:
    record = model.array_records.get(part.record)
    if record is None or part.name not in record:
        raise UnusableReply(f"The nodes send a difference to {part.record}/{part.name}, which they were not sent.")
    return record[part.name].numpy().astype(np.float64)
