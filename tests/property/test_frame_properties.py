"""Frames under every input: what is written is read back bit for bit; what is read is either content or FrameError."""

import json
import struct
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flame_fl.contract.content import DTYPES, Content
from flame_fl.contract.frames import HEAD, FrameError, decode, encode, parse_head

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()
ARRAYS = hnp.arrays(st.sampled_from(sorted(DTYPES)), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
METRICS = INTS | FLOATS | st.lists(INTS, max_size=4) | st.lists(FLOATS, max_size=4)
SCALARS = [st.booleans(), INTS, FLOATS, NAMES, st.binary(max_size=20)]
CONFIGS = st.one_of(*SCALARS, *(st.lists(s, max_size=4) for s in SCALARS))


@st.composite
def contents(draw: st.DrawFn) -> Content:
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    records: tuple[dict[str, Any], ...] = ({}, {}, {})
    for name in names:
        kind = draw(st.integers(0, 2))
        values = (ARRAYS, METRICS, CONFIGS)[kind]
        records[kind][name] = draw(st.dictionaries(NAMES, values, max_size=3))
    return Content(*records)


def seen(content: Content) -> tuple[Any, ...]:
    """Everything of a content that a bit could be hidden in; NaN included."""
    arrays = [(r, n, a.dtype.name, a.shape, a.tobytes()) for r, n, a in content.array_items()]
    return list(content.arrays), arrays, repr(dict(content.metrics)), repr(dict(content.configs))


def outcome(raw: bytes) -> Content | None:
    """The content, or None for a FrameError. Anything else that is raised fails the test."""
    try:
        return decode(raw)[0]
    except FrameError:
        return None


@given(contents())
def test_a_content_survives_the_wire_bit_for_bit(content: Content) -> None:
    assert seen(decode(b"".join(encode(content)))[0]) == seen(content)


@given(contents())
def test_a_content_has_one_encoding(content: Content) -> None:
    raw = b"".join(encode(content))
    assert b"".join(encode(decode(raw)[0])) == raw


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_content_or_a_frame_error(raw: bytes) -> None:
    outcome(raw)


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_arbitrary_headers_are_content_or_a_frame_error(header: bytes, body_bytes: int) -> None:
    outcome(struct.pack(">I", len(header)) + header + bytes(body_bytes % 64))


@given(contents(), st.data())
def test_mutated_bytes_are_content_or_a_frame_error(content: Content, data: st.DataObject) -> None:
    raw = bytearray(b"".join(encode(content)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    outcome(bytes(raw))


@given(contents(), st.data())
def test_cut_or_prolonged_bytes_are_a_frame_error(content: Content, data: st.DataObject) -> None:
    raw = b"".join(encode(content))
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert outcome(raw[:cut]) is None
    assert outcome(raw + data.draw(st.binary(min_size=1, max_size=9))) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries(dict.fromkeys(["arrays", "array_records", "metrics", "configs", "extra"], JSON)))
def test_a_header_of_any_json_is_content_or_a_frame_error(header: dict[str, Any]) -> None:
    raw = json.dumps(header).encode()
    outcome(struct.pack(">I", len(raw)) + raw)


@given(
    st.lists(
        st.tuples(
            st.just("r"), st.text(max_size=3), st.sampled_from([*sorted(DTYPES), "O"]), st.lists(JSON, max_size=4)
        ),
        max_size=3,
    ),
    st.binary(max_size=40),
)
def test_any_list_of_arrays_is_content_or_a_frame_error(arrays: list[Any], body: bytes) -> None:
    header = {"arrays": arrays, "array_records": ["r"], "metrics": {}, "configs": {}, "extra": {}}
    raw = json.dumps(header).encode()
    outcome(struct.pack(">I", len(raw)) + raw + body)


@given(st.binary(min_size=HEAD.size, max_size=HEAD.size), st.integers(0, 2**32))
def test_any_thirteen_bytes_are_a_head_within_the_limit_or_a_frame_error(raw: bytes, limit: int) -> None:
    try:
        head = parse_head(raw, limit)
    except FrameError:
        return
    assert 0 <= head.payload_bytes <= limit


@given(contents())
def test_what_is_read_has_only_the_dtypes_of_the_contract(content: Content) -> None:
    for _, _, array in decode(b"".join(encode(content)))[0].array_items():
        assert array.dtype.name in DTYPES
        assert not np.asarray(array).flags.writeable
