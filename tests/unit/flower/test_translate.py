"""Between Flower's records and neutral content nothing is lost, and nothing passes that the contract does not know."""

import io
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flame_fl.contract.content import DTYPES, Content
from flame_fl.contract.frames import FrameError, decode, encode
from flame_fl.flower.translate import to_content, to_records

NAMES = st.text(max_size=12)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()
TEXTS = st.text(max_size=8)
ARRAYS = hnp.arrays(st.sampled_from(sorted(DTYPES)), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
METRICS = INTS | FLOATS | st.lists(INTS, max_size=3) | st.lists(FLOATS, max_size=3)
SCALARS = (st.booleans(), INTS, FLOATS, TEXTS, st.binary(max_size=8))
CONFIGS = st.one_of(*SCALARS, *(st.lists(s, max_size=3) for s in SCALARS))


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """Any content that a message may hold: each record of one kind."""
    records: tuple[dict[str, Any], ...] = ({}, {}, {})
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        kind = draw(st.integers(0, 2))
        records[kind][name] = draw(st.dictionaries(NAMES, (ARRAYS, METRICS, CONFIGS)[kind], max_size=3))
    return Content(*records)


def seen(content: Content) -> list[Any]:
    """Everything of a content that a bit could hide in; NaN and the order of names included."""
    arrays = [(r, n, a.dtype.name, a.shape, a.tobytes()) for r in content.arrays for n, a in content.arrays[r].items()]
    scalars = [repr({r: dict(v) for r, v in kind.items()}) for kind in (content.metrics, content.configs)]
    return [list(content.arrays), arrays, *scalars]


def back(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array after both directions."""
    return to_content(to_records(Content({"r": {"a": array}}))).arrays["r"]["a"]


def from_flower(array: Array) -> np.ndarray[Any, Any]:
    """One of Flower's arrays as the gate reads it."""
    return to_content(RecordDict({"r": ArrayRecord({"a": array})})).arrays["r"]["a"]


def raw_array(data: bytes, *, stype: str = "numpy.ndarray") -> Array:
    """What an app can put together by hand."""
    return Array(dtype="float64", shape=(1,), stype=stype, data=data)


@given(contents())
def test_every_content_comes_back_bit_for_bit(content: Content) -> None:
    """Names and their order, dtypes, shapes, bytes, types of scalars and lists."""
    assert seen(to_content(to_records(content))) == seen(content)


@given(contents())
def test_flowers_records_come_back_as_they_were(content: Content) -> None:
    """The other way round, and through the wire between."""
    records = to_records(content)
    carried, _ = decode(b"".join(encode(to_content(records))))
    again = to_records(carried)
    assert repr({k: again[k] for k in sorted(again)}) == repr({k: records[k] for k in sorted(records)})


class TestArrays:
    @pytest.mark.parametrize("dtype", sorted(DTYPES))
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
    def test_every_dtype_and_shape_comes_back(self, dtype: str, shape: tuple[int, ...]) -> None:
        """Scalars and empty arrays included."""
        array = np.ones(shape, dtype)
        assert (back(array).dtype, back(array).shape, back(array).tobytes()) == (array.dtype, shape, array.tobytes())

    @pytest.mark.parametrize(
        "array",
        [
            np.arange(6.0).reshape(2, 3).T,
            np.arange(10.0)[::3],
            np.arange(10.0)[::-1],
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.broadcast_to(np.float64(2.5), (2, 2)),
            np.arange(4.0).astype(">f8"),
            np.arange(4).astype(">i2"),
        ],
        ids=["transposed", "strided", "reversed", "Fortran", "broadcast", "big-endian floats", "big-endian integers"],
    )
    def test_layout_and_byte_order_do_not_change_the_values(self, array: np.ndarray[Any, Any]) -> None:
        """Whatever lies in the sender's memory, the numbers are the same."""
        assert back(array).dtype.name == array.dtype.name
        np.testing.assert_array_equal(back(array), array)

    @pytest.mark.parametrize(
        "array",
        [np.arange(6.0).reshape(2, 3), np.arange(6.0).astype(">f8").reshape(2, 3), np.arange(6.0).reshape(3, 2).T],
        ids=["plain", "big-endian", "Fortran"],
    )
    def test_an_app_may_send_any_layout_and_byte_order(self, array: np.ndarray[Any, Any]) -> None:
        """Flower writes it as it lies in memory; after the wire it is the same array."""
        content = to_content(RecordDict({"r": ArrayRecord({"a": Array(array)})}))
        np.testing.assert_array_equal(decode(b"".join(encode(content)))[0].arrays["r"]["a"], array)

    def test_an_app_may_write_into_what_it_gets(self) -> None:
        """And does not write into what the gate holds."""
        ours = np.zeros(3)
        theirs = to_records(Content({"r": {"a": ours}})).array_records["r"]["a"].numpy()
        theirs += 1
        assert ours.tolist() == [0.0, 0.0, 0.0]

    def test_a_read_only_array_can_be_sent(self) -> None:
        """What `decode` returns is read-only."""
        array = np.ones(2)
        array.flags.writeable = False
        assert back(array).tolist() == [1.0, 1.0]

    def test_torch_tensors_arrive_as_numpy(self) -> None:
        """Flower serialises a tensor as NumPy does; so an app may send one."""
        torch = pytest.importorskip("torch")
        assert from_flower(Array(torch.ones(2, 3))).dtype.name == "float32"


class TestWhatCannotBeSent:
    @pytest.mark.parametrize("stype", ["", "torch.tensor", "pickle", "numpy.ndarray "])
    def test_an_unknown_serialisation(self, stype: str) -> None:
        """Only NumPy's own format is read."""
        with pytest.raises(FrameError, match="serialised"):
            from_flower(raw_array(b"anything", stype=stype))

    @pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", "c16", "V8", "longdouble", [("a", "f8"), ("b", "f8")]])
    def test_an_unknown_dtype(self, dtype: Any) -> None:
        """Strings, dates, complex and structured arrays can hide anything."""
        with pytest.raises(FrameError, match="dtype"):
            from_flower(Array(np.zeros(1, dtype)))

    def test_an_object_array_is_never_unpickled(self) -> None:
        """A pickle in a .npy is not read: nothing in it runs."""
        ran = []

        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return ran.append, (1,)

        file = io.BytesIO()
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
        with pytest.raises(FrameError):
            from_flower(raw_array(file.getvalue()))
        assert not ran

    @pytest.mark.parametrize("how", ["objects", "pickle", "npz", "empty", "cut short", "too long", "noise"])
    def test_what_is_no_array_is_a_frame_error(self, how: str) -> None:
        """The docstring promises FrameError for every array that cannot be sent."""
        import pickle

        file, whole = io.BytesIO(), io.BytesIO()
        np.save(whole, np.ones(3))
        if how == "objects":
            np.save(file, np.array([{}], dtype=object), allow_pickle=True)
        elif how == "npz":
            np.savez(file, a=np.ones(3))
        data = {
            "pickle": pickle.dumps([1.0]),
            "empty": b"",
            "cut short": whole.getvalue()[:-1],
            "too long": whole.getvalue() + b"x",
            "noise": b"\x93NUMPY?",
        }
        with pytest.raises(FrameError):
            from_flower(raw_array(data.get(how, file.getvalue())))

    def test_a_record_of_an_unknown_kind(self) -> None:
        """Whatever a new Flower, or an app, puts among the records."""
        records = RecordDict()
        records.__dict__["_data"] = {"r": {"a": 1}}
        assert list(records) == ["r"]
        with pytest.raises(FrameError, match="dict"):
            to_content(records)


class TestScalars:
    @pytest.mark.parametrize("value", [0, -(2**63), 2**63 - 1, 0.5, -0.0, float("inf"), [], [1, 2], [0.5, 1e308]])
    def test_a_metric_comes_back_with_its_type(self, value: Any) -> None:
        """Lists too."""
        records = RecordDict({"m": MetricRecord({"a": value})})
        assert repr(to_content(records).metrics["m"]["a"]) == repr(value)

    def test_numpys_floats_become_plain(self) -> None:
        """NumPy's float64 is a float; a metric on the wire is nothing but that."""
        told = {"one": np.float64(0.1), "many": [np.float64(0.1), np.float64(0.2)]}
        metrics = to_content(RecordDict({"m": MetricRecord(told)})).metrics["m"]
        assert [type(metrics["one"]), *(type(x) for x in metrics["many"])] == [float, float, float]
        assert metrics == {"one": 0.1, "many": [0.1, 0.2]}

    @pytest.mark.parametrize(
        "value", [1, 0.5, True, "", "ä\n", b"", b"\0\xff", [], [1], [0.5], [True, False], ["x", ""], [b"x", b""]]
    )
    def test_a_configuration_value_comes_back_with_its_type(self, value: Any) -> None:
        """A bool stays a bool and bytes stay bytes."""
        records = to_records(Content(configs={"c": {"a": value}}))
        assert isinstance(records["c"], ConfigRecord)
        assert repr(to_content(records).configs["c"]["a"]) == repr(value)


@pytest.mark.parametrize("record", [ArrayRecord(), MetricRecord(), ConfigRecord()], ids=lambda r: type(r).__name__)
def test_an_empty_record_keeps_its_kind(record: ArrayRecord | MetricRecord | ConfigRecord) -> None:
    """A record without items is still a record, of the same kind."""
    again = to_records(to_content(RecordDict({"r": record})))
    assert type(again["r"]) is type(record)
