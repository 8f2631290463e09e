"""Between Flower's records and the contract's neutral content, in both directions, losing nothing."""

import io

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from flame_fl.contract.content import DTYPES, Array, ConfigValue, Content, Metric
from flame_fl.contract.frames import FrameError

_NUMPY = "numpy.ndarray"


def to_content(records: RecordDict) -> Content:
    """Read Flower's records.

    Raises:
        FrameError: A record or array of a kind that cannot be sent (objects, unknown serialisation).
    """
    arrays: dict[str, dict[str, Array]] = {}
    metrics: dict[str, dict[str, Metric]] = {}
    configs: dict[str, dict[str, ConfigValue]] = {}
    for name, record in records.items():
        if isinstance(record, ArrayRecord):
            arrays[name] = {key: _array(value) for key, value in record.items()}
        elif isinstance(record, MetricRecord):
            metrics[name] = {key: _plain(value) for key, value in record.items()}
        elif isinstance(record, ConfigRecord):
            configs[name] = dict(record.items())
        else:
            raise FrameError(f"A record of type {type(record).__name__} cannot be sent.")
    return Content(arrays, metrics, configs)


def to_records(content: Content) -> RecordDict:
    """Build Flower's records. Arrays are copied: an app may write into what it gets."""
    records = RecordDict()
    for name, arrays in content.arrays.items():
        records[name] = ArrayRecord({key: FlowerArray(np.asarray(value)) for key, value in arrays.items()})
    for name, metrics in content.metrics.items():
        records[name] = MetricRecord(dict(metrics))
    for name, configs in content.configs.items():
        records[name] = ConfigRecord(dict(configs))
    return records


def _array(value: FlowerArray) -> Array:
    if value.stype != _NUMPY:
        raise FrameError(f"An array serialised as {value.stype!r} cannot be sent; use numpy.")
    array: Array = np.load(io.BytesIO(value.data), allow_pickle=False)
    if array.dtype.name not in DTYPES:
        raise FrameError(f"An array of dtype {array.dtype} cannot be sent.")
    return array


def _plain(value: Metric) -> Metric:
    """NumPy scalars are subclasses of float or int here and there; the wire knows only the plain ones."""
    if isinstance(value, list):
        return [_plain(x) for x in value]  # type: ignore[return-value]
    return int(value) if isinstance(value, int) else float(value)
