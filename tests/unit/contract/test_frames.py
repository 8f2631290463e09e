"""The frame protocol: what is written is read back, and what breaks a limit is a FrameError."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from flame_fl.contract import frames
from flame_fl.contract.content import DTYPES, Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.frames import HEAD, FrameError, FrameType, decode, encode, pack, parse_head


def header(**changes: Any) -> dict[str, Any]:
    return {"arrays": [], "array_records": [], "metrics": {}, "configs": {}, "extra": {}} | changes


def payload(stated: Any, body: bytes = b"") -> bytes:
    raw = stated if isinstance(stated, bytes) else json.dumps(stated).encode()
    return struct.pack(">I", len(raw)) + raw + body


def one_array(shape: Any, dtype: Any = "float64", body: bytes = b"", **changes: Any) -> bytes:
    return payload(header(array_records=["r"], arrays=[["r", "a", dtype, shape]], **changes), body)


class TestHeads:
    @pytest.mark.parametrize("kind", FrameType)
    def test_a_head_says_type_sequence_and_length(self, kind: FrameType) -> None:
        raw = b"".join(pack(kind, 7, [b"abc", memoryview(b"de")]))
        head = parse_head(raw[: HEAD.size], 5)
        assert (head.type, head.sequence, head.payload_bytes, raw[HEAD.size :]) == (kind, 7, 5, b"abcde")

    def test_the_bytes_on_the_wire_are_as_specified(self) -> None:
        assert b"".join(pack(FrameType.REPLY, 258, [b"x"])) == bytes.fromhex("0000000a 03 0000000000000102 78")

    @pytest.mark.parametrize("kind", [0, 6, 255])
    def test_an_unknown_type_is_refused(self, kind: int) -> None:
        with pytest.raises(FrameError, match="type"):
            parse_head(HEAD.pack(9, kind, 1), 100)

    @pytest.mark.parametrize("length", [0, 8, 110, 2**32 - 1])
    def test_a_length_out_of_bounds_is_refused_before_anything_is_read(self, length: int) -> None:
        with pytest.raises(FrameError, match="limit"):
            parse_head(HEAD.pack(length, FrameType.REPLY, 1), 100)

    def test_a_frame_beyond_the_protocol_is_not_written(self) -> None:
        class Huge(bytes):
            def __len__(self) -> int:
                return 1 << 32

        with pytest.raises(FrameError, match="4 GiB"):
            pack(FrameType.REPLY, 1, [Huge()])

    def test_a_frame_error_is_the_sandboxs_fault(self) -> None:
        assert issubclass(FrameError, SandboxError)


class TestArrays:
    @pytest.mark.parametrize("dtype", sorted(DTYPES))
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
    def test_every_dtype_and_shape_comes_back(self, dtype: str, shape: tuple[int, ...]) -> None:
        array = np.ones(shape, dtype)
        (back,) = decode(b"".join(encode(Content({"r": {"a": array}}))))[0].arrays["r"].values()
        assert (back.dtype.name, back.shape, back.tobytes()) == (dtype, shape, array.tobytes())

    def test_byte_order_and_layout_of_the_sender_do_not_matter(self) -> None:
        array = np.arange(6.0).reshape(2, 3)
        for same in (array.astype(">f8"), np.asfortranarray(array), array[::-1][::-1]):
            assert b"".join(encode(Content({"r": {"a": same}}))) == b"".join(encode(Content({"r": {"a": array}})))

    def test_what_is_read_cannot_be_written(self) -> None:
        (back,) = decode(b"".join(encode(Content({"r": {"a": np.ones(3)}}))))[0].arrays["r"].values()
        assert not back.flags.writeable

    @pytest.mark.parametrize("dtype", ["O", "U3", "S3", "M8[s]", "c16", "V8", "longdouble"])
    def test_other_dtypes_are_not_written(self, dtype: str) -> None:
        with pytest.raises(FrameError, match="dtype"):
            encode(Content({"r": {"a": np.zeros(1, dtype)}}))

    @pytest.mark.parametrize("dtype", ["object", "O", "str", "complex128", "datetime64[s]", "V8", ["float64"], None, 1])
    def test_other_dtypes_are_not_read(self, dtype: Any) -> None:
        with pytest.raises(FrameError):
            decode(one_array([1], dtype, bytes(8)))

    @pytest.mark.parametrize(
        "shape",
        [
            [2],
            [-1],
            [1.0],
            [True],
            ["1"],
            "1",
            {},
            None,
            1,
            [2**62, 4],
            [2**64],
            [0, 10**30],
            [0, 2**62, 2**62],
            [10**400],
            [1] * 33,
        ],
    )
    def test_an_impossible_shape_is_refused(self, shape: Any) -> None:
        with pytest.raises(FrameError):
            decode(one_array(shape, body=bytes(8)))

    def test_a_bool_is_zero_or_one(self) -> None:
        assert decode(one_array([3], "bool", b"\0\1\0"))[0].arrays["r"]["a"].tolist() == [False, True, False]
        for body in (b"\0\2\0", b"\2\0\0", b"\0\0\xff"):
            with pytest.raises(FrameError, match="bool"):
                decode(one_array([3], "bool", body))


class TestPayloads:
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\0\0\0",
            struct.pack(">I", 10) + b"{}",
            struct.pack(">I", frames.MAX_HEADER_BYTES + 1) + b" " * (frames.MAX_HEADER_BYTES + 1),
            payload(b"not JSON"),
            payload(b"\xff\xfe\x00"),
            payload(json.dumps(header()).encode("utf-16")),
            payload([]),
            payload({}),
            payload(b"[" * 100_000),
            payload(b"9" * 10_000),
            payload(header(), b"x"),
            payload(header(extra=[])),
            payload(header(array_records=["r", "r"])),
            payload(header(array_records=[["r"]])),
            payload(header(array_records=["r"], arrays=[["r", "a"]])),
            payload(header(array_records=["r"], arrays=[["r", "a", "bool", [0]]] * 2)),
            payload(header(array_records=["r"], arrays=[["s", "a", "bool", [0]]])),
            payload(header(array_records=["r"], arrays=[["r", "a", "bool", [0]]] * (frames.MAX_ARRAYS + 1))),
            payload(header(array_records=["r"], metrics={"r": {}})),
            payload(header(metrics={"r": {}}, configs={"r": {}})),
            payload(header(metrics={"x" * 513: {}})),
            payload(header(metrics={"r": []})),
            payload(header(metrics={"\ud800": {}})),
            payload(header(metrics={"r": {"\ud800": 1}})),
            payload(header(configs={"r": {"a": "\ud800"}})),
            payload(b'{"arrays":[],"array_records":[],"metrics":{},"configs":{},"extra":{},"extra":{}}'),
            payload(b'{"arrays":[],"array_records":[],"metrics":{"r":{"a":1,"a":2}},"configs":{},"extra":{}}'),
        ],
    )
    def test_what_is_no_payload_is_a_frame_error(self, raw: bytes) -> None:
        with pytest.raises(FrameError):
            decode(raw)

    def test_a_pickle_is_no_payload(self) -> None:
        import pickle

        for raw in (pickle.dumps(np.ones(3)), payload(pickle.dumps({"arrays": []}))):
            with pytest.raises(FrameError):
                decode(raw)

    def test_an_error_never_quotes_what_was_sent(self) -> None:
        with pytest.raises(FrameError) as caught:
            decode(payload(b'{"patient": "Erika Mustermann"'))
        assert "Erika" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_header_too_large_to_read_is_not_written(self) -> None:
        with pytest.raises(FrameError, match="header"):
            encode(Content(configs={"r": {"a": "x" * frames.MAX_HEADER_BYTES}}))

    def test_the_extra_header_comes_back(self) -> None:
        assert decode(b"".join(encode(Content(), {"seed": 1, "id": "x"})))[1] == {"seed": 1, "id": "x"}


class TestScalars:
    @pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63), 0.5, -0.0, 5e-324, [], [1, 2], [0.5, 1e308]])
    def test_a_metric_comes_back_with_its_type(self, value: Any) -> None:
        back = decode(b"".join(encode(Content(metrics={"r": {"a": value}}))))[0].metrics["r"]["a"]
        assert repr(back) == repr(value)

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_what_is_not_finite_comes_back_for_the_gate_to_judge(self, value: str) -> None:
        back = decode(b"".join(encode(Content(metrics={"r": {"a": float(value)}}))))[0].metrics["r"]["a"]
        assert repr(back) == value

    @pytest.mark.parametrize("value", [True, None, "1", {}, 2**63, -(2**63) - 1, [True], [1, 0.5], [[1]], ["x"]])
    def test_what_is_no_metric_is_refused(self, value: Any) -> None:
        with pytest.raises(FrameError):
            decode(payload(header(metrics={"r": {"a": value}})))

    @pytest.mark.parametrize(
        "value", [1, 0.5, True, "", "ä\n", b"", b"\0\xff", [], [1], [0.5], [True, False], ["x"], [b"x", b""]]
    )
    def test_a_configuration_value_comes_back_with_its_type(self, value: Any) -> None:
        back = decode(b"".join(encode(Content(configs={"r": {"a": value}}))))[0].configs["r"]["a"]
        assert repr(back) == repr(value)

    @pytest.mark.parametrize(
        "value", [None, {}, {"b64": 1}, {"b64": "%"}, {"b64": "", "x": 1}, [[]], [1, True], [1, "x"], 2**63]
    )
    def test_what_is_no_configuration_value_is_refused(self, value: Any) -> None:
        with pytest.raises(FrameError):
            decode(payload(header(configs={"r": {"a": value}})))
