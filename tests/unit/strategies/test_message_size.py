"""Messages that nobody would read are not sent."""

import numpy as np
import pytest
from flame_strategies.message_size import content_bytes, in_words, reply_flaw, size_flaw
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict


def content(arrays: int = 1, elements: int = 10, **config: object) -> RecordDict:
    """A training message."""
    model = ArrayRecord({f"w{i}": Array(np.zeros(elements)) for i in range(arrays)})
    return RecordDict({"arrays": model, "config": ConfigRecord(config)})


def test_arrays_count_as_serialised_and_values_as_they_are() -> None:
    """A list counts each item, a text each character, and every name."""
    assert content_bytes(content(elements=1000)) == 8000 + 128  # numpy's header
    metrics = RecordDict({"m": MetricRecord({"ab": [1.0, 2.0], "c": 3}), "t": ConfigRecord({"d": "text", "e": b"123"})})
    assert content_bytes(metrics) == (2 + 16) + (1 + 8) + (1 + 4) + (1 + 3)


def test_a_message_that_is_too_large_is_named_with_both_sizes() -> None:
    """And with what to do."""
    assert size_flaw(content(elements=1000), 10_000) is None
    flaw = size_flaw(content(elements=1000), 8_000)
    assert "7.938 KiB" in flaw
    assert "7.812 KiB" in flaw
    assert "max_message_bytes" in flaw


def test_what_is_no_array_has_limits_of_its_own() -> None:
    """Configuration in one header; so many arrays."""
    assert "about 1.908 MiB, and an app is given 1 MiB" in size_flaw(content(text="x" * 2_000_000))
    assert "10001 arrays, and 10000" in size_flaw(content(arrays=10_001, elements=1), 1 << 40)
    assert size_flaw(content(text="x" * 1000)) is None


@pytest.mark.parametrize(
    ("allowed", "is_flaw"), [({}, False), ({1: 100}, False), ({1: 79, 2: 80}, False), ({1: 79}, True)]
)
def test_an_answer_that_could_leave_no_node_is_not_asked_for(allowed: dict, is_flaw: bool) -> None:
    """One that could leave some is: the others answer 904."""
    flaw = reply_flaw(ArrayRecord({"w": Array(np.zeros(10))}), allowed)
    assert (flaw is not None) == is_flaw
    assert flaw is None or "80 bytes of arrays, and the gates let 79 bytes out" in flaw


def test_sizes_in_words() -> None:
    """Up to the largest unit."""
    assert [in_words(n) for n in (0, 1023, 1024, 5 << 20, 1 << 50)] == [
        "0 bytes",
        "1023 bytes",
        "1 KiB",
        "5 MiB",
        "1.049e+06 GiB",
    ]
