"""The frame protocol between the gate and a sandbox, and the codec of its payloads. Specified in docs/frames.md.

```
frame    := length u32 big-endian (of what follows) | type u8 | sequence u64 big-endian | payload
payload  := header length u32 big-endian | header JSON (UTF-8) | arrays, raw little-endian, one after the other
```
Everything that comes from the sandbox is hostile until it has passed `decode`: every length is compared with a limit
before a byte of it is allocated, no pickle is ever read, and whatever does not fit raises `FrameError`. A payload has
one reading: a repeated key, a list of mixed types or a byte too many is an error, not a matter of taste.
"""

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import numpy as np

from flame_fl.contract.content import DTYPES, Array, ConfigValue, Content, Metric
from flame_fl.contract.errors import SandboxError

HEAD = struct.Struct(">IBQ")
_U32 = struct.Struct(">I")
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 10_000
MAX_NAME_CHARS = 512
MAX_DIMENSIONS = 32
_INT64 = 1 << 63


class FrameType(IntEnum):
    """What a frame says."""

    HELLO = 1
    MESSAGE = 2
    REPLY = 3
    ERROR = 4
    BYE = 5


class FrameError(SandboxError):
    """Bytes that are not a frame of this protocol, or break one of its limits."""


@dataclass(frozen=True)
class FrameHead:
    """The 13 bytes before a payload, already checked."""

    type: FrameType
    sequence: int
    payload_bytes: int


def pack(kind: FrameType, sequence: int, payload_parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """A frame as parts to be written one after the other (arrays are not copied)."""
    size = sum(len(part) for part in payload_parts)
    length = size + HEAD.size - _U32.size
    if length >= 1 << 32:
        raise FrameError(f"A frame of {size} bytes is beyond the protocol's 4 GiB.")
    return [HEAD.pack(length, kind, sequence), *payload_parts]


def parse_head(raw: bytes, max_payload_bytes: int) -> FrameHead:
    """Check a frame's first 13 bytes.

    Raises:
        FrameError: Unknown type, or a length beyond `max_payload_bytes`.
    """
    length, kind, sequence = HEAD.unpack(raw)
    payload_bytes = length - (HEAD.size - _U32.size)
    if kind not in FrameType._value2member_map_:
        raise FrameError(f"Unknown frame type {kind}.")
    if not 0 <= payload_bytes <= max_payload_bytes:
        raise FrameError(f"A frame announces {payload_bytes} bytes; the limit is {max_payload_bytes}.")
    return FrameHead(FrameType(kind), sequence, payload_bytes)


def encode(content: Content, extra: Mapping[str, Any] | None = None) -> list[bytes | memoryview]:
    """A payload as parts: header, then each array's bytes without a copy where it is contiguous already.

    Raises:
        FrameError: An array of another dtype, or more names, metrics and configuration than a header holds.
    """
    tables, parts = [], []
    for record in content.arrays:
        for name, array in content.arrays[record].items():
            if array.dtype.name not in DTYPES:
                raise FrameError(f"An array of dtype {array.dtype} cannot be sent.")
            flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            tables.append([record, name, array.dtype.name, list(array.shape)])
            parts.append(flat.reshape(-1).view(np.uint8).data)
    header: dict[str, Any] = {
        "arrays": tables,
        "array_records": list(content.arrays),
        "metrics": {r: dict(v) for r, v in content.metrics.items()},
        "configs": {r: {k: _tag(x) for k, x in v.items()} for r, v in content.configs.items()},
        "extra": dict(extra or {}),
    }
    raw = json.dumps(header, separators=(",", ":")).encode()
    if len(raw) > MAX_HEADER_BYTES:
        raise FrameError(f"A payload's header would have {len(raw)} bytes; the limit is {MAX_HEADER_BYTES}.")
    return [_U32.pack(len(raw)), raw, *parts]


def decode(payload: bytes | bytearray | memoryview) -> tuple[Content, dict[str, Any]]:
    """The content and the extra header of a payload. Arrays are read-only views into it.

    Raises:
        FrameError: Not a payload of this protocol, or beyond one of its limits.
    """
    view = memoryview(payload).toreadonly()
    if len(view) < _U32.size:
        raise FrameError("A payload ends before its header.")
    (size,) = _U32.unpack(view[: _U32.size])
    if size > MAX_HEADER_BYTES or size > len(view) - _U32.size:
        raise FrameError(f"A payload announces a header of {size} bytes; the limit is {MAX_HEADER_BYTES}.")
    try:
        header = json.loads(bytes(view[_U32.size : _U32.size + size]).decode(), object_pairs_hook=_object)
        content, used = _read(header, view[_U32.size + size :])
        extra = header["extra"]
    except FrameError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as err:
        raise FrameError(f"A payload's header is malformed ({type(err).__name__}).") from None
    if not isinstance(extra, dict):
        raise FrameError("A payload's extra header is no object.")
    if _U32.size + size + used != len(view):
        raise FrameError("A payload has bytes that no array claims.")
    return content, extra


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise FrameError("A payload's header names one key twice.")
    return table


def _read(header: dict[str, Any], body: memoryview) -> tuple[Content, int]:
    if len(set(header["array_records"])) != len(header["array_records"]):
        raise FrameError("A payload names one record twice.")
    arrays: dict[str, dict[str, Array]] = {_name(r): {} for r in header["array_records"]}
    if len(header["arrays"]) > MAX_ARRAYS:
        raise FrameError(f"A payload lists more than {MAX_ARRAYS} arrays.")
    offset = 0
    for record, name, dtype, shape in header["arrays"]:
        if dtype not in DTYPES or _name(name) in arrays[record]:
            raise FrameError("A payload lists an array of unknown dtype, or one twice.")
        if type(shape) is not list or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise FrameError("A payload lists an array of impossible shape.")
        count = 1
        for n in shape:
            count *= n  # exact: Python integers do not wrap
        kind = np.dtype(dtype).newbyteorder("<")
        nbytes = count * kind.itemsize
        if nbytes > len(body) - offset:
            raise FrameError("A payload ends before its arrays.")
        if dtype == "bool" and bytes(body[offset : offset + nbytes]).strip(b"\x00\x01"):
            raise FrameError("A bool array holds bytes other than 0 and 1.")
        arrays[record][name] = np.frombuffer(body[offset : offset + nbytes], kind).reshape(shape)
        offset += nbytes
    metrics = {_name(r): {_name(k): _metric(x) for k, x in v.items()} for r, v in header["metrics"].items()}
    configs = {_name(r): {_name(k): _untag(x) for k, x in v.items()} for r, v in header["configs"].items()}
    if len(arrays.keys() | metrics.keys() | configs.keys()) != len(arrays) + len(metrics) + len(configs):
        raise FrameError("A payload uses one record name for two kinds of record.")
    return Content(arrays, metrics, configs), offset


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
        raise FrameError(f"A name is no string of at most {MAX_NAME_CHARS} characters.")
    return _text(value)


def _text(value: str) -> str:
    value.encode()  # JSON can spell half a surrogate pair; nothing else can. UnicodeEncodeError is a ValueError
    return value


def _number(value: object) -> int | float:
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    if type(value) is float:
        return value
    raise FrameError("A metric is neither a 64-bit integer nor a float.")


def _metric(value: object) -> Metric:
    if not isinstance(value, list):
        return _number(value)
    numbers = [_number(x) for x in value]
    if len({type(x) for x in numbers}) > 1:
        raise FrameError("A metric list mixes integers and floats.")
    return cast("Metric", numbers)


def _tag(value: ConfigValue) -> Any:
    """Bytes have no JSON form; everything else of a config record has."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [_tag(x) for x in value]
    return value


def _untag(value: Any) -> ConfigValue:
    if not isinstance(value, list):
        return _untag_scalar(value)
    values = [_untag_scalar(x) for x in value]
    if len({type(x) for x in values}) > 1:
        raise FrameError("A configuration list mixes types.")
    return cast("ConfigValue", values)


def _untag_scalar(value: Any) -> int | float | str | bool | bytes:
    if isinstance(value, dict):
        if value.keys() != {"b64"}:
            raise FrameError("A configuration value is no scalar.")
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return value
    return _number(value)
