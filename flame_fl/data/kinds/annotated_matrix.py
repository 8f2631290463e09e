"""The matrix `X`, dense or sparse: cut to records and features, and written, so many values at once.

Pieces, chunks and the widths of indices follow from the view's own size, never from the store's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.data.kind import Rows
from flame_fl.data.kinds import annotated_open
from flame_fl.data.kinds.annotated_frame import new_array, tag
from flame_fl.data.kinds.annotated_open import reading
from flame_fl.data.schema import ColumnType

Values = npt.NDArray[Any]
_SPARSE = ("csr_matrix", "csc_matrix")
_MOST_CHUNK = 1 << 28
_FLAT_CHUNK = 1 << 18


@dataclass(frozen=True)
class Matrix:
    """`X` of a store that is open.

    Attributes:
        path: The store's.
        node: The dense array, or the group of the sparse one's three.
        shape: Records and features.
        encoding: "array", "csr_matrix" or "csc_matrix".
        dtype: Of its values, little-endian.
    """

    path: Path
    node: Any
    shape: tuple[int, int]
    encoding: str
    dtype: np.dtype[Any]

    @property
    def type(self) -> ColumnType:
        """The word a schema has for its values."""
        return {"b": "bool", "i": "int", "u": "int"}.get(self.dtype.kind, "float")  # type: ignore[return-value]


def matrix_of(path: Path, root: Any, shape: tuple[int, int]) -> Matrix:
    """`X` of an open store, which must have this shape.

    Raises:
        InputError: It is not there, has another shape, or holds something else than numbers.
    """
    with reading(path):
        encoding = str(root["X"].attrs.get("encoding-type", "array")) if "X" in root else ""
    sparse = encoding in _SPARSE
    if not sparse and encoding != "array":
        raise InputError(f"{path} has no matrix X, dense, CSR or CSC.", mend="Put the values into X.")
    with reading(path):
        node = root["X"]
        parts = [node[part] for part in ("data", "indices", "indptr")] if sparse else [node]
        claimed = tuple(int(n) for n in (node.attrs["shape"] if sparse else node.shape))
        dtype = np.dtype(parts[0].dtype)
        chunk = max(int(np.prod(part.chunks or (1,), dtype=float)) for part in parts)
        whole = not sparse or all(part.ndim == 1 and part.dtype.kind in "iu" for part in parts[1:])
    if claimed != shape:
        raise InputError(f"{path}: the shape of X is not that of obs and var.", mend="Write it again with anndata.")
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not whole:
        raise InputError(f"{path}: X holds something else than numbers.", mend="Convert it to float32.")
    if chunk > _MOST_CHUNK:
        raise InputError(f"{path}: X has chunks of more than {_MOST_CHUNK} values.", mend="Write smaller chunks.")
    return Matrix(path, node, shape, encoding, dtype.newbyteorder("<"))


def cut(matrix: Matrix, rows: Rows, columns: Rows, into: Any) -> None:
    """Write the part of a matrix as `X` of another store, dense or sparse as it is.

    Raises:
        InputError: The matrix is damaged.
        OSError: It cannot be written.
    """
    if matrix.encoding in _SPARSE:
        _cut_sparse(matrix, rows, columns, into)
    else:
        write_dense(into, (len(rows), len(columns)), matrix.dtype, lambda a, b: _gather(matrix, rows[a], columns[b]))


def write_dense(
    into: Any, shape: tuple[int, int], dtype: np.dtype[Any], values: Callable[[slice, slice], Values]
) -> None:
    """Write a dense `X` block by block, each got from a function of its rows and columns.

    Raises:
        OSError: It cannot be written.
    """
    cells = annotated_open.CELLS
    high = min(4096, max(64, cells // max(1, shape[1])))
    wide = max(1, cells // high)
    array = new_array(into, "X", shape, dtype, (min(high, shape[0]), min(wide, shape[1])))
    tag(array, "array", "0.2.0")
    for top in range(0, shape[0], high):
        for left in range(0, shape[1], wide):
            down, across = slice(top, min(top + high, shape[0])), slice(left, min(left + wide, shape[1]))
            array[down, across] = values(down, across)


def _gather(matrix: Matrix, rows: Rows, columns: Rows) -> Values:
    """A dense block. The store is read in tiles of whole chunks, so that none is unpacked again and again."""
    high, wide = _tile(matrix.node.chunks or (1, 1), matrix.shape[1])
    block = np.empty((len(rows), len(columns)), matrix.dtype)
    for rows_at, rows_here in _tiles(rows, high):
        for columns_at, columns_here in _tiles(columns, wide):
            with reading(matrix.path):
                tile = np.asarray(
                    matrix.node[
                        int(rows_here[0]) : int(rows_here[-1]) + 1, int(columns_here[0]) : int(columns_here[-1]) + 1
                    ]
                )
            block[rows_at, columns_at] = tile[np.ix_(rows_here - rows_here[0], columns_here - columns_here[0])]
    return block


def _tile(chunk: tuple[int, int], width: int) -> tuple[int, int]:
    """Height and width of what is read at once: whole chunks, first side by side, then below each other."""
    cells = annotated_open.CELLS
    wide = chunk[1] * max(1, min(cells // (chunk[0] * chunk[1]), -(-width // chunk[1])))
    return chunk[0] * max(1, cells // (chunk[0] * wide)), wide


def _tiles(chosen: Rows, size: int) -> Iterator[tuple[slice, Rows]]:
    """Sorted indices, cut where multiples of a size are: where each part is in them, and the part."""
    starts = np.flatnonzero(np.diff(chosen // size, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(chosen)], strict=True):
        yield slice(start, end), chosen[start:end]


def _cut_sparse(matrix: Matrix, rows: Rows, columns: Rows, into: Any) -> None:
    """CSR and CSC are one thing, with records and features swapped. Read twice: to count, and to write."""
    majors, minors = (rows, columns) if matrix.encoding == "csr_matrix" else (columns, rows)
    size = matrix.shape if matrix.encoding == "csr_matrix" else matrix.shape[::-1]
    pointers = _pointers(matrix, size[0])
    to_major, to_minor = _places(majors, size[0]), _places(minors, size[1])
    counts = np.zeros(len(majors) + 1, np.int64)
    for _, _, major, _ in _entries(matrix, pointers, to_major, to_minor):
        if len(major):
            found = np.bincount(major - major[0])
            counts[major[0] + 1 : major[0] + 1 + len(found)] += found
    starts = np.cumsum(counts)
    group = into.create_group("X")
    total, flat = int(starts[-1]), (min(_FLAT_CHUNK, int(starts[-1])),)
    data = new_array(group, "data", (total,), matrix.dtype, flat)
    indices = new_array(group, "indices", (total,), np.dtype("<i8"), flat)
    at = 0
    for here, keep, _, minor in _entries(matrix, pointers, to_major, to_minor):
        with reading(matrix.path):
            values = np.asarray(matrix.node["data"][here])[keep]
        if len(minor):
            data[at : at + len(minor)] = values
            indices[at : at + len(minor)] = minor
            at += len(minor)
    new_array(group, "indptr", starts.shape, np.dtype("<i8"))[:] = starts
    tag(group, matrix.encoding, "0.1.0", {"shape": [len(rows), len(columns)]})


def _pointers(matrix: Matrix, majors: int) -> Rows:
    """Where each major's values start, checked."""
    with reading(matrix.path):
        stored = matrix.node["indptr"]
        if stored.shape != (majors + 1,):
            raise ValueError
        pointers = np.asarray(stored[:]).astype(np.int64)
        entries = matrix.node["indices"].shape[0]
        whole = pointers[0] == 0 and pointers[-1] == entries and not np.any(np.diff(pointers) < 0)
        if not whole or matrix.node["data"].shape != (entries,):
            raise ValueError
    return pointers


def _entries(
    matrix: Matrix, pointers: Rows, to_major: Rows, to_minor: Rows
) -> Iterator[tuple[slice, npt.NDArray[np.bool_], Rows, Rows]]:
    """Pieces of the stored values: where, which of them the view has, and these ones' places in it."""
    for low in range(0, int(pointers[-1]), annotated_open.CELLS):
        high = min(low + annotated_open.CELLS, int(pointers[-1]))
        first = int(np.searchsorted(pointers, low, "right")) - 1
        last = int(np.searchsorted(pointers, high, "left"))
        if np.all(to_major[first:last] < 0):
            continue
        ends = np.clip(pointers[first : last + 1], low, high)
        major = np.repeat(to_major[first:last], ends[1:] - ends[:-1])
        with reading(matrix.path):
            stored = np.asarray(matrix.node["indices"][low:high]).astype(np.int64)
            if np.any(stored < 0):
                raise ValueError
            minor = to_minor[stored]
        keep = (major >= 0) & (minor >= 0)
        yield slice(low, high), keep, major[keep], minor[keep]


def _places(chosen: Rows, size: int) -> Rows:
    """Each index's place among the chosen ones; -1 if it is none."""
    places = np.full(size, -1, np.int64)
    places[chosen] = np.arange(len(chosen))
    return places
