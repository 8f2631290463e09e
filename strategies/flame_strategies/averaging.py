"""Reading and averaging the replies of one round; pure functions under `fedavg`.

A reply that can be used has one `MetricRecord` with a weight above 0 and, after training, one `ArrayRecord` with the
names and shapes of the model and finite values. A `ConfigRecord` beside them, the gate's own, is for `noise_aware`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import MetricRecord, RecordDict

Arrays = Mapping[str, npt.NDArray[Any]]


def weighted_mean(updates: Sequence[Arrays], weights: Sequence[float]) -> dict[str, npt.NDArray[np.float64]]:
    """Mean of arrays by name, in the order given and in float64.

    Args:
        updates: One mapping for each node, at least one, all with the same names and shapes.
        weights: One for each node, above 0.

    Raises:
        ValueError: The weights cannot be used.
    """
    total = float(sum(weights))
    if not np.isfinite(total) or min(weights) <= 0:
        raise ValueError("Weights must be finite and above 0; check num-examples.")
    mean = {name: np.zeros(array.shape) for name, array in updates[0].items()}
    for update, weight in zip(updates, weights, strict=True):
        for name, array in update.items():
            mean[name] += array.astype(np.float64) * (weight / total)
    return mean


def find_flaw(content: RecordDict, weighted_by_key: str, model: Arrays | None) -> str | None:
    """Why a reply cannot be used, None if it can.

    Args:
        content: The reply.
        weighted_by_key: The metric that is the weight.
        model: The model as it was sent, None where no arrays are expected.
    """
    metrics = list(content.metric_records.values())
    if len(metrics) != 1:
        return "it needs exactly one MetricRecord"
    if _weight(metrics[0], weighted_by_key) is None:
        return f"it needs one number above 0 as {weighted_by_key}"
    return None if model is None else _array_flaw(content, model)


def arrays_of(content: RecordDict) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the reply's only `ArrayRecord`."""
    (record,) = content.array_records.values()
    return {name: array.numpy() for name, array in record.items()}


def weight_of(content: RecordDict, weighted_by_key: str) -> float:
    """The weight of a reply without a flaw."""
    (metrics,) = content.metric_records.values()
    weight = _weight(metrics, weighted_by_key)
    if weight is None:
        raise ValueError(f"A reply has no {weighted_by_key} above 0; sort such replies out by find_flaw.")
    return weight


def metric_names(content: RecordDict) -> frozenset[str]:
    """The names of a reply's metrics."""
    return frozenset(name for record in content.metric_records.values() for name in record)


def cast_back(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """In the model's dtype; a mean of integers (a counter of batches, say) is rounded, not cut off."""
    rounded = np.rint(array) if np.issubdtype(dtype, np.integer) else array
    return np.asarray(rounded, dtype=dtype)  # also where numpy made a scalar of an array without dimensions


def _weight(metrics: MetricRecord, key: str) -> float | None:
    value = metrics.get(key)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) and value > 0 else None


def _array_flaw(content: RecordDict, model: Arrays) -> str | None:
    if len(content.array_records) != 1:
        return "it needs exactly one ArrayRecord"
    update = arrays_of(content)
    if update.keys() != model.keys() or any(update[name].shape != model[name].shape for name in model):
        return "its arrays have other names or shapes than the model"
    return None if all(np.isfinite(array).all() for array in update.values()) else "its arrays are not all finite"
