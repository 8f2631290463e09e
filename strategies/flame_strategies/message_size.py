"""Whether a message is small enough for the hub and the nodes, before it is sent. Pure.

Flower cuts arrays into pieces of 5 MiB, so a model may be far larger than one request. What has limits:

* a node reads messages up to its administrator's ``max_message_bytes``, 1 GiB unless set otherwise; a larger one is
  answered with 908, and looks like a violation of the terms;
* a MetricRecord or ConfigRecord travels in one piece, and a hub takes requests of 64 MiB;
* names, metrics and configuration reach the app in one header of 1 MiB, with at most 10 000 arrays;
* a gate lets as many bytes of arrays out as the terms' ``messages.TYPE.max_bytes`` say (904 beyond).
"""

from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

MESSAGE_BYTES = 1 << 30
"""What a node reads unless its administrator set ``max_message_bytes``."""
HEADER_BYTES = 1 << 20
"""Names, metrics and configuration of one message, in the sandbox's frame."""
MAX_ARRAYS = 10_000

_HEADER_PER_ARRAY = 200  # names, dtype, shape and offsets of one array in the header, roughly


def content_bytes(content: RecordDict) -> int:
    """Bytes of a message's arrays as serialised, and of its values."""
    arrays = sum(_array_bytes(record) for record in content.array_records.values())
    return arrays + _value_bytes(content)


def size_flaw(content: RecordDict, most_bytes: int = MESSAGE_BYTES) -> str | None:
    """Why nobody would read a message, None if it can be sent.

    Args:
        content: What it carries.
        most_bytes: What the nodes read.
    """
    size, count = content_bytes(content), sum(len(record) for record in content.array_records.values())
    if size > most_bytes:
        return (
            f"The message has {in_words(size)}, and the nodes read {in_words(most_bytes)} at the most. Send a smaller "
            "model (another dtype, fewer parameters), or ask every DIZ to raise max_message_bytes in its node.toml and "
            "give message_bytes to the strategy."
        )
    if count > MAX_ARRAYS:
        return f"The message has {count} arrays, and {MAX_ARRAYS} are the most. Join some of them."
    if (header := _value_bytes(content) + count * _HEADER_PER_ARRAY) > HEADER_BYTES:
        return (
            f"The message's configuration and names have about {in_words(header)}, and an app is given "
            f"{in_words(HEADER_BYTES)} at the most. Send large values as arrays."
        )
    return None


def reply_flaw(arrays: ArrayRecord, allowed: Mapping[int, int]) -> str | None:
    """Why an answer of the model's size could leave no node, None if it can leave some.

    Args:
        arrays: The model.
        allowed: Bytes of arrays that may leave each node, for those that tell.
    """
    size = sum(array.numpy().nbytes for array in arrays.values())
    if not allowed or size <= max(allowed.values()):
        return None
    return (
        f"An answer has {in_words(size)} of arrays, and the gates let {in_words(max(allowed.values()))} out. State a "
        "larger messages.train.max_bytes in the app's pyproject.toml, and have it approved anew."
    )


def in_words(size: int) -> str:
    """A size for a sentence.

    >>> in_words(1536), in_words(3 << 30)
    ('1.5 KiB', '3 GiB')
    """
    value, units = float(size), iter(("bytes", "KiB", "MiB", "GiB"))
    unit = next(units)
    while value >= 1024 and unit != "GiB":
        value, unit = value / 1024, next(units)
    return f"{value:.4g} {unit}"


def _array_bytes(record: ArrayRecord) -> int:
    return sum(len(array.data) for array in record.values())


def _value_bytes(content: RecordDict) -> int:
    records: Iterable[MetricRecord | ConfigRecord] = (
        *content.metric_records.values(),
        *content.config_records.values(),
    )
    return sum(len(name) + _size(value) for record in records for name, value in record.items())


def _size(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return sum(_size(item) for item in value) if isinstance(value, list) else 8
