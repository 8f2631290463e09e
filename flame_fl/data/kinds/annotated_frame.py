"""Reading and writing `obs` and `var`: columns as Arrow arrays, by AnnData's format (dataframe 0.2.0).

What is written depends on the values alone. Categories become text, and numbers have 64 bits: how a store encodes a
column can follow from how many records it has. Missing text, whole numbers and truth values get a mask where there are
some; missing fractions are NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.headers import require_columns
from flame_fl.data.kind import Rows
from flame_fl.data.kinds import annotated_open
from flame_fl.data.kinds.annotated_open import MOST, h5py, is_zarr, reading
from flame_fl.data.schema import ColumnType

INDEX = "_index"
_MASKED = {"nullable-integer", "nullable-boolean", "nullable-string-array"}
_ENCODINGS = {"array", "string-array", "categorical", *_MASKED}
_TEXT = "OSUT"  # kinds of numpy's dtypes; opening has made sure that objects are text
_NONE = np.array([], np.int64)


@dataclass(frozen=True)
class Frame:
    """A data frame of a store that is open: names from its attributes, columns on demand."""

    path: Path
    name: str
    group: Any
    index: str
    columns: tuple[str, ...]
    length: int

    def read(self, column: str, rows: Rows | None = None) -> pa.Array:
        """A column, or the index by its name, at some rows or at all.

        Raises:
            InputError: There is no such column, or it cannot be read.
        """
        names = (self.index, *self.columns)
        require_columns(f"{self.name} of {self.path}", names, [column], mend="Name columns as the store's schema does.")
        if column != self.index and self.encoding(column) not in _ENCODINGS:
            raise InputError(
                f"{self.path}: {self.name} column {column!r} is of a type that is not read here.",
                mend="Leave it out, or make it text, numbers or categories and write the store again with anndata.",
            )
        with reading(self.path):
            return _column(self.group[column], self.length, np.arange(self.length) if rows is None else rows)

    def encoding(self, column: str) -> str:
        """How AnnData says a column is stored."""
        with reading(self.path):
            return str(self.group[column].attrs.get("encoding-type", ""))

    def type(self, column: str) -> ColumnType:
        """The word a schema has for a column's type; no value is read, categories excepted."""
        if column != self.index and self.encoding(column) not in _ENCODINGS:
            return "other"
        return records.column_type(self.read(column, _NONE).type)


def frame_of(path: Path, root: Any, name: str) -> Frame:
    """`obs` or `var` of an open store.

    Raises:
        InputError: It is not there, or not as AnnData writes it.
    """
    with reading(path):
        there = name in root and root[name].attrs.get("encoding-type") == "dataframe"
    if not there:
        raise InputError(f"{path} has no data frame {name!r}.", mend="Write it with anndata 0.8 or newer.")
    with reading(path):
        group = root[name]
        index = str(group.attrs[INDEX])
        columns = tuple(str(column) for column in group.attrs["column-order"])
        members = set(group.keys())
        # A name with a slash would be a path to somewhere else in the store.
        names = {index, *columns}
        good = len(names) == len(columns) + 1 and names <= members and INDEX not in columns
        length = int(group[index].shape[0]) if good else 0
    if not good:
        raise InputError(
            f"{path}: the columns of {name!r} are not all there, or two have one name, or one has a slash in it.",
            mend="Rename them and write the store again with anndata.",
        )
    if length > MOST:
        raise InputError(f"{path}: {name!r} claims more than {MOST} rows.", mend="Write it again with anndata.")
    return Frame(path, name, group, index, columns, length)


def write_frame(parent: Any, name: str, index: Sequence[str], columns: Iterable[tuple[str, pa.Array]]) -> None:
    """Write a data frame; its index is named "_index".

    Raises:
        OSError: It cannot be written.
    """
    group, order = parent.create_group(name), []
    _write_text(group, INDEX, index)
    for column, values in columns:
        _write_column(group, column, values)
        order.append(column)
    tag(group, "dataframe", "0.2.0", {INDEX: INDEX, "column-order": order})


def tag(node: Any, kind: str, version: str, more: dict[str, Any] | None = None) -> None:
    """Say what a node is, in AnnData's attributes."""
    about = {"encoding-type": kind, "encoding-version": version, **(more or {})}
    if not hasattr(node.attrs, "create"):  # zarr's: JSON, written at once
        node.attrs.update(about)
        return
    for key, value in about.items():
        node.attrs.create(key, value, dtype=h5py().string_dtype() if key == "column-order" else None)


def new_array(group: Any, name: str, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...] | None = None) -> Any:
    """An array to be filled; `str` is a type of it. HDF5 keeps it in one piece, zarr in chunks (None: in one)."""
    if is_zarr(group):
        chunks = tuple(max(1, size) for size in (chunks or shape))
        return group.create_array(name, shape=shape, dtype=dtype, chunks=chunks, compressors=None)
    return group.create_dataset(
        name, shape=shape, dtype=h5py().string_dtype() if dtype is str else dtype, track_times=False
    )


def pieces(array: Any, rows: Rows) -> Iterator[Any]:
    """Values of a one-dimensional array at these rows, so many at once."""
    length = array.shape[0]
    if array.dtype.kind in "OS" and hasattr(array, "asstr"):  # h5py gives bytes otherwise
        array = array.asstr("utf-8")
    for low in range(0, length, annotated_open.CELLS):
        here = rows[slice(*np.searchsorted(rows, (low, low + annotated_open.CELLS)))]
        if len(here):
            yield np.asarray(array[int(here[0]) : int(here[-1]) + 1])[here - here[0]]


def _column(node: Any, length: int, rows: Rows) -> pa.Array:
    """A column by its encoding; the errors are `reading`'s to explain."""
    encoding = node.attrs.get("encoding-type")
    if encoding == "categorical":
        categories = node["categories"]
        codes = _array(node["codes"], length, rows).cast(pa.int64()).to_numpy()
        names = _array(categories, categories.shape[0], np.arange(categories.shape[0]))
        if np.any(codes < -1) or np.any(codes >= len(names)):
            raise ValueError
        if not len(names):  # pandas calls no categories numbers, whatever they were before the last one went
            names = pa.array([], pa.string())
        return names.take(pa.array(codes, mask=codes < 0))
    if encoding in _MASKED:
        values = _array(node["values"], length, rows)
        mask = _array(node["mask"], length, rows)
        return pc.if_else(mask, pa.scalar(None, values.type), values)
    return _array(node, length, rows)


def _array(array: Any, length: int, rows: Rows) -> pa.Array:
    if array.shape != (length,) or length > MOST:
        raise ValueError
    if array.dtype.kind in _TEXT:
        return pa.array([str(text) for piece in pieces(array, rows) for text in piece.tolist()], pa.string())
    if array.dtype.kind not in "biuf":
        raise TypeError
    dtype = array.dtype.newbyteorder("=")
    values = np.concatenate([np.array([], dtype), *pieces(array, rows)]).astype(dtype)
    return pa.array(values, from_pandas=True)


def _write_column(group: Any, name: str, column: pa.Array) -> None:
    kind = records.column_type(column.type)
    if kind == "float":
        array = column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # nulls become NaN
        tag(_filled(group, name, array), "array", "0.2.0")
        return
    if not column.null_count:
        _write_plain(group, name, column, kind)
        return
    masked = {"int": "nullable-integer", "bool": "nullable-boolean"}.get(kind, "nullable-string-array")
    inner = group.create_group(name)
    _write_plain(inner, "values", column.fill_null({"int": 0, "bool": False}.get(kind, "")), kind)
    mask = _filled(inner, "mask", column.is_null().to_numpy(zero_copy_only=False))
    tag(mask, "array", "0.2.0")
    tag(inner, masked, "0.1.0")


def _write_plain(group: Any, name: str, column: pa.Array, kind: ColumnType) -> None:
    if kind not in {"int", "bool"}:
        _write_text(group, name, column.cast(pa.string()).to_pylist())
        return
    array = column.cast(pa.int64() if kind == "int" else pa.bool_()).to_numpy(zero_copy_only=False)
    tag(_filled(group, name, array), "array", "0.2.0")


def _write_text(group: Any, name: str, texts: Sequence[str]) -> None:
    array = new_array(group, name, (len(texts),), str)
    if len(texts):
        array[:] = np.array(texts, dtype=object)
    tag(array, "string-array", "0.2.0")


def _filled(group: Any, name: str, values: Any) -> Any:
    array = new_array(group, name, values.shape, values.dtype)
    if len(values):
        array[:] = values
    return array
