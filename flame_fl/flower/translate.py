"""Between Flower's records and the contract's neutral content, in both directions, losing nothing."""

import io
import math
from collections.abc import Mapping
from typing import TypeVar, cast

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.lib import format as npy

from flame_fl.contract.content import DTYPES, Array, ConfigValue, Content, Metric
from flame_fl.contract.frames import FrameError

_NUMPY = "numpy.ndarray"
_HEADER_BYTES = 1 << 17  # of an npy file; NumPy's own are a few hundred
V = TypeVar("V")


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
            configs[name] = _own(record)
        else:
            raise FrameError(f"A record of type {type(record).__name__} cannot be sent.")
    return Content(arrays, metrics, configs)


def to_records(content: Content) -> RecordDict:
    """Build Flower's records. Arrays are copied: an app may write into what it gets."""
    records = RecordDict()
    for name, arrays in content.arrays.items():
        records[name] = ArrayRecord({key: _to_flower(np.asarray(value)) for key, value in arrays.items()})
    for name, metrics in content.metrics.items():
        records[name] = MetricRecord(_own(metrics))
    for name, configs in content.configs.items():
        records[name] = ConfigRecord(_own(configs))
    return records


def _array(value: FlowerArray) -> Array:
    """The array in an npy file's bytes, which may be anybody's: a read-only view, nothing is allocated for it."""
    if value.stype != _NUMPY:
        raise FrameError(f"An array serialised as {value.stype!r} cannot be sent; use numpy.")
    data = memoryview(value.data).toreadonly()
    stream = io.BytesIO(data[:_HEADER_BYTES])
    try:
        read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except Exception as err:  # the parser raises what it likes on bytes that are no npy file
        raise FrameError("An array whose bytes are no npy file cannot be sent.") from err
    if dtype.name not in DTYPES:
        raise FrameError(f"An array of dtype {dtype} cannot be sent.")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise FrameError("An array of another size than it announces cannot be sent.")
    flat: Array = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _to_flower(array: Array) -> FlowerArray:
    """As `FlowerArray(array)`, with one copy less."""
    plain = np.asarray(array, order="C")
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(plain))
    data = b"".join([head.getvalue(), plain.reshape(-1).view(np.uint8).data])
    return FlowerArray(dtype=str(array.dtype), shape=array.shape, stype=_NUMPY, data=data)


def _own(values: Mapping[str, V]) -> dict[str, V]:
    """A copy that shares no list: what the other side appends to its own must not show here."""
    return {key: cast("V", list(value)) if isinstance(value, list) else value for key, value in values.items()}


def _plain(value: Metric) -> Metric:
    """NumPy scalars are subclasses of float or int here and there; the wire knows only the plain ones."""
    if isinstance(value, list):
        return [_plain(x) for x in value]  # type: ignore[return-value]
    return int(value) if isinstance(value, int) else float(value)
